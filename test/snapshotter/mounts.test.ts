/** The table of mounts: kinds, options and their order, as the overlay snapshotter gives them. */
import { describe, expect, it } from 'vitest';
import { inStatus } from '../../scripts/docs/histories.js';
import type { SnapshotState } from '../../src/machines/fold.js';
import { GID_MAPPING_LABEL, UID_MAPPING_LABEL } from '../../src/machines/labels.js';
import { mountsOf, type MountSettings } from '../../src/snapshotter/mounts.js';

const paths = {
  fsPath: (id: number) => `/root/snapshots/${id}/fs`,
  workPath: (id: number) => `/root/snapshots/${id}/work`,
};

const settings: MountSettings = {
  mountOptions: ['metacopy=on'],
  kernelOptions: ['userxattr', 'index=off'],
  remapIds: true,
};

const maps = new Map([
  [UID_MAPPING_LABEL, '0:1000:65536'],
  [GID_MAPPING_LABEL, '0:2000:65536'],
]);

function snapshot(status: 'active' | 'view' | 'committed.available', id: number): SnapshotState {
  const state = inStatus(status, { id, name: `s${id}`, parent: null });
  if (state === null) throw new Error('a snapshot was expected');
  return state;
}

/** The nearest parent has the highest id, and stands first. */
const parents = (count: number) =>
  Array.from({ length: count }, (_, index) => snapshot('committed.available', count - index));

const active = snapshot('active', 9);
const view = snapshot('view', 9);
const upper = ['workdir=/root/snapshots/9/work', 'upperdir=/root/snapshots/9/fs'];
const extras = ['metacopy=on', 'userxattr', 'index=off'];

describe('mounts of', () => {
  it.each([
    [
      'an active snapshot without parent',
      active,
      0,
      'bind',
      '/root/snapshots/9/fs',
      ['rw', 'rbind'],
    ],
    ['a view without parent', view, 0, 'bind', '/root/snapshots/9/fs', ['ro', 'rbind']],
    ['a view on one layer', view, 1, 'bind', '/root/snapshots/1/fs', ['ro', 'rbind']],
    [
      'a view on two',
      view,
      2,
      'overlay',
      'overlay',
      ['lowerdir=/root/snapshots/2/fs:/root/snapshots/1/fs', ...extras],
    ],
    [
      'an active snapshot on one layer',
      active,
      1,
      'overlay',
      'overlay',
      [...upper, 'lowerdir=/root/snapshots/1/fs', ...extras],
    ],
    [
      'an active snapshot on three, nearest first',
      active,
      3,
      'overlay',
      'overlay',
      [
        ...upper,
        'lowerdir=/root/snapshots/3/fs:/root/snapshots/2/fs:/root/snapshots/1/fs',
        ...extras,
      ],
    ],
  ])('%s', (_what, state, count, type, source, options) => {
    expect(mountsOf(state, parents(count), paths, settings)).toEqual([{ type, source, options }]);
  });

  it.each([0, 1, 2])('a snapshot with mappings on %i layers begin with them', (count) => {
    for (const state of [active, view]) {
      const [mount] = mountsOf({ ...state, labels: maps }, parents(count), paths, settings);
      expect(mount?.options.slice(0, 2)).toEqual(['uidmap=0:1000:65536', 'gidmap=0:2000:65536']);
    }
  });

  it.each([
    ['the kernel cannot', 's9', { ...settings, remapIds: false }],
    ['an image wrote them', 'default/1/extract-1-abcd sha256:ab', settings],
  ])('a snapshot whose mappings do not count because %s leave them out', (_why, name, chosen) => {
    const state = { ...active, name: name as SnapshotState['name'], labels: maps };
    const [mount] = mountsOf(state, parents(2), paths, chosen);
    expect(mount?.options[0]).toBe(upper[0]);
  });
});
