/**
 * Readers of an archive take turns: however many there are, few reads from disk and few batches
 * are under way. The log is written through the same threads and the same event loop, and must
 * not wait behind a crowd of readers. A reader holds its turn for one batch, not while it sends.
 */
import pLimit, { type LimitFunction } from 'p-limit';
import type { Archive, ArchiveRange } from '../../inspect/archive/archive.js';
import type { LogRecord } from '../../log/types.js';

/** What the audit service asks of an archive itself. */
export type ReadableLog = Pick<Archive, 'read' | 'bounds'>;

/** Of the four threads that libuv has, the log's writes need one. */
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
