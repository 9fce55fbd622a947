/**
 * The versions of open streams: what the next record of each must be. A stream that was closed
 * is forgotten.
 */
import type { LogRecord } from '../types.js';

export interface WrongVersion {
  readonly record: LogRecord;
  readonly expected: number;
}

/**
 * Moves the table over records and answers the first whose version does not fit.
 *
 * @param checkFrom below this position records only set the table: a checkpoint's table may be
 *   newer than the checkpoint
 */
export function countStreams(
  next: Map<string, number>,
  records: readonly LogRecord[],
  checkFrom: number,
): WrongVersion | null {
  for (const record of records) {
    const { stream, streamVersion } = record;
    if (record.position >= checkFrom) {
      const expected = next.get(stream) ?? 0;
      if (streamVersion !== expected) return { record, expected };
    }
    if (record.closesStream) next.delete(stream);
    else next.set(stream, streamVersion + 1);
  }
  return null;
}
