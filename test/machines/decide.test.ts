/**
 * The rules between snapshots, each as given events, when a command, then events or a refusal.
 * All statuses and commands at once: test/golden/decisions.md.
 */
import { describe, expect, it } from 'vitest';
import { snapshotId, snapshotName, type Labels } from '../../src/base/units.js';
import type { Command, CommandOf } from '../../src/machines/commands.js';
import { infoOf } from '../../src/machines/snapshots/info.js';
import {
  GID_MAPPING_LABEL,
  PARENT_CHAIN_LABEL,
  REMOTE_LABEL,
  TARGET_LABEL,
  UID_MAPPING_LABEL,
} from '../../src/machines/labels.js';
import { classOf } from '../../src/machines/refusals.js';
import { World } from '../support/world.js';

const usage = { size: 4096, inodes: 1 };
const none: Labels = new Map();
const REF = 'sha256:aaaa';
const withRef: Labels = new Map([[TARGET_LABEL, REF]]);
const orNull = (name: string | null) => (name === null ? null : snapshotName(name));

const prepare = (
  key: string,
  parent: string | null = null,
  labels = none,
): CommandOf<'Prepare'> => ({
  command: 'Prepare',
  kind: 'active',
  key: snapshotName(key),
  parent: orNull(parent),
  labels,
  caller: {},
});
const view = (key: string, parent: string | null = null): Command => ({
  ...prepare(key, parent),
  kind: 'view',
});
const commit = (
  key: string,
  name: string,
  parent: string | null = null,
  labels = none,
): Command => ({
  command: 'Commit',
  key: snapshotName(key),
  name: snapshotName(name),
  parent: orNull(parent),
  labels,
  caller: {},
});
const update = (name: string, labels: Labels, ...paths: string[]): Command => ({
  command: 'UpdateLabels',
  name: snapshotName(name),
  labels,
  paths,
  caller: {},
});
const remove = (name: string): Command => ({
  command: 'Remove',
  name: snapshotName(name),
  deferred: false,
  caller: {},
});

/** The story so far, told in commands; `act` finishes what a command has begun. */
class Given extends World {
  active(key: string, parent: string | null = null, labels = none): this {
    return this.#begin(prepare(key, parent, labels));
  }

  view(key: string, parent: string | null = null): this {
    return this.#begin(view(key, parent));
  }

  layer(name: string, parent: string | null = null, labels = none): this {
    this.active(`${name}-key`, parent);
    this.must(commit(`${name}-key`, name, null, labels));
    return this.then({
      command: 'DataReady',
      usage,
      owner: { uid: 0, gid: 0 },
      durability: 'data',
    });
  }

  mounting(key: string, parent: string | null = null): this {
    return this.#begin({ ...prepare(key, parent, withRef), fileSystems: ['fs'] });
  }

  remote(parent: string | null = null): this {
    return this.mounting(`key on ${parent ?? 'nothing'}`, parent).then({
      ...{ command: 'RemoteReady', fileSystem: 'fs' },
      usage,
      owner: { uid: 0, gid: 0 },
    });
  }

  /** An outcome for the youngest snapshot. */
  then(command: Command): this {
    this.must(command, this.forest.nextId - 1);
    return this;
  }

  must(command: Command, about = 0): void {
    const decision = this.execute(command, snapshotId(about));
    if (!decision.ok) throw new Error(decision.refusal.message);
  }

  #begin(command: Command): this {
    this.must(command);
    return this.then({ command: 'DirectoriesReady' });
  }
}

/** `Class Name` of the refusal, or the types of the events. */
function answer(world: World, command: Command): string {
  const decision = world.execute(command);
  if (decision.ok) return decision.value.map(({ type }) => type).join(' ');
  return `${classOf(decision.refusal)} ${decision.refusal.name}`;
}

const given = () => new Given();

