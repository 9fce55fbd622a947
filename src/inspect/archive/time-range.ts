/**
 * Which records belong to a time, in a log whose clock was set now and then. Where times and the
 * order of the records disagree, the order is right: what stands between two records of a time
 * belongs to it, and a time that is still to come says nothing.
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

/** Records from `from` up to `to` that `holds`. */
export interface TimeRange {
  readonly from: Position;
  /** Null for the end of the log. */
  readonly to: Position | null;
  readonly holds: (record: Pick<LogRecord, 'position' | 'time'>) => boolean;
}

/** Fails as the archive does; where damage hides the order, times alone decide. */
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
    // Behind the last record that is older.
    const behind = await archive.positionAt(unixNanos(since - 1n));
    const from = await archive.noneBefore(since);
    for await (const batch of archive.read({ from, to: behind })) {
      const first = batch.find(({ time }) => time >= since && time <= now);
      if (first === undefined) continue;
      const holds: TimeRange['holds'] = ({ position: at, time }) => at >= behind || time <= now;
      return { from: first.position, to: null, holds };
    }
    return { ...everything, from: behind };
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
