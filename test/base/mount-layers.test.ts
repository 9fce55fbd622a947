/**
 * Goal: the mount table shows every directory of ours that a mount uses, and no other. Method:
 * lines as the kernel writes them; test/host/directory-use.test.ts has the real mounts.
 */
import { describe, expect, it } from 'vitest';
import { entriesInUse, idsShownBy } from '../../src/base/mount-layers.js';
import { parseMountinfo } from '../../src/host/mounts/mountinfo.js';

const at = '/var/lib/stratalog/snapshots';
const mapped = '/var/lib/stratalog/idmapped/0f1e2d3c4b5a6978';

/** The file system that holds the root, and the mounts of a case. */
const table = (...lines: readonly string[]) =>
  parseMountinfo(
    ['27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw', ...lines, ''].join('\n'),
  );
const overlay = (options: string): string =>
  `44 27 0:39 / /run/c/rootfs rw,relatime - overlay overlay ${options}`;
const bind = (root: string, device = '254:0', mountpoint = '/mnt/b'): string =>
  `45 27 ${device} ${root} ${mountpoint} rw,relatime - ext4 /dev/vda rw`;

const usesIn = (lines: readonly string[], paths: readonly string[] = [at]) =>
  [...entriesInUse(paths, table(...lines))].map(([name, { as }]) => `${name} ${as}`).sort();