describe('Prepare and View', () => {
  it.each([prepare, view])('find nothing under an unknown parent', (ask) => {
    expect(answer(given(), ask('k', 'nobody'))).toBe('NotFound ParentUnknown');
  });

  it.each([
    ['active', given().active('p')],
    ['a view', given().view('p')],
  ])('cannot stand on a parent that is %s', (_kind, world) => {
    expect(answer(world, prepare('k', 'p'))).toBe('InvalidArgument ParentNotCommitted');
    expect(answer(world, view('k', 'p'))).toBe('InvalidArgument ParentNotCommitted');
  });

  it.each([
    ['an active one', given().active('k')],
    ['a view', given().view('k')],
    ['a committed one', given().layer('k')],
    ['one that is being prepared', given().mounting('k')],
  ])('refuse a key that %s has', (_kind, world) => {
    const before = world.forest.size;
    expect(answer(world, prepare('k'))).toBe('AlreadyExists NameInUse');
    expect(answer(world, view('k'))).toBe('AlreadyExists NameInUse');
    expect(world.forest.size).toBe(before);
  });

  it('notice the parent before the key', () => {
    expect(answer(given().active('k'), prepare('k', 'nobody'))).toBe('NotFound ParentUnknown');
  });

  it('refuse an empty key, and one that no store could hold', () => {
    expect(answer(given(), prepare(''))).toBe('InvalidArgument InvalidName');
    expect(answer(given(), prepare('k'.repeat(32_769)))).toBe('InvalidArgument InvalidName');
    expect(answer(given(), prepare('€'.repeat(10_923)))).toBe('InvalidArgument InvalidName');
    expect(answer(given(), prepare('€'.repeat(10_922)))).not.toContain('InvalidName');
    expect(answer(given(), prepare('k'.repeat(32_768)))).not.toContain('InvalidName');
  });

  it('take a key of a kilobyte with slashes, spaces and letters of other alphabets', () => {
    expect(answer(given(), prepare(`k8s.io/7/ ${'ключ/'.repeat(200)}`))).toBe('SnapshotPreparing');
  });

  it('take a megabyte of labels, and refuse more than an event or a message can hold', () => {
    const labels = (count: number): Labels =>
      new Map(Array.from({ length: count }, (_, n) => [`label-${n}`, 'v'.repeat(1000)]));
    expect(answer(given(), prepare('k', null, labels(1000)))).toBe('SnapshotPreparing');
    expect(answer(given(), prepare('k', null, labels(2200)))).toBe('InvalidArgument InvalidLabel');
  });

  it('take a label of 4096 bytes and refuse one of 4097, pluralize in bytes', () => {
    const label = (value: string): Labels => new Map([['k', value]]);
    expect(answer(given(), prepare('k', null, label('ü'.repeat(2047) + 'x')))).toBe(
      'SnapshotPreparing',
    );
    expect(answer(given(), prepare('k', null, label('ü'.repeat(2048))))).toBe(
      'InvalidArgument InvalidLabel',
    );
  });

  it('store no empty label, no remote mark and no credentials', () => {
    const labels = new Map([
      ['a', '1'],
      ['empty', ''],
      [REMOTE_LABEL, 'remote snapshot'],
      ['containerd.io/snapshot/pullsecret', 'hunter2'],
    ]);
    const world = given().active('k', null, labels);
    expect(world.forest.shown(snapshotName('k'))?.labels).toEqual(new Map([['a', '1']]));
  });

  it.each([
    [UID_MAPPING_LABEL, '1:1000:10', 'id 0 is not mapped'],
    [UID_MAPPING_LABEL, '0:1000', 'not three numbers'],
    [GID_MAPPING_LABEL, '0:1000:0', 'a range of nothing'],
    [GID_MAPPING_LABEL, '0:4294967295:1', 'beyond the last id'],
    [UID_MAPPING_LABEL, '0:-1:10', 'a negative id'],
  ])('refuse the mapping %s=%s: %s', (label, value) => {
    const labels = new Map([[label, value]]);
    expect(answer(given(), prepare('k', null, labels))).toBe('InvalidArgument InvalidMapping');
  });

  it('believe no mapping on a key made for unpacking, since the image wrote it', () => {
    const labels = new Map([[UID_MAPPING_LABEL, 'nonsense']]);
    const key = 'default/3/extract-814019370-9yMk sha256:ab';
    expect(answer(given(), prepare(key, null, labels))).toBe('SnapshotPreparing');
  });
});

