import * as fs from 'node:fs';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { isAtOrBelow, parseMountinfo, unescapeOctal } from '../../src/host/mounts/mountinfo.js';

test('reads the example of proc_pid_mountinfo(5)', () => {
  const line =
    '36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 propagate_from:2 - ext3 /dev/root rw,errors=continue\n';
  expect(parseMountinfo(line)).toEqual([
    {
      mountId: 36,
      parentMountId: 35,
      device: '98:0',
      root: '/mnt1',
      mountpoint: '/mnt2',
      options: ['rw', 'noatime'],
      peerGroup: null,
      master: 1,
      fileSystemType: 'ext3',
      source: '/dev/root',
      superOptions: ['rw', 'errors=continue'],
    },
  ]);
});

test('undoes octal escapes, and a dash as a mountpoint is not the end of the tags', () => {
  const [entry] = parseMountinfo(
    String.raw`1 2 0:3 /a\011b /with\040space\134 rw - fuse.\043x my\040source rw,lowerdir=/a\054b`,
  );
  expect(entry).toMatchObject({
    root: '/a\tb',
    mountpoint: '/with space\\',
    fileSystemType: 'fuse.#x',
    source: 'my source',
    superOptions: ['rw', 'lowerdir=/a,b'],
    peerGroup: null,
    master: null,
  });
});

test('an empty source is an empty source, and a half line is no entry', () => {
  expect(parseMountinfo('1 2 0:3 / /m rw - tmpfs  rw')[0]).toMatchObject({
    source: '',
    superOptions: ['rw'],
  });
  expect(parseMountinfo('1 2 0:3 / /m')).toEqual([]);
  expect(parseMountinfo('')).toEqual([]);
});

/** As the kernel's mangle(): space, tab, newline, backslash and hash. */
function escapeOctal(text: string): string {
  return text.replace(/[ \t\n\\#]/g, (character) => {
    const octal = character.charCodeAt(0).toString(8);
    return `\\${octal.padStart(3, '0')}`;
  });
}

const name = fc.string({
  unit: fc.constantFrom(' ', '\t', '\n', '\\', '#', '-', '0', '4', 'ü', '💾', 'a'),
});

test('parse undoes what the kernel escapes', () => {
  fc.assert(
    fc.property(name, name, (root, mountpoint) => {
      expect(unescapeOctal(escapeOctal(root))).toBe(root);
      const line = `7 8 0:9 /${escapeOctal(root)} /${escapeOctal(mountpoint)} rw shared:12 - t s rw`;
      const [entry, ...others] = parseMountinfo(`${line}\n`);
      expect(others).toEqual([]);
      expect(entry).toMatchObject({ root: `/${root}`, mountpoint: `/${mountpoint}`, source: 's' });
      expect([entry?.peerGroup, entry?.master]).toEqual([12, null]);
    }),
  );
});

test('reads every line of the running kernel', () => {
  const text = fs.readFileSync('/proc/self/mountinfo', 'utf8');
  const entries = parseMountinfo(text);
  expect(entries).toHaveLength(text.trimEnd().split('\n').length);
  expect(entries.every((entry) => entry.mountpoint.startsWith('/'))).toBe(true);
});

test('paths are compared by whole components', () => {
  expect(isAtOrBelow('/r/snapshots', '/r/snapshots')).toBe(true);
  expect(isAtOrBelow('/r/snapshots/1/fs', '/r/snapshots')).toBe(true);
  expect(isAtOrBelow('/r/snapshots-old/1', '/r/snapshots')).toBe(false);
  expect(isAtOrBelow('/r', '/r/snapshots')).toBe(false);
  expect(isAtOrBelow('/r/x', '/r/')).toBe(true);
  expect(isAtOrBelow('/anything', '/')).toBe(true);
});
