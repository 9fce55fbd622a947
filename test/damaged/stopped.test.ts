/**
 * Goal: a repair that is stopped at any moment leaves a root that no daemon starts on before a
 * second repair has finished it, and the end is the same as without the stop. Method: the disk
 * fails for good at the n-th operation that changes something, for every n.
 */
import { beforeAll, describe, expect, it } from 'vitest';
import { FaultyDisk, type DiskOperation } from '../support/faulty-disk.js';
import type { DamagedCase } from './case.js';
import { cases } from './cases.js';
import { Deeds } from './deeds.js';
import {
  kindsFound,
  OTHER_UUID,
  planFor,
  repair,
  repairAgain,
  ROOT,
  startAndAppend,
  startFindings,
  statesOf,
  writeSound,
} from './rig.js';

const changes: ReadonlySet<DiskOperation> = new Set([
  ...(['open', 'write', 'writeDurably', 'sync', 'rename', 'remove', 'truncate'] as const),
  'syncDirectory',
]);

const names = [
  'a bit is flipped in the segment that a checkpoint stands in, before it',
  'the identity is gone',
];

let plain: FaultyDisk;
let checked: FaultyDisk;
let foreign: FaultyDisk;
beforeAll(async () => {
  const make = async (options: Parameters<typeof writeSound>[2]) => {
    const disk = new FaultyDisk();
    await writeSound(ROOT, disk, options);
    return disk;
  };
  plain = await make({});
  checked = await make({ checkpoints: [12, 26] });
  foreign = await make({ uuid: OTHER_UUID });
});

async function damaged(one: DamagedCase): Promise<FaultyDisk> {
  const disk = (one.of === 'checked' ? checked : plain).copy();
  await one.damage(new Deeds(disk), new Deeds(foreign.copy()));
  return disk.copy();
}

/** Names in the log, quarantines left out: a repair that was stopped early leaves an empty one. */
const logOf = (disk: FaultyDisk): string[] =>
  disk.paths().filter((path) => !path.includes('/quarantine-'));

/** Null when it went through; else whether it was stopped. */
async function repairUntil(disk: FaultyDisk, stopAt: number): Promise<boolean> {
  const planned = await planFor(ROOT, disk);
  let count = 0;
  disk.plan = (operation) => {
    if (!changes.has(operation)) return undefined;
    count += 1;
    return count === stopAt ? { kind: 'power-cut' } : undefined;
  };
  try {
    await repair(ROOT, disk, planned);
    return false;
  } catch {
    return true;
  }
}

describe('a repair that is stopped', () => {
  it.each(names)(
    'is finished by the next: %s',
    async (name) => {
      const one = cases.find((candidate) => candidate.name === name);
      if (one === undefined) throw new Error(`no case ${name}`);
      const whole = await damaged(one);
      expect(await repairUntil(whole, Infinity)).toBe(false);
      const expected = { log: logOf(whole), states: await statesOf(ROOT, whole) };
      for (let stopAt = 1; ; stopAt++) {
        const disk = await damaged(one);
        if (!(await repairUntil(disk, stopAt))) {
          expect(stopAt).toBeGreaterThan(15);
          return;
        }
        const after = disk.afterKill();
        const what = `stopped at change ${stopAt}`;
        const isDone = (await kindsFound(ROOT, after)).length === 0;
        if (!isDone) await expect(startAndAppend(ROOT, after.copy()), what).rejects.toThrow();
        await repairAgain(ROOT, after);
        expect(await kindsFound(ROOT, after), what).toEqual([]);
        expect(logOf(after), what).toEqual(expected.log);
        expect(await statesOf(ROOT, after), what).toEqual(expected.states);
        const orphans = (await startFindings(ROOT, after)).filter(
          (one) => one.kind === 'OrphanDirectory',
        );
        expect(orphans, what).toEqual([]);
      }
    },
    60_000,
  );
});