describe('Commit', () => {
  it('finds nothing under an unknown key', () => {
    expect(answer(given(), commit('k', 'n'))).toBe('NotFound SnapshotUnknown');
  });

  it('refuses a name in use, and leaves the key as it was', () => {
    const world = given().layer('n').active('k');
    expect(answer(world, commit('k', 'n'))).toBe('AlreadyExists NameInUse');
    expect(answer(world, commit('k', 'k'))).toBe('AlreadyExists NameInUse');
    expect(answer(world, commit('k', 'free'))).toBe('SnapshotCommitting');
  });

  it.each([
    ['a view', given().view('k')],
    ['a committed snapshot', given().layer('k')],
  ])('refuses %s', (_kind, world) => {
    expect(answer(world, commit('k', 'n'))).toBe('FailedPrecondition NotActive');
  });

  it('replaces labels, resets both times, frees the key and keeps the id', () => {
    const world = given().active('k', null, new Map([['old', '1']]));
    const before = world.forest.shown(snapshotName('k'));
    world.must(commit('k', 'n', null, new Map([['new', '2']])));
    world.then({ command: 'DataReady', usage, owner: { uid: 0, gid: 0 }, durability: 'data' });
    const after = world.forest.shown(snapshotName('n'));
    expect(after).toMatchObject({ id: before?.id, usage, status: 'committed.available' });
    expect(after?.labels).toEqual(new Map([['new', '2']]));
    expect(after?.createdAt).toBe(after?.updatedAt);
    expect(after?.createdAt).not.toBe(before?.createdAt);
    expect(world.forest.shown(snapshotName('k'))).toBeUndefined();
    expect(answer(world, prepare('k'))).toBe('SnapshotPreparing');
  });

  it('puts a parentless snapshot onto the parent it names', () => {
    const world = given().layer('base').active('k');
    world.must(commit('k', 'n', 'base'));
    // While that is under way, the parent must not go.
    expect(answer(world, remove('base'))).toBe('FailedPrecondition HasChildren');
    world.then({ command: 'DataReady', usage, owner: { uid: 0, gid: 0 }, durability: 'data' });
    expect(world.forest.shown(snapshotName('n'))?.parent?.name).toBe('base');
  });

  it.each([
    ['another parent than it has', 'other', 'InvalidArgument ParentDiffers'],
    ['its own parent', 'base', 'SnapshotCommitting'],
  ])('given %s', (_what, parent, expected) => {
    const world = given().layer('base').layer('other').active('k', 'base');
    expect(answer(world, commit('k', 'n', parent))).toBe(expected);
  });

  it.each([
    ['that is unknown', 'nobody', 'NotFound ParentUnknown'],
    ['that is not committed', 'busy', 'FailedPrecondition RebaseParentNotCommitted'],
    ['that is itself', 'k', 'FailedPrecondition RebaseParentNotCommitted'],
  ])('cannot rebase onto a parent %s', (_what, parent, expected) => {
    expect(answer(given().active('busy').active('k'), commit('k', 'n', parent))).toBe(expected);
  });

  it('reserves its name, but shows nothing under it before it is done', () => {
    const world = given().active('k');
    world.must(commit('k', 'n'));
    expect(world.forest.shown(snapshotName('n'))).toBeUndefined();
    expect(answer(world, prepare('n'))).toBe('AlreadyExists NameInUse');
    expect(answer(world, update('n', new Map([['a', '1']])))).toBe('NotFound SnapshotUnknown');
    expect(answer(world, remove('n'))).toBe('NotFound SnapshotUnknown');
    expect(answer(world, commit('n', 'm'))).toBe('NotFound SnapshotUnknown');
    expect(answer(world, prepare('child', 'n'))).toBe('NotFound ParentUnknown');
  });

  it('that failed gives its name back', () => {
    const world = given().active('k');
    world.must(commit('k', 'n'));
    const fault = { kind: 'HostFault', errno: 'ENOSPC' } as const;
    world.then({ command: 'DataFailed', reason: 'the disk is full', fault });
    expect(answer(world, prepare('n'))).toBe('SnapshotPreparing');
    expect(answer(world, commit('k', 'm'))).toBe('SnapshotCommitting');
  });
});

