/**
 * Goal: every kind of damage that a log can have is found, repaired as far as it can be, and
 * nothing is lost that need not be. Method: a corpus of damaged roots; the sound log they were
 * made of says what each must hold afterwards.
 */
import { beforeAll, describe, expect, it } from 'vitest';
import { HostFault } from '../../src/base/errors.js';
import { snapshotId } from '../../src/base/units.js';
import { replayRoot } from '../../src/inspect/archive/replay-root.js';
import { readLog } from '../../src/log/reader.js';
import { FaultyDisk } from '../support/faulty-disk.js';
import { S8, type DamagedCase, type SoundName } from './case.js';
import { cases } from './cases.js';
import { Deeds } from './deeds.js';
import {
  EVENTS,
  kindsFound,
  MAPPED,
  OTHER_UUID,
  planFor,
  repair,
  ROOT,
  startAndAppend,
  startFindings,
  statesOf,
  writeSound,
} from './rig.js';

const sound = new Map<SoundName, FaultyDisk>();

beforeAll(async () => {
  const make = async (name: SoundName, options: Parameters<typeof writeSound>[2]) => {
    const disk = new FaultyDisk();
    await writeSound(ROOT, disk, options);
    sound.set(name, disk);
  };
  await make('plain', {});
  await make('checked', { checkpoints: [12, 26] });
  await make('old', { checkpoints: [12, 26], retireBefore: 12 });
  await make('foreign', { uuid: OTHER_UUID });
  await make('empty', { events: 0 });
});

const soundOf = (name: SoundName): FaultyDisk => {
  const disk = sound.get(name);
  if (disk === undefined) throw new Error(`no sound root ${name}`);
  return disk.copy();
};

async function damaged(one: DamagedCase): Promise<FaultyDisk> {
  const disk = soundOf(one.of ?? 'plain');
  await one.damage(new Deeds(disk), new Deeds(soundOf('foreign')));
  return disk.copy();
}

const filesOf = (disk: FaultyDisk): Map<string, Buffer> =>
  new Map(
    disk
      .paths()
      .filter((path) => path.includes('.'))
      .map((path) => [path.slice(path.lastIndexOf('/') + 1), Buffer.from(disk.bytes(path))]),
  );

const idsOf = (list: readonly { readonly id: number }[]): number[] => list.map(({ id }) => id);

describe('a damaged root', () => {
  it.each(cases.map((one) => [one.name, one] as const))('%s', async (_, one) => {
    const disk = await damaged(one);
    expect(await kindsFound(ROOT, disk)).toEqual(one.finds);
    const before = filesOf(disk);
    const planned = await planFor(ROOT, disk, one.query);
    const { plan } = planned;
    expect(plan.kind).toBe(one.kind ?? 'repair');
    expect(filesOf(disk)).toEqual(before);
    if (plan.kind !== 'repair') {
      expect(plan.needsPerson).toHaveLength(plan.kind === 'sound' ? 0 : 1);
      return;
    }
    const end = one.end ?? EVENTS;
    expect(plan.takenOut.map(({ file }) => file).sort()).toEqual([...(one.takes ?? [])].sort());
    expect(plan.end.position).toBe(end);
    expect(plan.lost === null ? undefined : [plan.lost.from, plan.lost.to]).toEqual(one.lost);
    expect(plan.kept).toEqual(one.kept ?? []);
    expect(idsOf(plan.salvaged)).toEqual(one.salvaged ?? []);

    const done = await repair(ROOT, disk, planned);
    const directory = `${ROOT}/log/${done.quarantine}`;
    for (const { file } of plan.takenOut) {
      expect(disk.bytes(`${directory}/${file}`).equals(before.get(file) ?? Buffer.alloc(0))).toBe(
        true,
      );
    }
    expect(done.epoch).toBe(one.epoch ?? 2);
    expect(await kindsFound(ROOT, disk)).toEqual([]);
    const first = await firstOf(disk, end);
    expect(first?.type).toBe('LogRepaired');
    if (end > (one.start ?? 0)) expect((await firstOf(disk, 0))?.position).toBe(one.start ?? 0);
    expect((await planFor(ROOT, disk)).plan.kind).toBe('sound');
    await expectStates(disk, one, end);
    // A start accepts it, and no directory is anybody's garbage.
    expect(await startAndAppend(ROOT, disk)).toBe(one.epoch ?? 2);
    const orphans = (await startFindings(ROOT, disk)).filter(
      ({ kind }) => kind === 'OrphanDirectory',
    );
    expect(orphans).toEqual([]);
  });

  it('is one of at least fifty', () => {
    expect(new Set(cases.map(({ name }) => name)).size).toBeGreaterThanOrEqual(50);
  });
});

it('that ends while ids are mapped has the preparation finished', async () => {
  const disk = new FaultyDisk();
  await writeSound(ROOT, disk, { withMappedIds: true });
  const directories = [1, 2, 3, 4, 5, 6, 8, MAPPED].map(snapshotId);
  // IdMappingStarted is the last event that is kept.
  const planned = await planFor(ROOT, disk, { endAt: EVENTS + 2 }, directories);
  if (planned.plan.kind !== 'repair') throw new Error(planned.plan.kind);
  expect(idsOf(planned.plan.finished)).toEqual([MAPPED]);
  await repair(ROOT, disk, planned);
  expect(await kindsFound(ROOT, disk)).toEqual([]);
  const { replay } = await replayRoot(disk, ROOT);
  expect(replay.forest.get(snapshotId(MAPPED))?.status).toBe('active');
  const kinds = (await startFindings(ROOT, disk, directories)).map(({ kind }) => kind);
  expect(kinds).not.toContain('OrphanDirectory');
  expect(kinds).not.toContain('AbandonedPreparation');
});

async function firstOf(disk: FaultyDisk, from: number) {
  for await (const record of readLog({ root: ROOT, disk, from })) return record;
  return null;
}

/** What the sound log says of the last position that is kept is what the repaired one says. */
async function expectStates(disk: FaultyDisk, one: DamagedCase, end: number): Promise<void> {
  const states = await statesOf(ROOT, disk);
  const isNew = (one.epoch ?? 2) === 1;
  const expected = isNew ? [] : await statesOf(ROOT, soundOf(one.of ?? 'plain'), end);
  const salvaged = new Set(one.salvaged ?? []);
  const others = states.filter((line) => !salvaged.has(Number(/^\[(\d+)/.exec(line)?.[1])));
  expect(states.length - others.length).toBe(salvaged.size);
  const finished = (line: string): string =>
    line.replace('"preparing"', '"active"').replace(/"version":\d+/, '');
  expect(others.map(finished)).toEqual(expected.map(finished));
}

it('is not repaired by a disk that cannot read it now', async () => {
  const disk = soundOf('plain');
  const before = filesOf(disk);
  const open = disk.open.bind(disk);
  disk.open = (path, mode) =>
    path.endsWith(S8) ? Promise.reject(new HostFault('open', path, 'EIO')) : open(path, mode);
  await expect(planFor(ROOT, disk)).rejects.toMatchObject({ code: 'EIO' });
  expect(filesOf(disk)).toEqual(before);
});
