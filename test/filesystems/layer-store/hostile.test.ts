/**
 * Goal: whatever an archive or a layout says, nothing is written outside the layer and nothing
 * half-done is left in the store. Method: each lie on its own, then a look at everything round it.
 */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { rechecked, tarOf, type Entry } from '../../../scripts/rig/tar.js';
import { Bench, reasonFor } from './support.js';

let bench: Bench;
let outside: string;
beforeEach(() => {
  bench = new Bench();
  outside = bench.directory('outside');
});
afterEach(() => bench.close());

const fsOf = (chainId: string): string => path.join(bench.store, 'sha256', chainId.slice(7), 'fs');

/** No layer, nothing in staging, nothing outside. */
function expectUntouched(): void {
  expect(fs.readdirSync(path.join(bench.store, 'sha256'))).toEqual([]);
  expect(fs.readdirSync(path.join(bench.store, 'staging'))).toEqual([]);
  expect(fs.readdirSync(outside)).toEqual([]);
  expect(bench.mountpoints()).toEqual([]);
}

describe('archives that are refused', () => {
  const cases: readonly (readonly [string, readonly Entry[], RegExp])[] = [
    [
      'an entry below a file',
      [
        { name: 'file', content: 'x' },
        { name: 'file/below', content: 'x' },
      ],
      /the layer sha256:[0-9a-f]{64}: file\/below cannot be unpacked: its parent is not a directory/,
    ],
    [
      'an entry below a device',
      [{ name: 'zero', type: 'character-device', devmajor: 1, devminor: 5 }, { name: 'zero/x' }],
      /its parent is not a directory/,
    ],
    [
      'a hard link to nothing',
      [{ name: 'a', type: 'link', linkname: 'b' }],
      /a cannot be unpacked: it is a hard link to b, which is not in the layer/,
    ],
    [
      'a hard link out of the layer',
      [{ name: 'a', type: 'link', linkname: '../../../etc/passwd' }],
      /hard link to \.\.\/\.\.\/\.\.\/etc\/passwd, which is not in the layer/,
    ],
    [
      'a hard link to an absolute name outside',
      [{ name: 'a', type: 'link', linkname: '/etc/passwd' }],
      /not in the layer/,
    ],
    [
      'a hard link to a directory',
      [
        { name: 'd/', type: 'directory' },
        { name: 'a', type: 'link', linkname: 'd' },
      ],
      /hard link to a directory/,
    ],
    [
      'symlinks in a circle',
      [
        { name: 'a', type: 'symlink', linkname: 'b' },
        { name: 'b', type: 'symlink', linkname: 'a' },
        { name: 'a/x', content: 'x' },
      ],
      /circles/,
    ],
    ['a whiteout of nothing', [{ name: 'd/.wh.' }], /whiteout of no name/],
    ['a whiteout of the directory above', [{ name: 'd/.wh...' }], /whiteout of no name/],
    [
      'a component over 255 bytes',
      [{ name: 'n'.repeat(256) }],
      /longer than Linux allows \(ENAMETOOLONG\)/,
    ],
    ['a name over 4095 bytes', [{ name: 'n/'.repeat(2100) + 'x' }], /longer than Linux/],
    [
      'an owner that is no number',
      [{ name: 'a', pax: { uid: '1e3' } }],
      /not a whole tar archive: a PAX record has "1e3" for a number \(header at byte 1024\)/,
    ],
    [
      'a device that Linux would take for another',
      [{ name: 'a', type: 'block-device', devmajor: 4096 }],
      /a cannot be unpacked: there is no device 4096:0 on Linux/,
    ],
    [
      'a type that containerd does not unpack',
      [{ name: 'a', raw: { flag: 'V' } }],
      /containerd does not unpack entries of the type "V"/,
    ],
    [
      'an attribute over 64 KiB',
      [{ name: 'a', pax: { 'SCHILY.xattr.user.a': 'x'.repeat(65_537) } }],
      /an attribute is larger than Linux allows \(E2BIG\)/,
    ],
  ];

  it.each(cases)('%s', async (_name, entries, reason) => {
    expect(await reasonFor(bench.importEntries(entries))).toMatch(reason);
    expectUntouched();
  });

  it('a PAX header that does not follow its form', async () => {
    const tar = tarOf([{ name: 'a', pax: { mtime: '1' } }]);
    tar.write('99', 512);
    const layout = bench.layout([tar]);
    expect(await reasonFor(bench.import(`oci:${layout.path}:v1`))).toMatch(
      /a PAX record does not follow its form \(header at byte 0\)/,
    );
    expectUntouched();
  });

  it('an archive that ends in the middle of a file', async () => {
    const tar = tarOf([{ name: 'a', content: 'x'.repeat(5000) }]);
    const layout = bench.layout([tar.subarray(0, 1500)]);
    expect(await reasonFor(bench.import(`oci:${layout.path}:v1`))).toMatch(
      /not a whole tar archive: the archive ends in the middle of an entry/,
    );
    expectUntouched();
  });

  it('what is no tar at all', async () => {
    const layout = bench.layout([Buffer.alloc(4096, 'no tar ')]);
    expect(await reasonFor(bench.import(`oci:${layout.path}:v1`))).toMatch(
      /not a whole tar archive: the checksum does not match \(header at byte 0\)$/,
    );
    expectUntouched();
  });

  it('more bytes or entries than allowed', async () => {
    const endless = bench.layout([Buffer.alloc(32 * 1024 ** 2)]);
    const tarBytesMax = 1024 ** 2;
    expect(await reasonFor(bench.import(`oci:${endless.path}:v1`, { tarBytesMax }))).toMatch(
      /more than 1048576 bytes/,
    );
    const entries = Array.from({ length: 12 }, (_, index) => ({ name: `f${index}` }));
    expect(await reasonFor(bench.importEntries(entries, { entriesMax: 10 }))).toMatch(
      /more than 10 entries/,
    );
    expectUntouched();
  });

  it('sparse files that are larger than allowed, or have a map that is', async () => {
    const sparse = (map: string, size: number): Entry => {
      const version = { 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0' };
      return {
        name: 'a',
        content: map.padEnd(Math.ceil(map.length / 512) * 512, '\0'),
        pax: { ...version, 'GNU.sparse.realsize': String(size) },
      };
    };
    expect(await reasonFor(bench.importEntries([sparse('0\n', 2 ** 50)]))).toMatch(
      /the layer unpacks to more than 1073741824 bytes; --max-size allows more/,
    );
    const pairs = '0\n0\n'.repeat(300_000);
    expect(await reasonFor(bench.importEntries([sparse(`300000\n${pairs}`, 0)]))).toMatch(
      /the map of a sparse file has more than 1 MiB/,
    );
    expectUntouched();
  });
});

describe('archives that are contained', () => {
  it('keeps absolute names, names above the root and symlinked parents within the layer', async () => {
    const chainId = await bench.importEntries([
      { name: '../../../above', content: 'at the root' },
      { name: './', type: 'symlink', linkname: outside },
      { name: `${outside}/absolute`, content: 'in the layer' },
      { name: 'way-out', type: 'symlink', linkname: outside },
      { name: 'way-out/through', content: 'in the layer' },
      { name: 'up', type: 'symlink', linkname: '../../../../../..' },
      { name: 'up/top', content: 'at the root' },
      { name: 'lib', type: 'symlink', linkname: 'usr/lib' },
      { name: 'usr/lib/', type: 'directory' },
      { name: 'lib/found', content: 'merged' },
    ]);
    const root = fsOf(chainId);
    expect(fs.readdirSync(outside)).toEqual([]);
    expect(fs.readdirSync(`${root}${outside}`).sort()).toEqual(['absolute', 'through']);
    expect(fs.readFileSync(`${root}/top`, 'utf8')).toBe('at the root');
    expect(fs.readFileSync(`${root}/above`, 'utf8')).toBe('at the root');
    expect(fs.statSync(root).isDirectory()).toBe(true);
    expect(fs.readFileSync(`${root}/usr/lib/found`, 'utf8')).toBe('merged');
  });

  it('does not follow a symlink that has replaced an implied directory', async () => {
    const victim = path.join(outside, 'a/b');
    fs.mkdirSync(victim, { recursive: true });
    fs.utimesSync(victim, 1000, 1000);
    await bench.importEntries([
      { name: 'd/a/b/f', content: 'x' },
      { name: 'd/a', type: 'symlink', linkname: `${outside}/a` },
      { name: 'd/.wh..wh..opq' },
    ]);
    await bench.importEntries([
      { name: 'e/b/f', content: 'x' },
      { name: 'e', type: 'symlink', linkname: `${outside}/a` },
    ]);
    expect(fs.statSync(victim).mtimeMs).toBe(1_000_000);
    fs.rmSync(path.join(outside, 'a'), { recursive: true });
  });

  it('does not write through a symlink that an entry replaces', async () => {
    const victim = path.join(outside, 'victim');
    fs.writeFileSync(victim, 'precious');
    const chainId = await bench.importEntries([
      { name: 'a', type: 'symlink', linkname: victim },
      { name: 'a', content: 'mine', mode: 0o777, uid: 5 },
      { name: 'h', type: 'symlink', linkname: victim },
      { name: 'h2', type: 'link', linkname: 'h' },
    ]);
    expect(fs.readFileSync(victim, 'utf8')).toBe('precious');
    expect(fs.statSync(victim)).toMatchObject({ nlink: 1, uid: 0 });
    expect(fs.readFileSync(path.join(fsOf(chainId), 'a'), 'utf8')).toBe('mine');
    expect(fs.readlinkSync(path.join(fsOf(chainId), 'h2'))).toBe(victim);
  });

  it('lets the last of several entries win, whatever the first was', async () => {
    const chainId = await bench.importEntries([
      { name: 'd/', type: 'directory' },
      { name: 'd/inside', content: 'x' },
      { name: 'd', content: 'a file now' },
      { name: 'f', content: 'x' },
      { name: 'f/', type: 'directory', mode: 0o700 },
      { name: 'f/inside', content: 'x' },
      { name: 'twice', content: 'first, and longer' },
      { name: 'twice', content: 'second' },
    ]);
    const root = fsOf(chainId);
    expect(fs.readFileSync(`${root}/d`, 'utf8')).toBe('a file now');
    expect(fs.readdirSync(`${root}/f`)).toEqual(['inside']);
    expect(fs.readFileSync(`${root}/twice`, 'utf8')).toBe('second');
  });

  it('leaves out attributes that would steer overlay, and says so', async () => {
    const chainId = await bench.importEntries([
      {
        name: 'd/',
        type: 'directory',
        pax: { 'SCHILY.xattr.trusted.overlay.redirect': '/etc', 'SCHILY.xattr.user.a': 'b' },
      },
    ]);
    expect(bench.warnings).toEqual([
      'attribute trusted.overlay.redirect of d/ was left out: no layer may set trusted attributes',
    ]);
    expect(fs.readdirSync(fsOf(chainId))).toEqual(['d']);
  });

  it('keeps names that are not UTF-8 and records called __proto__', async () => {
    const tar = tarOf([
      { name: 'latin-X', content: 'x', pax: { __proto__x: '1' } },
      { name: 'p', content: 'x', pax: { path: 'pax-\xe9', ['__proto__']: 'polluted' } },
    ]);
    const header = tar.indexOf('latin-X');
    tar[header + 6] = 0xe9;
    const entry = tar.subarray(header, header + 512);
    rechecked(entry);
    const layout = bench.layout([tar]);
    await bench.import(`oci:${layout.path}:v1`);
    const names = fs.readdirSync(fsOf(layout.chainIds[0] ?? ''), { encoding: 'latin1' });
    expect(names.sort()).toEqual(['latin-\xe9', 'pax-\xe9']);
    expect(Reflect.get({}, 'polluted')).toBeUndefined();
  });
});

describe('layouts that lie', () => {
  it('are refused when a blob, a size or a diff id does not hold', async () => {
    const good = tarOf([{ name: 'a', content: 'x' }]);
    const other = tarOf([{ name: 'b', content: 'y' }]);
    const blob = (layout: { path: string; blobs: readonly string[] }): string =>
      path.join(layout.path, 'blobs/sha256', layout.blobs[0]?.slice(7) ?? '');

    const swapped = bench.layout([good]);
    fs.writeFileSync(blob(swapped), gzipSync(other));
    expect(await reasonFor(bench.import(`oci:${swapped.path}:v1`))).toMatch(
      /digest|bytes|as in the image/,
    );
    const damaged = bench.layout([good]);
    const bytes = fs.readFileSync(blob(damaged));
    bytes.writeUInt8((bytes.at(-1) ?? 0) ^ 1, bytes.length - 1);
    fs.writeFileSync(blob(damaged), bytes);
    expect(await reasonFor(bench.import(`oci:${damaged.path}:v1`))).not.toBe('none');
    // Both digests of the blob hold, but it is another tar than the config promises.
    const lying = bench.layout([good], { compress: () => gzipSync(other) });
    expect(await reasonFor(bench.import(`oci:${lying.path}:v1`))).toMatch(
      /has diffID .*, expected .* as in the image/,
    );
    const appended = bench.layout([good]);
    fs.appendFileSync(blob(appended), 'tail');
    expect(await reasonFor(bench.import(`oci:${appended.path}:v1`))).toMatch(
      /expected \d+ as in its descriptor/,
    );
    expectUntouched();
  });

  it('are refused when a document or a blob is missing, damaged, or a way out', async () => {
    const layout = bench.layout([tarOf([{ name: 'a' }])]);
    const at = (digest = ''): string => path.join(layout.path, 'blobs/sha256', digest.slice(7));
    const run = (): Promise<string> => reasonFor(bench.import(`oci:${layout.path}:v1`));
    expect(await reasonFor(bench.import(`oci:${layout.path}:v2`))).toMatch(
      /no image tagged v2.*v1/,
    );
    const secret = path.join(outside, 'secret');
    fs.renameSync(at(layout.blobs[0]), secret);
    fs.symlinkSync(secret, at(layout.blobs[0]));
    expect(await run()).toMatch(/not a regular file/);
    fs.rmSync(at(layout.blobs[0]));
    expect(await run()).toMatch(/does not hold the blob/);
    fs.appendFileSync(at(layout.manifest), ' ');
    expect(await run()).toMatch(/damaged/);
    fs.writeFileSync(
      path.join(layout.path, 'index.json'),
      '{"manifests":[{"digest":"sha256:../.."}]}',
    );
    expect(await run()).toMatch(/index.json cannot be used/);
    fs.rmSync(secret);
  });
});
