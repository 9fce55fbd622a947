/**
 * Goal: a repair may be stopped dead between any two of the things it does to the disk, and the
 * power may fail with it. No daemon starts on what is left before a second repair has come to the
 * same end as one that nobody stopped: the same events, all that was taken out, nothing besides.
 * Method: the disk in memory, which knows what a power cut leaves, with the repair at a gate (see
 * test/faults/crash-points.test.ts). For each different state a kill and power cuts, then the
 * second repair; at a fixed choice of its boundaries it dies too (STRATALOG_FAULTS_ALL=1: at each).
 */
import { beforeAll, describe, expect, it } from 'vitest';
import { all } from '../faults/crash/choice.js';
import { draws } from '../faults/crash/enumerate.js';
import { Gate } from '../faults/crash/gate.js';
import { FaultyDisk } from '../support/faulty-disk.js';
import type { DamagedCase, SoundName } from './case.js';
import { cases } from './cases.js';
import { Deeds } from './deeds.js';
import { RepairMachine } from './repair-machine.js';
import {
  kindsFound,
  OTHER_UUID,
  planFor,
  ROOT,
  startAndAppend,
  startFindings,
  statesOf,
  writeSound,
} from './rig.js';

/** Each takes another way through a repair. */
const names = [
  'a bit is flipped in the segment that a checkpoint stands in, before it',
  'two segments have each other’s names',
  'a segment was renamed',
  'the segments are all gone, and a checkpoint is left',
  'the identity is gone',
  'the identity and a record in the middle are damaged',
  'log and identity are lost for good, and built anew from the directories',
  'directories of lost events become unverified layers when it is wished',
];

interface Death {
  readonly how: string;
  readonly befalls: (machine: RepairMachine) => void;
}

const cut = (how: string, draw: () => () => number): Death => ({
  how,
  befalls: (machine) => machine.powerCut(draw()),
});
const kill: Death = { how: 'kill', befalls: (machine) => machine.killed() };
const powerCut = cut('power cut', () => () => 1);
const torn = (seed: number): Death => cut(`torn power cut ${seed}`, () => draws(seed));
/** Of what was not synced, every other change is lost: what comes later may be there alone. */
const everyOther = cut('power cut that loses every other change', () => {
  let turn = 0;
  return () => (turn += 1) % 2;
});
const tornSeeds = all ? [1, 2, 3, 4, 5, 6, 7, 8] : [1, 2];
const deaths = [kill, powerCut, everyOther, ...tornSeeds.map(torn)];
const stride = all ? 1 : 167;

const sound = new Map<SoundName, FaultyDisk>();
beforeAll(async () => {
  const make = async (name: SoundName, options: Parameters<typeof writeSound>[2]) => {
    const disk = new FaultyDisk();
    await writeSound(ROOT, disk, options);
    sound.set(name, disk);
  };
  await make('plain', {});
  await make('checked', { checkpoints: [12, 26] });
  await make('foreign', { uuid: OTHER_UUID });
});

const soundOf = (name: SoundName): FaultyDisk => sound.get(name)?.copy() ?? new FaultyDisk();

async function damaged(one: DamagedCase): Promise<RepairMachine> {
  const disk = soundOf(one.of ?? 'plain');
  await one.damage(new Deeds(disk), new Deeds(soundOf('foreign')));
  return new RepairMachine(disk.copy(), one.query);
}

/** How a repair that nobody stopped ends. */
interface End {
  readonly position: number;
  readonly events: readonly string[];
  readonly quarantined: readonly string[];
  readonly names: readonly string[];
  readonly states: readonly string[];
  readonly start: unknown;
}

/** Salvaged snapshots are as old as the repair. */
const withoutNow = (state: string): string => state.replace(/"17000\d{14}"/, '"now"');

async function endOf(machine: RepairMachine, position: number): Promise<End> {
  return {
    position,
    events: await machine.events(position),
    quarantined: machine.quarantined(),
    names: machine.names(),
    states: (await statesOf(ROOT, machine.disk)).map(withoutNow),
    start: await startFindings(ROOT, machine.disk),
  };
}

async function undisturbed(one: DamagedCase): Promise<End> {
  const machine = (await damaged(one)).twin();
  const { plan } = await planFor(ROOT, machine.disk, one.query);
  expect(await machine.repair(new Gate())).toBe('repaired');
  return endOf(machine, plan.end.position);
}

/** Nobody starts here, unless all is done. */
async function expectNoStart(machine: RepairMachine, one: DamagedCase): Promise<void> {
  const isHalfFinished = await machine.isHalfFinished();
  const { kind } = (await planFor(ROOT, machine.disk, one.query)).plan;
  const started = startAndAppend(ROOT, machine.disk.copy());
  if (isHalfFinished) await expect(started).rejects.toThrow('a repair was begun');
  else if (kind === 'repair' && one.query === undefined) await expect(started).rejects.toThrow();
  else await started.catch(() => undefined);
}

