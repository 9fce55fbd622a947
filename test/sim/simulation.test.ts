/**
 * Goal: the rules of docs/correctness.md, what clients were told, and one owner for each directory
 * and mount, under kills, power cuts, failing disks, hanging and dying layers and cancelled calls.
 * Method: the real daemon on a simulated machine, where one seed random everything (simulation.ts).
 * These are fixed seeds; `npm run sim` takes many more.
 */
import { describe, expect, it } from 'vitest';
import { runSimulation } from './simulation.js';
import { rounds } from '../support/effort.js';

const STEPS = 250;

/** Forty lives take a quarter of a minute, and more where others want the processor too. */
const patient = { timeout: 120_000 };

describe('a simulated machine', () => {
  it.each([0, 40, 80].slice(0, rounds(1, 3)))(
    'keeps every rule with 40 seeds from %i',
    patient,
    async (from) => {
      const counts = new Map<string, number>();
      for (let seed = from; seed < from + 40; seed += 1) {
        const { violation, counts: run } = await runSimulation(seed, STEPS);
        expect(violation, `npm run sim -- --seed ${seed} --steps ${STEPS}`).toBeNull();
        for (const [what, often] of run) counts.set(what, (counts.get(what) ?? 0) + often);
      }
      // A simulation in which nothing happens keeps every rule, too.
      const happened = ['Commit ok', 'Prepare TargetReady', 'Prepare ok', 'Remove ok', 'Update ok'];
      const dangers = [
        'kill',
        'power cut',
        'stop',
        'calm',
        'Prepare threw',
        'View LayerNotAvailable',
        'Prepare LayerNotVisible',
        'Remove KeptFromCaller',
      ];
      for (const what of [...happened, ...dangers])
        expect(counts.get(what), what).toBeGreaterThan(0);
    },
  );

  it('is the same run, to the byte, for the same seed', async () => {
    for (const seed of [3, 7, 11]) {
      const first = await runSimulation(seed, 150);
      const second = await runSimulation(seed, 150);
      expect(second.trace).toEqual(first.trace);
      expect(second.digest).toBe(first.digest);
    }
    const [one, other] = [await runSimulation(3, 20), await runSimulation(4, 20)];
    expect(one.digest).not.toBe(other.digest);
  });

  it('begins a longer run as it begins a shorter one', async () => {
    const short = await runSimulation(5, 60);
    const long = await runSimulation(5, 120);
    const calm = short.trace.findLastIndex((line) => line.endsWith(' calm'));
    expect(calm).toBeGreaterThan(60);
    expect(long.trace.slice(0, calm)).toEqual(short.trace.slice(0, calm));
  });
});