describe('Update', () => {
  const labels = new Map([
    ['a', '1'],
    ['b', '2'],
  ]);
  const labelled = () => given().active('k', null, labels);
  const after = (world: World) => world.forest.shown(snapshotName('k'))?.labels;

  it('looks for the name before the paths', () => {
    expect(answer(given(), update('k', none, 'parent'))).toBe('NotFound SnapshotUnknown');
  });

  it.each(['parent', 'kind', 'name', 'created_at', 'label', 'labelsx', 'Labels.a', ''])(
    'refuses the path "%s", and applies nothing that stood before it',
    (path) => {
      const world = labelled();
      const asked = update('k', new Map([['a', 'changed']]), 'labels.a', path);
      expect(answer(world, asked)).toBe('InvalidArgument InvalidFieldPath');
      expect(after(world)).toEqual(labels);
    },
  );

  it.each([
    ['without paths, all labels', [], { c: '3' }],
    ['with the path labels, all labels', ['labels'], { c: '3' }],
    ['with a label path, that label', ['labels.c'], { a: '1', b: '2', c: '3' }],
    ['with the path of an absent label, deletes it', ['labels.a'], { b: '2' }],
  ])('replaces %s', (_what, paths, expected) => {
    const world = labelled();
    world.must(update('k', new Map([['c', '3']]), ...paths));
    expect(after(world)).toEqual(new Map(Object.entries(expected)));
  });

  it('deletes a label that is given empty', () => {
    const world = labelled();
    world.must(update('k', new Map([['a', '']]), 'labels.a'));
    expect(after(world)).toEqual(new Map([['b', '2']]));
  });

  it('moves the updated time alone', () => {
    const world = labelled();
    const before = world.forest.shown(snapshotName('k'));
    world.must(update('k', labels));
    const now = world.forest.shown(snapshotName('k'));
    expect(now?.createdAt).toBe(before?.createdAt);
    expect(now?.updatedAt).not.toBe(before?.updatedAt);
    expect(now).toMatchObject({ id: before?.id, name: 'k', parent: null, status: 'active' });
  });

  it('cannot make a label over the limit by pieces', () => {
    const asked = update('k', new Map([['c', 'x'.repeat(4096)]]), 'labels.c');
    expect(answer(labelled(), asked)).toBe('InvalidArgument InvalidLabel');
  });
});

describe('Remove', () => {
  it.each([
    ['an active child', given().layer('p').active('k', 'p')],
    ['a view', given().layer('p').view('k', 'p')],
    ['a committed child', given().layer('p').layer('k', 'p')],
    ['a child in the making', given().layer('p').mounting('k', 'p')],
  ])('refuses a parent of %s, with the word "remove"', (_kind, world) => {
    const decision = world.execute(remove('p'));
    if (decision.ok) throw new Error('it was removed');
    expect(classOf(decision.refusal)).toBe('FailedPrecondition');
    expect(decision.refusal.message).toContain('remove');
    expect(decision.refusal.message).not.toMatch(/: (conflict|not modified)$/);
  });

  it('finds nothing the second time, and the name is free', () => {
    const world = given().active('k');
    expect(answer(world, remove('k'))).toBe('SnapshotRemoving');
    expect(answer(world, remove('k'))).toBe('NotFound SnapshotUnknown');
    expect(answer(world, view('k'))).toBe('SnapshotPreparing');
  });

  it('lets the parent go as soon as the child is on its way', () => {
    const world = given().layer('p').active('k', 'p');
    world.must(remove('k'));
    expect(answer(world, remove('p'))).toBe('SnapshotRemoving');
  });

  it('ends no message in words that containerd would take for another class', () => {
    const decision = given().execute(remove('x: not modified'));
    if (decision.ok) throw new Error('it was removed');
    expect(decision.refusal.message).toMatch(/: not found$/);
  });
});

