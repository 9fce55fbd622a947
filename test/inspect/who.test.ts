/** From paths and mounts to snapshots: by tables. The real mount table is looked at in test/cli. */
import { describe, expect, it } from 'vitest';
import type { MountEntry } from '../../src/base/ports.js';
import { snapshotId } from '../../src/base/units.js';
import { idsShownBy, mountOf } from '../../src/base/mount-layers.js';
import { placeOf, usesOf } from '../../src/inspect/snapshot/who.js';

it.each([
  ['/r/snapshots/7', { kind: 'numbered', id: 7 }],
  ['/r/snapshots/7/fs/etc/passwd', { kind: 'numbered', id: 7 }],
  ['/r/snapshots/07', { kind: 'named', name: '07' }],
  ['/r/snapshots/new-1', { kind: 'named', name: 'new-1' }],
  ['/r/snapshots', { kind: 'all' }],
  ['/r/log/0.seg', { kind: 'ours' }],
  ['/r', { kind: 'ours' }],
  ['/r2/snapshots/7', { kind: 'elsewhere' }],
  ['/', { kind: 'elsewhere' }],
])('knows what %s is to the root /r', (path, place) => {
  expect(placeOf(path, '/r')).toEqual(place);
  expect(placeOf(path, '/r/')).toEqual(place);
});

let nextId = 1;
const entry = (mountpoint: string, more: Partial<MountEntry> = {}): MountEntry => ({
  ...{ mountId: nextId++, parentMountId: 0, device: '8:1', root: '/', mountpoint, options: [] },
  ...{ peerGroup: null, master: null },
  ...{ fileSystemType: 'ext4', source: '/dev/sda1', superOptions: [], ...more },
});
const overlay = (mountpoint: string, ...superOptions: string[]): MountEntry =>
  entry(mountpoint, { device: '0:40', fileSystemType: 'overlay', superOptions });

const at = '/data/r/snapshots';
const mounts = [
  entry('/'),
  entry('/data', { device: '8:2', root: '/vol' }),
  overlay('/run/web', 'rw', `lowerdir=${at}/2/fs:${at}/1/fs`, `upperdir=${at}/3/fs`),
  overlay('/run/long', 'lowerdir=2/fs:1/fs', `upperdir=${at}/4/fs`, `workdir=${at}/4/work`),
  overlay('/run/stranger', 'lowerdir=2/fs:1/fs', 'upperdir=/other/snapshots/4/fs'),
  overlay('/run/new', `lowerdir+=${at}/2/fs`, `lowerdir+=${at}/1/fs`),
  entry('/run/bind', { device: '8:2', root: '/vol/r/snapshots/1/fs' }),
  entry('/run/other-disk', { root: '/vol/r/snapshots/1/fs' }),
  entry('/run/neighbour', { device: '8:2', root: '/vol/r/snapshots-old/1/fs' }),
  entry(`${at}/5/fs`, { device: '0:41', fileSystemType: 'erofs' }),
];

describe('a mount shows', () => {
  it.each([
    ['/run/web', [3, 2, 1]],
    ['/run/long', [4, 2, 1]],
    ['/run/stranger', []],
    ['/run/new', [2, 1]],
    ['/run/bind', [1]],
    ['/run/other-disk', []],
    ['/run/neighbour', []],
    ['/', []],
  ])('%s the snapshots %j', (mountpoint, ids) => {
    const mount = mountOf(`${mountpoint}/some/file`, mounts);
    expect(mount?.mountpoint).toBe(mountpoint);
    expect(mount && idsShownBy(mount, mounts, at)).toEqual(ids);
  });
});

it.each([
  [1, ['/run/web lower', '/run/long lower', '/run/new lower', '/run/bind bind']],
  [3, ['/run/web upper']],
  [5, [`${at}/5/fs layer`]],
  [9, []],
])('snapshot %i is used by %j', (id, uses) => {
  const found = usesOf(snapshotId(id), mounts, at);
  expect(found.map(({ mountpoint, as }) => `${mountpoint} ${as}`)).toEqual(uses);
});

it('takes the newest of mounts on one place', () => {
  const [below, above] = [entry('/m'), overlay('/m', 'lowerdir=/x')];
  expect(mountOf('/m/file', [below, above])).toBe(above);
  expect(mountOf('/mm', [below, above])).toBeNull();
});
