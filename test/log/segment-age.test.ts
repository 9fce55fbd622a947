/**
 * Goal: retention drops what is old and nothing that is young, whatever the clock showed when it
 * was written. Method: tables of clocks that were wrong, and logs with a known true time.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { unixNanos } from '../../src/base/units.js';
import { SegmentAges } from '../../src/log/housekeeping/segment-age.js';

async function latestWrites(ends: readonly number[], now: number): Promise<number[]> {
  const endOf = (index: number) => {
    const end = ends[index];
    return Promise.resolve(end === undefined ? null : unixNanos(BigInt(end)));
  };
  const ages = new SegmentAges(endOf, unixNanos(BigInt(now)));
  const writes: number[] = [];
  for (const index of ends.keys()) writes.push(Number(await ages.latestWrite(index)));
  return writes;
}

it.each([
  ['a clock that was right', [1, 2, 3], 8, [1, 2, 3]],
  ['ten years ahead at first', [3650, 3651, 1, 4], 8, [1, 1, 1, 4]],
  ['ahead in between', [1, 3650, 5, 6], 8, [1, 5, 5, 6]],
  ['ahead to the end', [1, 2, 3650], 8, [1, 2, 8]],
  ['ahead, and nothing else', [3650, 3651], 8, [8, 8]],
  ['ahead, and that time has come', [1, 30, 2, 3], 40, [1, 30, 30, 30]],
  ['behind in between', [100, 101, 0, 103], 104, [100, 101, 101, 103]],
  ['behind to the end', [100, 101, 0], 104, [100, 101, 101]],
  ['behind now', [100, 101, 102], 1, [1, 1, 1]],
  ['ahead and behind', [100, 9000, 0, 103], 104, [100, 100, 100, 103]],
  ['set back by an hour', [10, 11, 10, 11, 12], 13, [10, 11, 11, 11, 12]],
  ['no segments', [], 8, []],
])('%s', async (_name, ends, now, expected) => {
  expect(await latestWrites(ends, now)).toEqual(expected);
});

/** True times that rise, and what a clock showed that was right, ahead or behind. */
const history = (errors: fc.Arbitrary<number>) =>
  fc
    .array(fc.tuple(fc.nat(50), fc.oneof(fc.constant(0), errors)), { maxLength: 12 })
    .map((steps) => {
      let time = 1_000;
      return steps.map(([passed, error]) => ({ time: (time += passed), error }));
    });

const nowAfter = (written: readonly { readonly time: number }[]) =>
  (written.at(-1)?.time ?? 1_000) + 10;

it('nothing is taken for older than it is when the clock was right at its end', async () => {
  const errors = fc.oneof(fc.integer({ min: 1, max: 9_000 }), fc.integer({ min: -900, max: -1 }));
  await fc.assert(
    fc.asyncProperty(history(errors), async (written) => {
      const ends = written.map(({ time, error }) => time + error);
      const latest = await latestWrites(ends, nowAfter(written));
      for (const [index, { time, error }] of written.entries()) {
        if (error === 0) expect(latest[index]).toBeGreaterThanOrEqual(time);
      }
    }),
  );
});

it('a clock that was years ahead makes nothing older or younger than the clocks round it', async () => {
  const errors = fc.integer({ min: 100_000, max: 900_000 });
  await fc.assert(
    fc.asyncProperty(history(errors), async (written) => {
      const now = nowAfter(written);
      const ends = written.map(({ time, error }) => time + error);
      const right = (from: number) =>
        written.slice(from).find(({ error }) => error === 0)?.time ?? now;
      expect(await latestWrites(ends, now)).toEqual(written.map((_, index) => right(index)));
    }),
  );
});

it('never falls, and never comes after now', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(100)), fc.nat(100), async (ends, now) => {
      const latest = await latestWrites(ends, now);
      expect(latest).toEqual(latest.toSorted((one, other) => one - other));
      expect(Math.max(...latest, 0)).toBeLessThanOrEqual(now);
    }),
  );
});