describe('a remote layer', () => {
  it('that fails leaves an ordinary active snapshot', () => {
    const world = given().mounting('k').then({ command: 'RemoteFailed', reason: 'no such layer' });
    expect(world.forest.shown(snapshotName('k'))).toMatchObject({ status: 'active', remote: null });
    expect(world.history.at(-1)?.event).toEqual({
      type: 'RemoteMountFailed',
      data: { reason: 'no such layer' },
    });
  });

  it('is committed with its ref and its parent, and marked as remote', () => {
    const world = given().layer('base').remote('base');
    const state = world.forest.shown(snapshotName(REF));
    if (state === undefined) throw new Error('no layer under its ref');
    const info = infoOf(state);
    expect(info).toMatchObject({ kind: 'committed', parent: 'base' });
    expect(info.labels.get(TARGET_LABEL)).toBe(REF);
    expect(info.labels.has(REMOTE_LABEL)).toBe(true);
  });

  it('is ready for whoever asks for the same ref on the same parent', () => {
    const world = given().remote();
    const before = world.forest.size;
    expect(answer(world, prepare('k', null, withRef))).toBe('AlreadyExists TargetReady');
    expect(world.forest.size).toBe(before);
  });

  it('is another snapshot on another parent', () => {
    const world = given().remote().layer('base').remote('base');
    const found = world.forest.labelledWithTarget(REF).filter(({ remote }) => remote !== null);
    expect(found.map(({ name }) => name)).toEqual([REF, `${REF}@3`]);
    expect(found.map(({ parent }) => parent?.name ?? null)).toEqual([null, 'base']);
  });

  it('gets a name of its own, whatever strangers have called theirs', () => {
    const world = given().active(REF).active(`${REF}@4`).active(`${REF}@5`).remote();
    const state = world.forest.get(snapshotId(4));
    expect(state?.status).toBe('committed.available');
    expect(state?.name).toBe(`${REF}@4.1`);
  });

  it('that is unavailable is not ready: the client gets an ordinary snapshot', () => {
    const world = given().remote().then({ command: 'LayerLost', reason: 'gone', retryAt: null });
    expect(answer(world, prepare('k', null, withRef))).toBe('SnapshotPreparing');
  });

  it('is not asked for when the parent is only promised', () => {
    const labels = new Map([...withRef, [PARENT_CHAIN_LABEL, 'sha256:bbbb']]);
    expect(answer(given().remote(), prepare('k', null, labels))).toBe('SnapshotPreparing');
  });

  it('is never made by a label', () => {
    const mark = new Map([[REMOTE_LABEL, 'remote snapshot']]);
    const world = given().active('k', null, mark).layer('n', null, mark);
    world.must(update('k', mark, `labels.${REMOTE_LABEL}`));
    for (const state of world.forest.values()) {
      expect(state.remote).toBeNull();
      expect(infoOf(state).labels.has(REMOTE_LABEL)).toBe(false);
    }
  });

  it('counts its attempts while it stays away', () => {
    const world = given().remote();
    const lost: Command = { command: 'LayerLost', reason: 'away', retryAt: null };
    world.then(lost).then(lost).then(lost);
    expect(world.forest.get(snapshotId(1))?.unavailability?.attempts).toBe(2);
    world.then({ command: 'LayerFound', how: 'mounted' });
    expect(world.forest.get(snapshotId(1))?.unavailability).toBeNull();
  });
});
