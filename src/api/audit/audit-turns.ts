/**
 * Limits concurrent reads of an archive, whatever the number of readers: the log is written through
 * the same threads and event loop. A reader holds its turn for one batch, not while it sends.
 */
import pLimit, { type LimitFunction } from 'p-limit';
import type { Archive, ArchiveRange } from '../../inspect/archive/archive.js';
import type { LogRecord } from '../../log/types.js';

/** The part of an archive that the audit service uses directly. */
export type ReadableLog = Pick<Archive, 'read' | 'bounds'>;

/** libuv has four threads; the log's writes need one. */
const TURNS = 2;

export function inTurns(archive: ReadableLog): ReadableLog {
  const turns = pLimit(TURNS);
  return {
    bounds: () => turns(() => archive.bounds()),
    read: (range) => readInTurns(archive, range, turns),
  };
}

async function* readInTurns(
  archive: ReadableLog,
  range: ArchiveRange | undefined,
  turns: LimitFunction,
): AsyncGenerator<readonly LogRecord[], void, undefined> {
  const batches = archive.read(range);
  try {
    for (;;) {
      const next = await turns(() => batches.next());
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    await batches.return();
  }
}
