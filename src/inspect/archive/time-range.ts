/**
 * Selects records by time in a log whose clock may have been changed. If times and order disagree,
 * the order decides: a record between two records in the range is in the range, and a time in the
 * future is ignored.
 */
import { position, unixNanos, type Position, type UnixNanos } from '../../base/units.js';
import { LogDamaged } from '../../log/errors.js';
import type { LogRecord } from '../../log/types.js';
import type { Archive } from './archive.js';

export interface TimeQuery {
  readonly since: UnixNanos | null;
  readonly until: UnixNanos | null;
  readonly now: UnixNanos;
}

/** The records from `from` up to `to` for which `holds` is true. */
export interface TimeRange {
  readonly from: Position;
  /** Null for the end of the log. */
  readonly to: Position | null;
  readonly holds: (record: Pick<LogRecord, 'position' | 'time'>) => boolean;
}

/** Fails as the archive does. If damage hides the order, only times decide. */
export async function timeRange(archive: Archive, query: TimeQuery): Promise<TimeRange> {
  const [since, until] = [await sinceRange(archive, query), await untilRange(archive, query)];
  return {
    from: since.from,
    to: until.to,
    holds: (record) => since.holds(record) && until.holds(record),
  };
}

const everything: TimeRange = { from: position(0), to: null, holds: () => true };

async function sinceRange(archive: Archive, { since, now }: TimeQuery): Promise<TimeRange> {
  if (since === null) return everything;
  try {
    // The position after the last earlier record.
    const afterEarlier = await archive.positionAt(unixNanos(since - 1n));
    const from = await archive.noneBefore(since);
    for await (const batch of archive.read({ from, to: afterEarlier })) {
      const first = batch.find(({ time }) => time >= since && time <= now);
      if (first === undefined) continue;
      const holds: TimeRange['holds'] = ({ position: at, time }) =>
        at >= afterEarlier || time <= now;
      return { from: first.position, to: null, holds };
    }
    return { ...everything, from: afterEarlier };
  } catch (thrown) {
    if (!(thrown instanceof LogDamaged)) throw thrown;
    return { ...everything, holds: ({ time }) => time >= since };
  }
}

async function untilRange(archive: Archive, { until, now }: TimeQuery): Promise<TimeRange> {
  if (until === null) return everything;
  try {
    const to = await archive.positionAt(until);
    return { ...everything, to, holds: ({ time }) => time <= until || time > now };
  } catch (thrown) {
    if (!(thrown instanceof LogDamaged)) throw thrown;
    return { ...everything, holds: ({ time }) => time <= until };
  }
}
