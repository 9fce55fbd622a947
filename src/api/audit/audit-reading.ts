/**
 * Reads a durable range from an archive. An archive ends at the end of what can be read, because
 * of files it cannot be known how far they should reach; here it is known, and a log that cannot
 * be read as far as it was durable is damaged.
 */
import { position, type Position } from '../../base/units.js';
import { LogDamaged } from '../../log/errors.js';
import type { LogRecord } from '../../log/types.js';
import type { ReadableLog } from './audit-turns.js';

export interface DurableRange {
  readonly from: Position;
  /** Everything before it is durable. */
  readonly to: Position;
  readonly stream?: string;
  readonly reverse?: boolean;
}

/** Fails as the archive does, and with LogDamaged when it ends before `to`. */
export async function* durableBatches(
  archive: ReadableLog,
  range: DurableRange,
): AsyncGenerator<readonly LogRecord[], void, undefined> {
  const { from, to, stream, reverse = false } = range;
  if (to <= from) return;
  // Backwards the end comes first.
  if (reverse) await checkReached(archive, await readableUpTo(archive, to), to);
  let reached: number = from;
  for await (const batch of archive.read(range)) {
    yield batch;
    reached = (batch.at(-1)?.position ?? reached) + 1;
  }
  if (reverse) return;
  // Of a stream only some events are read: whether the rest could be is seen at the last one.
  await checkReached(archive, stream === undefined ? reached : await readableUpTo(archive, to), to);
}

async function readableUpTo(archive: ReadableLog, to: Position): Promise<number> {
  let reached = 0;
  for await (const batch of archive.read({ from: position(to - 1), to })) {
    reached = (batch.at(-1)?.position ?? -1) + 1;
  }
  return reached;
}

async function checkReached(archive: ReadableLog, reached: number, to: Position): Promise<void> {
  if (reached >= to) return;
  // All of it may be retired.
  if ((await archive.bounds()).first >= to) return;
  throw new LogDamaged(
    { segment: 'log', offset: 0, position: position(reached) },
    `it cannot be read further, though everything before ${to} was durable`,
  );
}
