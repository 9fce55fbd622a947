/**
 * Goal: what a process made is kept from others while it runs, or runs again, and from nobody
 * else. Method: the decision by tables, with processes that are said to run or to have ended.
 */
import { beforeEach, describe, expect, it } from 'vitest';
import type { MountEntry, ProcessId, Processes } from '../../src/base/ports.js';
import { snapshotId } from '../../src/base/units.js';
import type { Caller } from '../../src/machines/events/events.js';
import type { SnapshotState } from '../../src/machines/fold.js';
import { makerOf } from '../../src/machines/client-identity.js';
import { ClientReports, type ClientReport } from '../../src/snapshotter/clients/client-reports.js';
import { ABSENT_MILLIS, Clients } from '../../src/snapshotter/clients/clients.js';
import { VirtualClock } from '../support/virtual-clock.js';
import { World } from '../support/world.js';
import { snapshotName } from '../../src/base/units.js';

const at = '/r/snapshots';

interface Running extends ProcessId {
  readonly program: string;
}

let running: Running[];
let mounts: MountEntry[];
let isReadable: boolean;
let searches: number;
let warnings: string[];
let reports: readonly ClientReport[];
let clock: VirtualClock;
let clients: Clients;

const is = (one: ProcessId, other: ProcessId) =>
  one.pid === other.pid && one.startedAt === other.startedAt;

beforeEach(() => {
  [running, mounts, isReadable, searches, warnings, reports] = [[], [], true, 0, [], []];
  clock = new VirtualClock();
  const processes: Processes = {
    startOf: (pid) => running.find((each) => each.pid === pid)?.startedAt ?? null,
    statusOf: (process) => {
      if (!isReadable) return 'unknown';
      return running.some((each) => is(each, process)) ? 'running' : 'ended';
    },
    programOf: (pid) => Promise.resolve(running.find((each) => each.pid === pid)?.program ?? null),
    findProgram: (program) => {
      searches += 1;
      if (!isReadable) return Promise.reject(new Error('EACCES'));
      return Promise.resolve(running.find((each) => each.program === program) ?? null);
    },
    mountViewOf: () => 'ours',
    mountsOf: () => Promise.resolve([]),
    hiddenFrom: () => Promise.resolve([]),
  };
  const clientReports = new ClientReports({
    processes,
    onWarning: (message) => warnings.push(message),
    onChange: (changed) => {
      reports = changed;
    },
  });
  clients = new Clients({
    processes,
    mountTable: { read: () => Promise.resolve(mounts) },
    snapshotsPath: at,
    clock,
    reports: clientReports,
  });
});

function runs(pid: number, startedAt: string, program: string): Caller {
  running.push({ pid, startedAt, program });
  return { pid, startedAt, program };
}

function ends(caller: Caller): void {
  running = running.filter(({ pid }) => pid !== caller.pid);
}

/** An active snapshot that the caller made. */
function madeBy(caller: Caller): SnapshotState {
  const world = new World();
  const key = snapshotName('key');
  world.execute({
    ...{ command: 'Prepare', kind: 'active', key, parent: null, labels: new Map(), caller },
  });
  world.execute({ command: 'DirectoriesReady' }, snapshotId(1));
  const state = world.forest.get(snapshotId(1));
  if (state === undefined) throw new Error('no snapshot');
  return state;
}

async function keptBy(state: SnapshotState, caller: Caller): Promise<string | null> {
  const keeper = await clients.keeperOf(state, caller, 'removal');
  return keeper === null ? null : keeper.kind;
}

const overlay = (upper: number): MountEntry => ({
  ...{ mountId: 9, parentMountId: 1, device: '0:9', root: '/', mountpoint: '/run/web' },
  ...{ options: [], peerGroup: null, master: null, fileSystemType: 'overlay', source: 'overlay' },
  superOptions: [`upperdir=${at}/${upper}/fs`, `workdir=${at}/${upper}/work`],
});

describe('a snapshot whose maker runs', () => {
  it('is its maker’s, and nobody else’s', async () => {
    const first = runs(10, 'boot-1', 'containerd-aa');
    const second = runs(20, 'boot-2', 'containerd-bb');
    const state = madeBy(first);
    expect(await keptBy(state, first)).toBeNull();
    expect(await keptBy(state, second)).toBe('maker');
    // The same program, twice at a time, is two clients.
    expect(await keptBy(state, runs(30, 'boot-3', 'containerd-aa'))).toBe('maker');
    // A client of another pid namespace, and one through the library.
    expect(await keptBy(state, { pid: 0, uid: 0 })).toBe('maker');
    expect(await keptBy(state, {})).toBe('maker');
    // Its own start could not be read when it connected.
    expect(await keptBy(state, { pid: 10, uid: 0 })).toBeNull();
  });

  it('is told once for each pair of clients, until one of them ends', async () => {
    const [first, second] = [runs(10, 'boot-1', 'one-aa'), runs(20, 'boot-2', 'two-bb')];
    await clients.identify(second);
    const state = madeBy(first);
    await keptBy(state, second);
    await keptBy(state, second);
    expect(warnings).toHaveLength(1);
    expect(reports.map(({ fault }) => fault)).toEqual(['shared socket']);
    expect(reports[0]?.reason).toMatch(/^process 10 \(one\) and process 20 \(two\) use this/);
    await keptBy(state, runs(30, 'boot-3', 'three-cc'));
    expect(warnings).toHaveLength(2);
    ends(second);
    // Whoever is told next looks at all that were.
    await keptBy(madeBy(runs(40, 'boot-4', 'four-dd')), runs(50, 'boot-5', 'five-ee'));
    expect(reports.map(({ reason }) => reason.slice(0, 32))).toEqual([
      'process 10 (one) and process 30 ',
      'process 40 (four) and process 50',
    ]);
  });

  it('is told once for a pair that asks in both directions', async () => {
    const first = runs(10, 'boot-1', 'containerd-aa');
    const second = runs(20, 'boot-2', 'containerd-bb');
    expect(await keptBy(madeBy(first), second)).toBe('maker');
    expect(await keptBy(madeBy(second), first)).toBe('maker');
    expect(warnings).toHaveLength(1);
    expect(reports).toHaveLength(1);
  });

  it('is kept when /proc cannot be read', async () => {
    const first = runs(10, 'boot-1', 'containerd-aa');
    const state = madeBy(first);
    isReadable = false;
    expect(await keptBy(state, { pid: 20, startedAt: 'boot-2' })).toBe('unknown');
    expect(await keptBy(state, first)).toBeNull();
  });
});

