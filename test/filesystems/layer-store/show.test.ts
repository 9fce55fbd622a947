/**
 * Goal: a layer that went through the importer is, under a real overlay, what the archive said.
 * Method: two layers with everything archives can hold, imported in each format, mounted by the
 * store, stacked by overlay as containerd stacks them, and looked at with other programs.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { tarOf, type Entry } from '../../../scripts/rig/tar.js';
import { attribute, Bench, everyFormat, labelsOf, noSignal } from './support.js';

let bench: Bench;
beforeEach(() => {
  bench = new Bench();
});
afterEach(() => bench.close());

/** Linux takes 255 bytes; mkfs.erofs 1.5 takes one less (see poor-hosts.test.ts). */
const longName = 'n'.repeat(254);
const longPath = `deep/${'d'.repeat(200)}/${'e'.repeat(200)}/end`;
/** cap_setuid+ep: bytes over 0x7f, which are not UTF-8. */
const capability =
  '\x01\x00\x00\x02\x80\x00\x00\x00\x00\x00\x00\x00\xff\x00\x00\x00\x00\x00\x00\x00';

const lower: readonly Entry[] = [
  { name: './', type: 'directory', mode: 0o755, pax: { mtime: '1500000000.5' } },
  { name: 'kept', content: 'kept\n', pax: { mtime: '1577934245.123456789' } },
  { name: 'deleted', content: 'still here?' },
  { name: 'opaque/', type: 'directory', mode: 0o755 },
  { name: 'opaque/old', content: 'old' },
  { name: 'replaced/', type: 'directory', mode: 0o755 },
  { name: 'replaced/inside', content: 'old' },
  { name: 'private/', type: 'directory', mode: 0o710, uid: 1234, gid: 4321 },
  { name: 'private/below', content: 'x' },
  { name: 'hard', type: 'link', linkname: 'kept', pax: { mtime: '1577934245.123456789' } },
  { name: 'link', type: 'symlink', linkname: '/kept', pax: { mtime: '1400000000.000000001' } },
  { name: 'setuid', content: '#!', mode: 0o4755, uid: 70_000, gid: 80_000 },
  { name: 'null', type: 'character-device', devmajor: 1, devminor: 3, mode: 0o666 },
  { name: 'loop', type: 'block-device', devmajor: 7, devminor: 300, mode: 0o660 },
  { name: 'pipe', type: 'fifo', mode: 0o600 },
  {
    name: 'capable',
    content: 'x',
    mode: 0o755,
    pax: { 'SCHILY.xattr.security.capability': capability },
  },
  { name: 'attributed', content: 'x', pax: { 'SCHILY.xattr.user.bytes': '\xff\xfe\x80=\n' } },
  { name: 'ünïcödé-€', content: 'x' },
  { name: longName, content: 'long' },
  { name: longPath, content: 'deep' },
];

const upper: readonly Entry[] = [
  { name: '.wh.deleted' },
  { name: '.wh.replaced' },
  // The mark may come after what the layer itself puts there.
  { name: 'opaque/', type: 'directory', mode: 0o755 },
  { name: 'opaque/new', content: 'new' },
  { name: 'opaque/.wh..wh..opq' },
  { name: 'replaced/', type: 'directory', mode: 0o700 },
  { name: 'replaced/fresh', content: 'new' },
  // No entry for its directory: it must look as it does below.
  { name: 'private/added', content: 'y' },
  { name: '.wh..wh.aufs', content: 'bookkeeping' },
];

const nanos = (file: string): bigint => fs.lstatSync(file, { bigint: true }).mtimeNs;