describe('entries in use', () => {
  it.each<readonly [string, string, readonly string[]]>([
    [
      'upperdir, workdir and lowerdirs',
      overlay(`rw,lowerdir=${at}/2/fs:${at}/1/fs,upperdir=${at}/3/fs,workdir=${at}/3/work`),
      ['1 lowerdir', '2 lowerdir', '3 upperdir'],
    ],
    ['a workdir alone', overlay(`rw,lowerdir=/l,upperdir=/u,workdir=${at}/3/work`), ['3 workdir']],
    [
      'lower directories one by one, and data-only ones',
      overlay(`ro,lowerdir+=${at}/2/fs,datadir+=${at}/1/fs`),
      ['1 lowerdir', '2 lowerdir'],
    ],
    [
      'data-only layers in a list',
      overlay(`ro,lowerdir=${at}/2/fs::${at}/1/fs`),
      ['1 lowerdir', '2 lowerdir'],
    ],
    [
      'lower directories that were shortened, with an upper one of ours',
      overlay(`rw,lowerdir=12/fs:new-1/fs,upperdir=${at}/13/fs,workdir=${at}/13/work`),
      ['12 lowerdir', '13 upperdir', 'new-1 lowerdir'],
    ],
    [
      'lower directories that were shortened, with an upper one elsewhere',
      overlay(
        'rw,lowerdir=12/fs:11/fs,upperdir=/other/snapshots/13/fs,workdir=/other/snapshots/13/work',
      ),
      [],
    ],
    [
      'lower directories that were shortened, and nothing says where they begin',
      overlay('ro,lowerdir=12/fs:11/fs'),
      ['11 lowerdir', '12 lowerdir'],
    ],
    [
      'lower directories with mapped ids',
      overlay(
        `rw,lowerdir=${mapped}/2:${mapped}/snapshots/1/fs,upperdir=${at}/3/fs,workdir=${at}/3/work`,
      ),
      ['1 lowerdir', '2 lowerdir', '3 upperdir'],
    ],
    [
      'lower directories with mapped ids that were shortened',
      overlay(`rw,lowerdir=2:snapshots/1/fs,upperdir=${at}/3/fs,workdir=${at}/3/work`),
      ['1 lowerdir', '2 lowerdir', '3 upperdir'],
    ],
    [
      'the same, and nothing says where they begin',
      overlay('ro,lowerdir=2:snapshots/1/fs'),
      ['1 lowerdir', '2 lowerdir'],
    ],
    ['a layer with mapped ids, of itself', bind(`${at}/7/fs`, '254:0', `${mapped}/7`), []],
    ['all of them with mapped ids, of itself', bind(at, '254:0', `${mapped}/snapshots`), []],
    ['another snapshotter', overlay('rw,lowerdir=/o/1/fs,upperdir=/o/2/fs,workdir=/o/2/work'), []],
    ['a bind mount of a directory', bind(`${at}/7/fs`), ['7 bind source']],
    ['a bind mount of something far below', bind(`${at}/7/fs/etc/hosts`), ['7 bind source']],
    ['a bind mount from another file system', bind(`${at}/7/fs`, '254:1'), []],
    ['a bind mount of all of the root', bind('/var/lib/stratalog'), []],
    ['a bind mount of all snapshots', bind(at), []],
    ['a mount on an entry', bind('/x', '0:50', `${at}/7`), ['7 mount point']],
    ['a mount far below an entry', bind('/x', '0:50', `${at}/7/fs/a/b`), ['7 mount point']],
    ['a neighbour whose name begins alike', bind(`${at}-old/7/fs`), []],
    ['a deleted directory', bind(`${at}/7/fs//deleted`), ['7 bind source']],
  ])('%s', (_what, line, expected) => {
    expect(usesIn([line])).toEqual(expected);
  });

  it('are found where paths hold what the options escape', () => {
    const odd = '/a:b,c\\d e/snapshots';
    // Colon, comma and backslash by a backslash, then all by the kernel in octal.
    const path = String.raw`/a\134:b\134\054c\134\134d\040e/snapshots`;
    const upper = String.raw`/a:b\134\054c\134\134d\040e/snapshots`;
    const line = overlay(
      `rw,lowerdir=${path}/1/fs:${path}/2/fs,upperdir=${upper}/3/fs,workdir=${upper}/3/work`,
    );
    expect(usesIn([line], [odd])).toEqual(['1 lowerdir', '2 lowerdir', '3 upperdir']);
    expect(idsShownBy(table(line).at(-1) ?? never(), table(line), odd)).toEqual([3, 1, 2]);
  });

  it('are found by each path that leads to the directory', () => {
    const link = '/var/lib/link/snapshots';
    const lines = [
      overlay(`rw,lowerdir=${link}/1/fs,upperdir=${link}/2/fs,workdir=${link}/2/work`),
      bind(`${at}/3/fs`),
    ];
    expect(usesIn(lines, [link, at])).toEqual(['1 lowerdir', '2 upperdir', '3 bind source']);
  });

  it('are found by the path of a bind mount through which an overlay was made', () => {
    const alias = '/mnt/alias/snapshots';
    const lines = [
      bind('/var/lib/stratalog', '254:0', '/mnt/alias'),
      overlay(`rw,lowerdir=12/fs:11/fs,upperdir=${alias}/13/fs,workdir=${alias}/13/work`),
    ];
    expect(usesIn(lines)).toEqual(['11 lowerdir', '12 lowerdir', '13 upperdir']);
    const other = bind('/var/lib/stratalog', '254:1', '/mnt/alias');
    expect(usesIn([other, ...lines.slice(1)])).toEqual([]);
  });

  it('are found where snapshots/ is a mount of its own, and the newest one there counts', () => {
    const older = bind('/@old', '0:60', at);
    const newer = bind('/@snapshots', '0:61', at);
    expect(usesIn([older, newer, bind('/@snapshots/7/fs', '0:61')])).toEqual(['7 bind source']);
    expect(usesIn([older, newer, bind('/@old/7/fs', '0:60')])).toEqual([]);
  });

  it('are told once each, and with thousands of mounts in no time that grows with their square', () => {
    const lines = Array.from({ length: 4000 }, (_, index) =>
      bind(`${at}/${index}/fs`, '254:0', `/mnt/${index}`),
    );
    expect(entriesInUse([at], table(...lines, ...lines)).size).toBe(4000);
  });
});

function never(): never {
  throw new Error('the table has an overlay');
}