describe('a snapshot whose maker has ended', () => {
  it('is whoever’s asks, when nothing runs that program', async () => {
    const first = runs(10, 'boot-1', 'containerd-aa');
    const state = madeBy(first);
    ends(first);
    expect(await keptBy(state, runs(20, 'boot-2', 'containerd-bb'))).toBeNull();
    expect(await keptBy(state, {})).toBeNull();
    expect(reports).toEqual([]);
  });

  it('is the program’s that was started again, and no other client’s', async () => {
    const first = runs(10, 'boot-1', 'containerd-aa');
    const second = runs(20, 'boot-2', 'containerd-bb');
    const state = madeBy(first);
    ends(first);
    const again = runs(11, 'boot-9', 'containerd-aa');
    expect(await keptBy(state, again)).toBeNull();
    expect(await keptBy(state, second)).toBe('successor');
    expect(reports.map(({ reason }) => reason.slice(0, 40))).toEqual([
      'process 11 (containerd) and process 20 (',
    ]);
    ends(again);
    expect(await keptBy(state, second)).toBeNull();
  });

  it.each([
    ['another process has its pid', { pid: 10, startedAt: 'boot-8' }],
    [
      'another process has its pid, after a reboot at the same tick',
      { pid: 10, startedAt: 'toob-1' },
    ],
  ])('is free although %s', async (_what, { pid, startedAt }) => {
    const state = madeBy({ pid: 10, startedAt: 'boot-1', program: 'containerd-aa' });
    const other = runs(pid, startedAt, 'shell-cc');
    expect(await keptBy(state, runs(20, 'boot-2', 'containerd-bb'))).toBeNull();
    expect(await keptBy(state, other)).toBeNull();
  });

  it('is kept while it is mounted, from all but its own program', async () => {
    const state = madeBy({ pid: 10, startedAt: 'boot-1', program: 'containerd-aa' });
    const second = runs(20, 'boot-2', 'containerd-bb');
    mounts = [overlay(1)];
    expect(await keptBy(state, second)).toBe('mount');
    expect(await keptBy(state, runs(11, 'boot-9', 'containerd-aa'))).toBeNull();
    ends({ pid: 11 });
    // It may be used all the same: only its removal takes it from under the container.
    expect(await clients.keeperOf(state, second, 'use')).toBeNull();
    mounts = [overlay(2)];
    expect(await keptBy(state, second)).toBeNull();
  });

  it('is kept when nobody can tell whether its program runs', async () => {
    const state = madeBy({ pid: 10, startedAt: 'boot-1', program: 'containerd-aa' });
    const second = runs(20, 'boot-2', 'containerd-bb');
    await clients.identify(second);
    isReadable = false;
    expect(await keptBy(state, second)).toBe('unknown');
  });

  it('costs one search of /proc for a whole collection, and a new one later', async () => {
    const state = madeBy({ pid: 10, startedAt: 'boot-1', program: 'containerd-aa' });
    const second = runs(20, 'boot-2', 'containerd-bb');
    for (let removals = 0; removals < 100; removals += 1) await keptBy(state, second);
    expect(searches).toBe(1);
    await clock.advance(ABSENT_MILLIS);
    await keptBy(state, second);
    expect(searches).toBe(2);
  });
});

it('keeps nothing that was made by a process without a known start, or through the library', async () => {
  const client = runs(20, 'boot-2', 'containerd-bb');
  for (const caller of [{}, { pid: 0, uid: 0 }, { pid: 10, uid: 0 }]) {
    expect(await keptBy(madeBy(caller), client)).toBeNull();
  }
});

it('knows the program of a caller only when that process still has the pid', async () => {
  const first = runs(10, 'boot-1', 'containerd-aa');
  expect(await clients.identify({ pid: 10, startedAt: 'boot-1' })).toEqual(first);
  expect(await clients.identify({ pid: 10, startedAt: 'boot-0' })).toEqual({
    ...{ pid: 10, startedAt: 'boot-0' },
  });
  expect(makerOf({ pid: 10, startedAt: 'boot-0' })?.program).toBeNull();
});
