/**
 * Goal: a question about a time finds what was written then, also where the clock was set. Method: a
 * table of clocks that were wrong, and logs whose clock was right, in which times alone must decide.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { position, streamVersion, unixNanos } from '../../src/base/units.js';
import { timeRange } from '../../src/inspect/archive/time-range.js';
import type { LogRecord } from '../../src/log/types.js';
import { RecordArchive } from '../support/record-archive.js';

const archiveOf = (times: readonly number[]): RecordArchive =>
  new RecordArchive(
    times.map((time, at): LogRecord => ({
      ...{
        position: position(at),
        streamVersion: streamVersion(at),
        time: unixNanos(BigInt(time)),
      },
      ...{ stream: 'daemon', type: 'DaemonStopped', schemaVersion: 1, data: { why: '' } },
      closesStream: false,
    })),
  );

interface Query {
  readonly since?: number;
  readonly until?: number;
  readonly now?: number;
}

/** Positions of what belongs to it. */
async function found(times: readonly number[], { since, until, now = 100 }: Query) {
  const archive = archiveOf(times);
  const nanos = (time: number | undefined) => (time === undefined ? null : unixNanos(BigInt(time)));
  const range = await timeRange(archive, {
    ...{ since: nanos(since), until: nanos(until) },
    now: unixNanos(BigInt(now)),
  });
  const positions: number[] = [];
  const bounds = range.to === null ? { from: range.from } : { from: range.from, to: range.to };
  for await (const batch of archive.read(bounds)) {
    positions.push(...batch.filter(range.holds).map(({ position: at }) => at));
  }
  return positions;
}

it.each<readonly [string, readonly number[], Query, readonly number[]]>([
  ['a clock that was right', [1, 2, 3, 4], { since: 3 }, [2, 3]],
  ['and its end', [1, 2, 3, 4], { until: 3 }, [0, 1, 2]],
  ['and both', [1, 2, 3, 4], { since: 2, until: 3 }, [1, 2]],
  ['nothing that young', [1, 2, 3, 4], { since: 5 }, []],
  ['nothing that old', [1, 2, 3, 4], { until: 0 }, []],
  ['years ahead, and older than that', [1, 900, 5, 6], { since: 6 }, [3]],
  ['years ahead, and perhaps of that time', [1, 900, 5, 6], { since: 4 }, [1, 2, 3]],
  ['years ahead to the end', [1, 2, 900, 901], { since: 2 }, [1, 2, 3]],
  ['years ahead, and written by then', [1, 900, 5, 6], { until: 5 }, [0, 1, 2]],
  ['behind for a moment, in the time', [50, 0, 51], { since: 50 }, [0, 1, 2]],
  ['behind for a moment, before the time', [40, 0, 50, 51], { since: 50 }, [2, 3]],
  ['behind for a moment, and until then', [50, 0, 51, 52], { until: 51 }, [0, 1, 2]],
  ['behind now', [50, 51, 52], { since: 2, now: 3 }, [0, 1, 2]],
  ['set back by a little', [10, 11, 12, 10, 11, 13], { since: 12 }, [2, 3, 4, 5]],
])('%s', async (_name, times, query, expected) => {
  expect(await found(times, query)).toEqual(expected);
});

it('goes by times alone while the clock was right', async () => {
  const logs = fc.array(fc.nat(60)).map((times) => times.sort((one, other) => one - other));
  const moment = fc.option(fc.nat(60), { nil: undefined });
  await fc.assert(
    fc.asyncProperty(logs, moment, moment, async (times, since, until) => {
      const query = {
        ...(since !== undefined && { since }),
        ...(until !== undefined && { until }),
      };
      const expected = times.flatMap((time, at) =>
        time >= (since ?? 0) && time <= (until ?? Infinity) ? [at] : [],
      );
      expect(await found(times, query)).toEqual(expected);
    }),
  );
});

it('leaves out nothing that bears a time of the range', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(60)), fc.nat(60), async (times, since) => {
      const positions = await found(times, { since, now: 60 });
      for (const [at, time] of times.entries()) if (time >= since) expect(positions).toContain(at);
    }),
  );
});