describe.each(everyFormat)('two layers as %s', (format) => {
  it('show through overlay what the archives said', async () => {
    const layout = bench.layout([tarOf(lower), tarOf(upper)]);
    const imported = await bench.import(`oci:${layout.path}:v1`, { format });
    expect(imported.map((each) => each.outcome)).toEqual(['imported', 'imported']);
    expect(bench.mountpoints()).toEqual([]);

    const store = bench.open();
    const mountpoints: string[] = [];
    for (const chainId of layout.chainIds) mountpoints.unshift(await bench.mount(chainId, store));
    const merged = bench.overlay(mountpoints);
    const at = (name: string): string => path.join(merged, name);

    expect(fs.readdirSync(merged).sort()).toEqual(
      ['attributed', 'capable', 'deep', 'hard', 'kept', 'link', 'loop', 'null', 'opaque']
        .concat(['pipe', 'private', 'replaced', 'setuid', 'ünïcödé-€', longName])
        .sort(),
    );
    expect(fs.readdirSync(at('opaque'))).toEqual(['new']);
    // As with containerd: the directory takes the place of its own whiteout, and is not opaque.
    expect(fs.readdirSync(at('replaced')).sort()).toEqual(['fresh', 'inside']);
    expect(fs.readdirSync(at('private')).sort()).toEqual(['added', 'below']);
    const look = fs.statSync(at('private'));
    expect([look.mode & 0o7777, look.uid, look.gid]).toEqual([0o710, 1234, 4321]);
    expect(fs.readFileSync(at(longPath), 'utf8')).toBe('deep');

    // Metadata: squashfs has whole seconds only.
    const exact = format === 'squashfs' ? 1_000_000_000n : 1n;
    expect(nanos(at('kept'))).toBe((1_577_934_245_123_456_789n / exact) * exact);
    expect(nanos(at('link'))).toBe((1_400_000_000_000_000_001n / exact) * exact);
    expect(fs.readlinkSync(at('link'))).toBe('/kept');
    expect(fs.statSync(at('hard')).ino).toBe(fs.statSync(at('kept')).ino);
    expect(fs.statSync(at('hard')).nlink).toBe(2);
    const setuid = fs.statSync(at('setuid'));
    expect([setuid.mode & 0o7777, setuid.uid, setuid.gid]).toEqual([0o4755, 70_000, 80_000]);
    const device = (name: string): string =>
      execFileSync('stat', ['-c', '%F %t:%T', at(name)], { encoding: 'utf8' }).trim();
    expect(device('null')).toBe('character special file 1:3');
    expect(device('loop')).toBe('block special file 7:12c');
    expect(device('pipe')).toBe('fifo 0:0');
    expect(attribute(at('capable'), 'security.capability')).toBe(
      Buffer.from(capability, 'latin1').toString('hex'),
    );
    expect(attribute(at('attributed'), 'user.bytes')).toBe('fffe803d0a');
    // What marks the layer is not to be seen in the container's root.
    expect(attribute(merged, 'trusted.stratalog.layer')).toBe('none');

    // The lower layer was mounted read-only, whatever the format.
    expect(() => {
      fs.writeFileSync(path.join(mountpoints[1] ?? '', 'written'), 'x');
    }).toThrow(/EROFS/);

    execFileSync('umount', [merged]);
    for (const mountpoint of mountpoints) await store.unmount(mountpoint, noSignal());
    expect(bench.mountpoints()).toEqual([]);
  });

  it('gives the same image for the same layer, and whole layers whatever the compression', async () => {
    const layout = bench.layout([tarOf(lower)]);
    const chainId = layout.chainIds[0] ?? '';
    const manifest = (): Record<string, unknown> => {
      const file = path.join(bench.store, 'sha256', chainId.slice(7), 'manifest.json');
      return JSON.parse(fs.readFileSync(file, 'utf8')) as Record<string, unknown>;
    };
    await bench.import(`oci:${layout.path}:v1`, { format });
    const first = manifest();
    // Another second, another inode, another directory: only a directory's token may differ.
    await new Promise((resolve) => setTimeout(resolve, 1_100));
    const again = await bench.import(`oci:${layout.path}:v1`, { format, force: true });
    expect(again.map((each) => each.outcome)).toEqual(['replaced']);
    const second = manifest();
    expect(second['image']).toEqual(first['image']);
    expect(second['usage']).toEqual(first['usage']);
    const present = await bench.import(`oci:${layout.path}:v1`, { format });
    expect(present.map((each) => each.outcome)).toEqual(['already present']);

    for (const [mediaType, compress] of [
      ['application/vnd.oci.image.layer.v1.tar', (tar: Buffer): Buffer => tar],
      [
        'application/vnd.oci.image.layer.v1.tar+zstd',
        (input: Buffer): Buffer => execFileSync('zstd', ['-cq'], { input }),
      ],
    ] as const) {
      const other = bench.layout([tarOf(lower)], { mediaType, compress });
      const outcome = await bench.import(`oci:${other.path}:v1`, { format, force: true });
      expect(outcome).toEqual([{ chainId, outcome: 'replaced' }]);
      const { blob } = manifest();
      expect(blob).toMatchObject({ mediaType, digest: other.blobs[0] });
    }
    await bench.open().mount(bench.directory('last'), labelsOf(chainId), noSignal());
  });
});

it('reports what squashfs stores in another way', async () => {
  const entries: readonly Entry[] = [
    { name: 's', type: 'symlink', linkname: 'kept' },
    { name: 's2', type: 'link', linkname: 's' },
    { name: 'late', content: 'x', pax: { mtime: '4294967296' } },
    { name: 'last', content: 'x', pax: { mtime: '4294967295.9' } },
  ];
  await bench.importEntries(entries, { format: 'squashfs' });
  expect(bench.warnings).toEqual([
    's2 and s are one symlink, and become two: squashfs has no hard links to symlinks',
    'the time of late is later than squashfs can hold',
  ]);
});
