/** Steps through a log, there and back: by random walks, each compared with a replay from the start. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { position } from '../../src/base/units.js';
import { ReplaySteps, STEPS_KEPT } from '../../src/inspect/snapshot/replay-steps.js';
import type { LogRecord } from '../../src/log/types.js';
import { encodeState } from '../../src/machines/snapshots/state-json.js';
import { anyLog, RecordArchive } from '../support/record-archive.js';

async function expected(archive: RecordArchive, at: number): Promise<string[]> {
  return [...(await archive.stateAt(position(at))).forest.values()].map(encodeState);
}

const walk = fc.array(fc.constantFrom('forward', 'forward', 'back', 'jump'), { maxLength: 80 });

it('has at each step the states of a replay from the start', async () => {
  await fc.assert(
    fc.asyncProperty(anyLog(60), walk, fc.nat(), async (records, moves, draw) => {
      const archive = new RecordArchive(records);
      const steps = await ReplaySteps.at(archive, position(draw % (records.length + 1)));
      for (const [index, move] of moves.entries()) {
        const before = steps.position;
        const { last } = steps;
        const peeked = await steps.peek();
        expect(peeked?.position ?? records.length).toBe(before);
        if (move === 'jump')
          await steps.goTo(position((draw * (index + 7)) % (records.length + 1)));
        const step = move === 'forward' ? await steps.forward() : null;
        const undone = move === 'back' ? await steps.back() : null;
        if (move === 'forward') expect(step?.record.position ?? records.length).toBe(before);
        if (move === 'forward' && step !== null) {
          const gap = last === null ? null : step.record.time - last.record.time;
          expect(step.sincePrevious).toBe(gap);
        }
        if (move === 'back') expect(undone === null).toBe(before === 0);
        expect(steps.states().map(encodeState)).toEqual(await expected(archive, steps.position));
      }
      await steps.close();
    }),
    { numRuns: 40 },
  );
});

it('goes back over more than it keeps, and never holds more than a bounded number', async () => {
  const [one = []] = fc.sample(anyLog(60), { numRuns: 1, seed: 7 });
  // The same life of the daemon's events again and again: long, and cheap to fold.
  const many: LogRecord[] = [...one];
  const version = one.filter(({ stream }) => stream === 'daemon').length;
  for (let at = one.length; at < STEPS_KEPT * 6; at += 1) {
    many.push({
      ...{ position: position(at), stream: 'daemon', type: 'DaemonStopped', schemaVersion: 1 },
      ...{
        time: one[0]?.time ?? (0n as LogRecord['time']),
        data: { why: 'x' },
        closesStream: false,
      },
      streamVersion: (version + at - one.length) as LogRecord['streamVersion'],
    });
  }
  const archive = new RecordArchive(many);
  const steps = await ReplaySteps.at(archive, position(0));
  let held = 0;
  while ((await steps.forward()) !== null) held = Math.max(held, steps.held);
  expect(steps.position).toBe(many.length);
  while ((await steps.back()) !== null) held = Math.max(held, steps.held);
  expect(steps.position).toBe(0);
  expect(steps.states()).toEqual([]);
  expect(held).toBeLessThanOrEqual(STEPS_KEPT * 5 + 8);
  expect(await steps.forward()).toMatchObject({ record: { position: 0 } });
});
