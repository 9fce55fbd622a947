/**
 * Goal: the service may be stopped dead between any two of the things it does (each write, each
 * sync, each system call of each effect, each reply), and nothing that was acknowledged is lost,
 * nothing is half there, nothing is left without an owner, and a second start changes nothing.
 * Method: the real snapshotter in this process, on real directories and mounts, with all that it
 * does to the world at a gate. No sampling: for each boundary of each operation a fresh machine
 * on which the service dies just there, then the service again, and the checks. The log is on the
 * disk in memory, which knows what a power cut leaves; a book of what was not synced does the
 * same for the directories. Then pairs: for each state that a first death leaves, the boundaries
 * of the start that follows, and a second death there. An ordinary run takes each how-manieth
 * pair, always the same ones; STRATALOG_FAULTS_ALL=1 takes all, and more ways to tear.
 */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { all, told } from './crash/choice.js';
import { enumerate, gentleCut, kill, killThenCut, powerCut, tornCut } from './crash/enumerate.js';
import { closeNamespace, openNamespace, removePlace } from './crash/machine.js';
import { scenarios } from './crash/scenarios.js';
import { rounds } from '../support/effort.js';

vi.mock('../../src/host/libc.js', async (importOriginal) => {
  const { gatedLibrary } = await import('./crash/system-calls.js');
  return gatedLibrary(await importOriginal());
});

beforeAll(openNamespace);
afterAll(async () => {
  removePlace();
  await closeNamespace();
});

const further = [gentleCut, tornCut(2), tornCut(3)];
const deaths = [kill, powerCut, killThenCut, tornCut(1), ...(all ? further : [])];
/** A prime, so that it keeps step with nothing. */
const stride = all ? 1 : rounds(397, 131);

describe('death at every boundary, and again at those of the start behind it', () => {
  it.each(scenarios)('of $name', { timeout: all ? 7_200_000 : 240_000 }, async (scenario) => {
    const counts = await enumerate(scenario, {
      deaths,
      firstDeaths: [kill, powerCut],
      secondDeaths: [kill, powerCut],
      stride,
    });
    console.info(`${scenario.name}: ${told(counts)}`);
    expect(counts.boundaries).toBeGreaterThan(4);
    expect(counts.deaths).toBe(counts.states * deaths.length);
    expect(counts.pairs).toBeGreaterThan(0);
    expect(counts.pairs + counts.pairsLeftOut).toBeGreaterThan(counts.states * 20);
  });
});
