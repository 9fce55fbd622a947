/**
 * Reads a durable range from an archive. An archive of files ends at the last readable record,
 * because files do not show where the log should end. The daemon knows its durable position: a log
 * that ends before it is damaged.
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

/** @throws as the archive; LogDamaged if it ends before `to` */
export async function* durableBatches(
  archive: ReadableLog,
  range: DurableRange,
): AsyncGenerator<readonly LogRecord[], void, undefined> {
  const { from, to, stream, reverse = false } = range;
  if (to <= from) return;
  // In reverse, the end is read first.
  if (reverse) await checkReached(archive, await readableUpTo(archive, to), to);
  let reached: number = from;
  for await (const batch of archive.read(range)) {
    yield batch;
    reached = (batch.at(-1)?.position ?? reached) + 1;
  }
  if (reverse) return;
  // A read of one stream skips records, so the last record is read to check the end.
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
  // The whole range may have been retired.
  if ((await archive.bounds()).first >= to) return;
  throw new LogDamaged(
    { segment: 'log', offset: 0, position: position(reached) },
    `cannot read further, although everything before ${to} was durable`,
  );
}
