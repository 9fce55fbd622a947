/** What a client may do with what another one made: commands and the answers, as in decide.test.ts. */
import { expect, it } from 'vitest';
import { snapshotId, snapshotName, type SnapshotId } from '../../src/base/units.js';
import type { Command, CommandOf } from '../../src/machines/commands.js';
import type { Caller } from '../../src/machines/events/events.js';
import { TARGET_LABEL } from '../../src/machines/labels.js';
import type { Keeper } from '../../src/machines/client-identity.js';
import { classOf } from '../../src/machines/refusals.js';
import { World } from '../support/world.js';

const first = { pid: 842, startedAt: '5f0c1f6e-8167', program: 'containerd-9d530a4b' };
const caller = { pid: 977, startedAt: '5f0c1f6e-9000', program: 'k3s-server-00000000' };
const usage = { size: 4096, inodes: 1 };
const REF = 'sha256:aaaa';
const about = { labels: new Map<string, string>(), caller };

const prepare = (key: string, parent: string | null = null): CommandOf<'Prepare'> => ({
  ...{ command: 'Prepare', kind: 'active', key: snapshotName(key), ...about },
  parent: parent === null ? null : snapshotName(parent),
});
const prepareWithRef: CommandOf<'Prepare'> = {
  ...prepare('k'),
  labels: new Map([[TARGET_LABEL, REF]]),
};
const commit = (key: string, name: string): CommandOf<'Commit'> => ({
  ...{ command: 'Commit', key: snapshotName(key), name: snapshotName(name), ...about },
  parent: null,
});
const update = (name: string): CommandOf<'UpdateLabels'> => ({
  ...{ command: 'UpdateLabels', name: snapshotName(name), ...about },
  paths: [],
});
const remove = (name: string): CommandOf<'Remove'> => ({
  ...{ command: 'Remove', name: snapshotName(name), deferred: false, caller },
});

class Given extends World {
  active(key: string, parent: string | null = null, by: Caller = first): this {
    this.must({ ...prepare(key, parent), caller: by });
    return this.then({ command: 'DirectoriesReady' });
  }

  layer(name: string): this {
    this.active(`${name}-key`);
    this.must(commit(`${name}-key`, name));
    return this.then({
      command: 'DataReady',
      usage,
      owner: { uid: 0, gid: 0 },
      durability: 'data',
    });
  }

  remote(): this {
    const fileSystems = ['fs'];
    const key = snapshotName('layer-key');
    this.must({ ...prepareWithRef, key, caller: first, fileSystems });
    this.then({ command: 'DirectoriesReady' });
    const owner = { uid: 0, gid: 0 };
    return this.then({ command: 'RemoteReady', fileSystem: 'fs', usage, owner });
  }

  /** An outcome for the youngest snapshot. */
  then(command: Command): this {
    this.must(command, snapshotId(this.forest.nextId - 1));
    return this;
  }

  must(command: Command, id: SnapshotId | null = null): void {
    const decision = this.execute(command, id);
    if (!decision.ok) throw new Error(decision.refusal.message);
  }
}

const given = () => new Given();

/** `Class Name` of the refusal, or the types of the events. */
function answer(world: World, command: Command): string {
  const decision = world.execute(command);
  if (decision.ok) return decision.value.map(({ type }) => type).join(' ');
  return `${classOf(decision.refusal)} ${decision.refusal.name}`;
}

const keepers: readonly (readonly [string, Keeper, string])[] = [
  [
    'its maker runs',
    { kind: 'maker', maker: first },
    'process 842 (containerd) made it and still runs; give each containerd a Stratalog',
  ],
  [
    'its maker runs again',
    { kind: 'successor', maker: first, pid: 900 },
    'process 842 (containerd) made it, and runs again as process 900; give each containerd',
  ],
  [
    'it is mounted',
    { kind: 'mount', maker: first, mountpoint: '/run/web' },
    'made it and has ended, but it is mounted on "/run/web"; unmount it first',
  ],
  [
    'nobody can tell',
    { kind: 'unknown', maker: first, reason: 'EACCES: conflict' },
    'whether process 842 (containerd), which made it, still runs is unknown: "EACCES: conflict"; try again',
  ],
];

it.each(keepers)('is not removed, committed or relabelled while %s', (_what, keeper, words) => {
  const commands: readonly (readonly [string, Command])[] = [
    ['remove', { ...remove('k'), keeper }],
    ['commit', { ...commit('k', 'layer'), keeper }],
    ['update', { ...update('k'), keeper }],
  ];
  for (const [verb, command] of commands) {
    const decision = given().active('k').execute(command);
    if (decision.ok) throw new Error('it was accepted');
    const { refusal } = decision;
    expect(`${classOf(refusal)} ${refusal.name}`).toBe('FailedPrecondition KeptFromCaller');
    expect(refusal.message).toContain(`process 977 (k3s-server) cannot ${verb} snapshot "k": `);
    expect(refusal.message).toContain(words);
    // containerd would take these for other errors, which its collection does not bear.
    expect(refusal.message).not.toMatch(/: (conflict|not modified)$/);
    expect(refusal.message).toMatch(/: failed precondition$/);
  }
});

it('is not taken for one’s own when names meet', () => {
  const nameKeeper: Keeper = { kind: 'maker', maker: first };
  const world = given().layer('layer').active('k');
  for (const command of [prepare('k'), commit('k', 'layer')]) {
    expect(answer(world, { ...command, nameKeeper })).toBe('FailedPrecondition KeptFromCaller');
    expect(answer(world, { ...command, nameKeeper: null })).toBe('AlreadyExists NameInUse');
  }
});

it('is refused before anything is told about it', () => {
  const keeper: Keeper = { kind: 'maker', maker: first };
  const world = given().layer('base').active('child', 'base');
  expect(answer(world, { ...remove('base'), keeper })).toBe('FailedPrecondition KeptFromCaller');
  expect(answer(world, { ...remove('nobody'), keeper })).toBe('NotFound SnapshotUnknown');
  expect(answer(world, { ...commit('child', 'base'), keeper })).toBe(
    'FailedPrecondition KeptFromCaller',
  );
  expect(answer(world, remove('child'))).toBe('SnapshotRemoving');
});

it('does not serve as a remote layer, and a plain snapshot does', () => {
  const world = given().remote();
  expect(answer(world, prepareWithRef)).toBe('AlreadyExists TargetReady');
  const declined = { fileSystems: ['fs'], declined: 'it is another client’s' };
  const withheld = { ...prepareWithRef, ...declined, withholdsReady: true };
  expect(answer(world, withheld)).toBe('SnapshotPreparing');
  world.then({ command: 'DirectoriesReady' });
  expect(world.forest.shown(snapshotName('k'))?.status).toBe('active');
});

it('is told apart by the maker, who is kept through commit', () => {
  const world = given().active('k', null, caller);
  world.must({ ...commit('k', 'layer'), caller: first });
  world.then({ command: 'DataReady', usage, owner: { uid: 0, gid: 0 }, durability: 'data' });
  expect(world.forest.shown(snapshotName('layer'))?.maker).toEqual(caller);
  const ofLibrary = given().active('of the library', null, {});
  expect(ofLibrary.forest.get(snapshotId(1))?.maker).toBeNull();
});
