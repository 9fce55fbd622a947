/**
 * Goal: directories that were made ahead are never two snapshots' or nobody's, and are never
 * given where their owner would be wrong. Method: a snapshotter on real directories; what stands
 * in snapshots/ is compared with what the log says.
 */
import * as fs from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  TestDaemon,
  testRoot,
  told,
  until,
  upperOf,
  valueOf,
  type TestRoot,
} from '../support/daemon.js';

let root: TestRoot;
let daemon: TestDaemon;

beforeEach(() => {
  root = testRoot();
});

afterEach(async () => {
  await daemon.close();
  root.remove();
});

/** The ids in the log's words: set aside, given out, dropped. */
async function idsOfType(type: string): Promise<number[]> {
  const records = await daemon.eventsOfType(type);
  return records.flatMap(({ data }) => {
    const { ids, id } = data as { ids?: number[]; id?: number };
    return ids ?? (id === undefined ? [] : [id]);
  });
}

async function open(count: number, durability: 'data' | 'metadata' = 'metadata'): Promise<void> {
  daemon = await TestDaemon.open(root, { preallocatedDirectories: count, durability });
}

/** The first Prepare finds none, and has them made. */
async function filled(count: number): Promise<void> {
  valueOf(await daemon.prepare('first'));
  await until('the spares stand', async () => {
    const reserved = await idsOfType('DirectoriesPreallocated');
    const isAtWork = daemon.snapshotter.actors().length > 0;
    return reserved.length === count && !isAtWork;
  });
}

test.each(['data', 'metadata'] as const)(
  'are given to the next snapshots, each with one append (%s)',
  async (durability) => {
    await open(4, durability);
    await filled(4);
    const before = (await daemon.events()).length;
    const upper = upperOf(valueOf(await daemon.prepare('second')));
    const status = fs.lstatSync(upper);
    expect(status.mode & 0o7777).toBe(0o755);
    expect([status.uid, status.gid]).toEqual([process.getuid?.(), process.getgid?.()]);
    expect(fs.readdirSync(upper)).toEqual([]);
    const [preparing, prepared] = (await daemon.events()).slice(before);
    expect(preparing).toMatchObject({ type: 'SnapshotPreparing', stream: 'snapshot-2' });
    expect(prepared).toMatchObject({ type: 'SnapshotPrepared', stream: 'snapshot-2' });
    valueOf(await daemon.view('a view'));
    expect(daemon.list()).toEqual(['a view', 'first', 'second']);
  },
);

test('never have two owners, however many ask at once', async () => {
  await open(4);
  const keys = Array.from({ length: 60 }, (_, number) => `key ${number}`);
  const uppers = await Promise.all(
    keys.map(async (key) => upperOf(valueOf(await daemon.prepare(key)))),
  );
  expect(new Set(uppers).size).toBe(60);
  for (const upper of uppers) expect(fs.readdirSync(upper)).toEqual([]);
});

test('are given only where the parent has the same owner', async () => {
  await open(4);
  await filled(4);
  const mounts = valueOf(await daemon.prepare('strange'));
  fs.chownSync(upperOf(mounts), 1234, 5678);
  valueOf(await daemon.commit('strange', 'owned by 1234'));
  await daemon.layer('ours');
  const child = fs.lstatSync(upperOf(valueOf(await daemon.prepare('child', 'owned by 1234'))));
  expect([child.uid, child.gid]).toEqual([1234, 5678]);
  const labels = new Map([
    ['containerd.io/snapshot/uidmapping', '0:100000:65536'],
    ['containerd.io/snapshot/gidmapping', '0:200000:65536'],
  ]);
  const mapped = upperOf(valueOf(await daemon.prepare('k8s.io/1/mapped', 'ours', labels)));
  expect([fs.lstatSync(mapped).uid, fs.lstatSync(mapped).gid]).toEqual([100000, 200000]);
  const before = daemon.directories().length;
  valueOf(await daemon.prepare('plain', 'ours'));
  expect(daemon.directories().length).toBeLessThanOrEqual(before);
});

test('are given again when a refusal has given them back', async () => {
  await open(2);
  await filled(2);
  expect(told(await daemon.prepare('first'))).toBe('AlreadyExists NameInUse');
  expect(told(await daemon.prepare('x', 'no such parent'))).toBe('NotFound ParentUnknown');
  valueOf(await daemon.prepare('second'));
  expect(await idsOfType('SnapshotPreparing')).toEqual([1, 2]);
});

test('are not garbage to Cleanup while the daemon lives, and go when it stops', async () => {
  await open(6);
  await filled(6);
  valueOf(await daemon.prepare('second'));
  await daemon.cleanup();
  expect(daemon.directories()).toHaveLength(7);
  expect(await daemon.eventsOfType('OrphanFound')).toEqual([]);
  await daemon.close();
  expect(daemon.directories()).toEqual(['1', '2']);
  expect(await idsOfType('PreallocatedReleased')).toEqual([3, 4, 5, 6, 7]);
  await open(0);
});

test('go with the next start after a crash, and their ids do not come again', async () => {
  await open(4);
  await filled(4);
  await daemon.crash();
  expect(daemon.directories()).toHaveLength(5);
  await open(0);
  expect(daemon.assembled.plan.candidates).toMatchObject(
    [2, 3, 4, 5].map((id) => ({ id, because: 'preallocated' })),
  );
  expect(daemon.directories()).toEqual(['1']);
  expect(await idsOfType('PreallocatedReleased')).toEqual([2, 3, 4, 5]);
  expect(await daemon.eventsOfType('OrphanFound')).toEqual([]);
  valueOf(await daemon.prepare('next'));
  expect(await idsOfType('SnapshotPreparing')).toEqual([1, 6]);
  await daemon.crash();
  await open(0);
  expect(daemon.assembled.plan.findings).toEqual([]);
});

test('where something stands already are left out, and it becomes nobody’s snapshot', async () => {
  await open(4);
  for (const id of [3, 5]) {
    fs.mkdirSync(`${root.snapshots}/${id}/fs`, { recursive: true });
    fs.writeFileSync(`${root.snapshots}/${id}/fs/stray`, 'not ours');
  }
  valueOf(await daemon.prepare('first'));
  await until('it was told', () => daemon.warnings.length > 0);
  expect(daemon.warnings[0]).toMatch(/not ours/);
  await until(
    'they are nobody’s now',
    async () => (await idsOfType('PreallocatedReleased')).length === 2,
  );
  expect(await idsOfType('PreallocatedReleased')).toEqual([3, 5]);
  for (const key of ['second', 'third', 'fourth', 'fifth', 'sixth']) {
    expect(fs.readdirSync(upperOf(valueOf(await daemon.prepare(key))))).toEqual([]);
  }
  await daemon.cleanup();
  for (const id of [3, 5]) {
    expect(fs.readFileSync(`${root.snapshots}/${id}/fs/stray`, 'utf8')).toBe('not ours');
  }
  expect(await daemon.eventsOfType('OrphanFound')).toEqual([]);
  const [setAside] = await daemon.eventsOfType('DirectoriesSetAside');
  expect(setAside?.data).toEqual({
    directories: ['3', '5'].map((name) => {
      return { name, because: 'unowned', evidence: 'fs is not empty' };
    }),
  });
});