describe('a repair that is stopped dead', () => {
  it.each(names)(
    'is finished by the next: %s',
    { timeout: all ? 3_600_000 : 60_000 },
    async (name) => {
      const one = cases.find((candidate) => candidate.name === name);
      if (one === undefined) throw new Error(`no case ${name}`);
      const expected = await undisturbed(one);
      const seen = new Set<string>();
      const tried = new Set<string>();
      const counts = { boundaries: 0, states: 0, deaths: 0, pairs: 0, halfFinished: 0 };

      /** The machine as its first repair left it; null when it went through. */
      const dieAt = async (
        at: number,
      ): Promise<{ machine: RepairMachine; where: string } | null> => {
        const machine = await damaged(one);
        const gate = new Gate();
        gate.arm(at);
        if ((await machine.repair(gate)) !== 'died') return null;
        return { machine, where: gate.diedAt ?? '' };
      };

      /** The next repair, which may be stopped too; answers how many boundaries it had. */
      const goOn = async (machine: RepairMachine, what: string): Promise<number> => {
        const isHalfFinished = await machine.isHalfFinished();
        await expectNoStart(machine, one);
        const later = machine.twin();
        const gate = new Gate();
        gate.arm(Infinity);
        const course = await later.repair(gate);
        if (isHalfFinished) counts.halfFinished += 1;
        expect(course === 'finished', `${what}: ${course}`).toBe(isHalfFinished);
        expect(await kindsFound(ROOT, later.disk), what).toEqual([]);
        expect(await endOf(later, expected.position), what).toEqual(expected);
        expect(await later.repair(new Gate()), what).toBe('nothing to do');
        later.powerCut(() => 1);
        expect(await endOf(later, expected.position), `${what}, and the power fails`).toEqual(
          expected,
        );
        return gate.names.length;
      };

      let turn = 0;
      for (; ; counts.boundaries += 1) {
        const first = await dieAt(counts.boundaries);
        if (first === null) break;
        if (seen.size === seen.add(first.machine.digest()).size) continue;
        counts.states += 1;
        for (const death of deaths) {
          const again = async () => {
            const dead = await dieAt(counts.boundaries);
            if (dead === null) throw new Error('two equal repairs differ');
            death.befalls(dead.machine);
            return dead.machine;
          };
          const left = await again();
          // Where nothing waits for a sync, all deaths are one.
          if (tried.size === tried.add(left.digest()).size) continue;
          counts.deaths += 1;
          const nextHas = await goOn(left, `${death.how} ${first.where}`);
          for (let second = 0; second < nextHas; second += 1) {
            turn += 1;
            if (turn % stride !== 0) continue;
            counts.pairs += 1;
            const machine = await again();
            const gate = new Gate();
            gate.arm(second);
            expect(await machine.repair(gate)).toBe('died');
            const other = deaths[counts.pairs % deaths.length] ?? kill;
            other.befalls(machine);
            const then = `${death.how} ${first.where}, then ${other.how} ${gate.diedAt ?? ''}`;
            await goOn(machine, then);
          }
        }
      }
      console.info(`${name}: ${JSON.stringify(counts)}`);
      expect(counts.states).toBeGreaterThan(10);
      expect(counts.halfFinished).toBeGreaterThan(5);
      expect(counts.pairs).toBeGreaterThan(0);
    },
  );

  it('keeps what has the name of the identity and is no file', { timeout: 60_000 }, async () => {
    const kept = 'quarantine-2-T/identity.json/mine.txt';
    const seen = new Set<string>();
    for (let at = 0; ; at += 1) {
      for (const death of [kill, powerCut, torn(1), torn(2)]) {
        const machine = await aRootWithADirectoryForAnIdentity();
        const gate = new Gate();
        gate.arm(at);
        const isThrough = (await machine.repair(gate)) !== 'died';
        death.befalls(machine);
        const later = machine.twin();
        if (seen.size === seen.add(`${String(isThrough)} ${machine.digest()}`).size) continue;
        const what = `${death.how} ${gate.diedAt ?? ''}`;
        // What a start would say: the repair is not finished, or there is no identity to be read.
        if (!isThrough && (await kindsFound(ROOT, later.disk)).length > 0)
          await expect(startAndAppend(ROOT, later.disk.copy()), what).rejects.toThrow();
        await later.repair(new Gate());
        expect(await kindsFound(ROOT, later.disk), what).toEqual([]);
        expect(await statesOf(ROOT, later.disk), what).toEqual(
          await statesOf(ROOT, soundOf('plain')),
        );
        expect(
          later.names().filter((name) => name.endsWith(kept)),
          what,
        ).toHaveLength(1);
        const repaired = (await later.events(30)).filter((event) => event.includes('LogRepaired'));
        expect(repaired, what).toEqual([expect.stringContaining('"files":["identity.json"]')]);
        if (isThrough) return;
      }
    }
  });
});

async function aRootWithADirectoryForAnIdentity(): Promise<RepairMachine> {
  const disk = soundOf('plain');
  const deeds = new Deeds(disk);
  await deeds.remove('identity.json');
  await disk.makeDirectory(deeds.path('identity.json'));
  disk.put(`${deeds.path('identity.json')}/mine.txt`, Buffer.from('mine'));
  return new RepairMachine(disk.copy());
}
