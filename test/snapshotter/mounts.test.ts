/** The table of mounts: kinds, options and their order, as the overlay snapshotter gives them. */
import { describe, expect, it } from 'vitest';
import { inStatus } from '../../scripts/docs/histories.js';
import { idmappedPath } from '../../src/inspect/startup/idmapped-paths.js';
import type { SnapshotState } from '../../src/machines/fold.js';
import type { IdMapping } from '../../src/machines/id-mapping.js';
import { UID_MAPPING_LABEL } from '../../src/machines/labels.js';
import { mountsOf, type MountSettings } from '../../src/snapshotter/mounts.js';

const paths = {
  fsPath: (id: number) => `/root/snapshots/${id}/fs`,
  workPath: (id: number) => `/root/snapshots/${id}/work`,
  idmappedPath: (layer: SnapshotState, mapping: IdMapping | null) =>
    idmappedPath('/root', layer, mapping),
};

const settings: MountSettings = {
  mountOptions: ['metacopy=on'],
  kernelOptions: ['userxattr', 'index=off'],
  whyNoIdMapping: null,
};

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

  describe('a snapshot for a user namespace', () => {
    const maps = { uids: '0:1000:65536', gids: '0:0:4294967295' };
    // sha256 of the two maps, separated by a blank.
    const shown = '/root/idmapped/04cfba8b89765a0b';
    const mapped = (state: SnapshotState, appliedBy: 'client' | 'snapshotter' = 'snapshotter') => ({
      ...state,
      idMapping: { ...maps, appliedBy },
    });
    const ordinary = (id: number): SnapshotState => ({
      ...snapshot('committed.available', id),
      remote: null,
    });
    const remote = (id: number): SnapshotState => snapshot('committed.available', id);
    const written = (id: number): SnapshotState => mapped(ordinary(id));
    const lowers = (state: SnapshotState, ...layers: SnapshotState[]) =>
      mountsOf(state, layers, paths, settings)[0]?.options.find((option) =>
        option.startsWith('lowerdir='),
      );

    it.each([
      [
        'ordinary layers: all in one clone of their directory',
        [ordinary(2), ordinary(1)],
        `lowerdir=${shown}/snapshots/2/fs:${shown}/snapshots/1/fs`,
      ],
      [
        'a mixed chain: a clone of each mount next to it',
        [ordinary(3), remote(2), ordinary(1)],
        `lowerdir=${shown}/snapshots/3/fs:${shown}/2:${shown}/snapshots/1/fs`,
      ],
      [
        'a layer that was written through the same maps: as it is',
        [written(3), remote(2)],
        `lowerdir=/root/snapshots/3/fs:${shown}/2`,
      ],
    ])('shows %s', (_what, layers, expected) => {
      expect(lowers(mapped(active), ...layers)).toBe(expected);
      expect(lowers(mapped(view), ...layers)).toBe(expected);
    });

    it('has its own directories as they are, and no mapping options', () => {
      const [mount] = mountsOf(mapped(active), [remote(1)], paths, settings);
      expect(mount?.options).toEqual([...upper, `lowerdir=${shown}/1`, ...extras]);
      expect(mountsOf(mapped(active), [], paths, settings)).toEqual([
        { type: 'bind', source: '/root/snapshots/9/fs', options: ['rw', 'rbind'] },
      ]);
    });

    it.each([
      ['an ordinary layer', ordinary(1), `${shown}/snapshots/1/fs`],
      ['a remote one', remote(1), `${shown}/1`],
    ])('is a bind of the clone when it is a view on %s', (_what, layer, source) => {
      const bind = { type: 'bind', source, options: ['ro', 'rbind'] };
      expect(mountsOf(mapped(view), [layer], paths, settings)).toEqual([bind]);
    });

    it('has plain layers when the client has shifted them, whatever its labels say now', () => {
      const labels = new Map([[UID_MAPPING_LABEL, '0:1000:65536']]);
      const plain = 'lowerdir=/root/snapshots/2/fs:/root/snapshots/1/fs';
      const layers = [ordinary(2), ordinary(1)];
      expect(lowers({ ...mapped(active, 'client'), labels }, ...layers)).toBe(plain);
      expect(lowers({ ...active, labels }, ...layers)).toBe(plain);
    });

    it('fits into a page of options with 128 layers, once their directory is left out', () => {
      const layers = Array.from({ length: 128 }, (_, index) =>
        index % 2 === 0 ? ordinary(1_000_128 - index) : remote(1_000_128 - index),
      );
      const [mount] = mountsOf(mapped(active), layers, paths, settings);
      const below = mount?.options.map((option) => option.replaceAll(`${shown}/`, '')).join();
      expect(below?.length).toBeLessThan(4096 - 512);
    });
  });
});
