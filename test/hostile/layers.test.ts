/**
 * Goal: a tar, a source or a store that is wrong in any way is refused with its exit code and
 * reason within bounded time, memory and disk, and the store is as it was. Method: the command
 * `layer` on files made byte by byte. What single entries of a tar can say is in
 * test/filesystems/layer-store/hostile.test.ts.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { digestOf } from '../../src/filesystems/layer-store/digest.js';
import { rechecked, tarOf, type Entry } from '../../scripts/rig/tar.js';
import { attribute } from '../filesystems/layer-store/support.js';
import { checkCase, treeOf, type HostileCase } from './case.js';
import { ask } from './cli.js';
import { Rooms } from './rooms.js';

let rooms: Rooms;
/** A store with one directory layer and one EROFS layer. */
let sound: string;
let tar: Buffer;
const of: Record<'directory' | 'erofs', string> = { directory: '', erofs: '' };

beforeAll(async () => {
  rooms = new Rooms();
  sound = path.join(rooms.directory('sound'), 'store');
  tar = tarOf([{ name: 'a', content: 'x'.repeat(10_000) }]);
  const other = tarOf([{ name: 'b', content: 'y'.repeat(10_000) }]);
  for (const [format, bytes] of [
    ['directory', tar],
    ['erofs', other],
  ] as const) {
    of[format] = digestOf(bytes);
    const answer = await importing(sound, written(bytes), of[format], '--format', format);
    expect(answer).toMatchObject({ code: 0 });
  }
});
afterAll(() => rooms.close());

interface Place {
  readonly store: string;
  readonly round: string;
}

function written(bytes: Buffer, name = 'layer.tar'): string {
  const file = path.join(rooms.directory('tar'), name);
  fs.writeFileSync(file, bytes);
  return file;
}

const importing = (store: string, file: string, chainId: string, ...more: readonly string[]) =>
  ask(['layer', 'import', `tar:${file}`, '--layer-store', store, '--chain-id', chainId, ...more]);

const listing = ({ store }: Place) => ask(['layer', 'ls', '--layer-store', store, '--check']);
const directoryOf = (store: string, format: 'directory' | 'erofs'): string =>
  path.join(store, 'sha256', of[format].slice(7));
const manifestOf = (store: string, format: 'directory' | 'erofs' = 'directory'): string =>
  path.join(directoryOf(store, format), 'manifest.json');

/** Imports bytes under the id that a tar of these bytes would have. */
const bytes =
  (make: () => Buffer | Promise<Buffer>, ...more: readonly string[]) =>
  async ({ store }: Place) => {
    const made = await make();
    return importing(store, written(made), digestOf(made), ...more);
  };

/** A header of a file of some size, and nothing of the file. */
function promised(size: number): Buffer {
  const header = tarOf([{ name: 'huge' }]).subarray(0, 512);
  header.write(size.toString(8).padStart(11, '0'), 124, 'latin1');
  return rechecked(header);
}

const another = `sha256:${'a'.repeat(64)}`;

const sources: readonly HostileCase<Place>[] = [
  {
    name: 'a gzip bomb, by the size it may have',
    when: bytes(() => gzipSync(Buffer.alloc(64 * 2 ** 20), { level: 9 }), '--max-size', '1MiB'),
    expected: { code: 1, message: [/layer\.tar unpacks to more than 1048576 bytes; --max-size/] },
  },
  {
    name: 'a file of eight gigabytes of which nothing comes',
    when: bytes(() => promised(8 * 2 ** 30 - 1)),
    expected: { code: 1, message: [/not a whole tar/] },
  },
  {
    name: 'gzip that is cut in the middle',
    when: bytes(() => gzipSync(tar).subarray(0, 40)),
    expected: { code: 1, message: [/cannot be decompressed: unexpected end of file/] },
  },
  {
    name: 'gzip with a wrong checksum',
    when: bytes(() => {
      const zipped = gzipSync(tar);
      zipped.writeUInt8(zipped.readUInt8(zipped.length - 6) ^ 1, zipped.length - 6);
      return zipped;
    }),
    expected: { code: 1, message: [/cannot be decompressed: incorrect data check/] },
  },
  {
    name: 'xz',
    when: bytes(() => Buffer.concat([Buffer.from('\xfd7zXZ\0', 'latin1'), tar])),
    expected: { code: 1, message: [/compressed with xz.*gzip, zstd or not at all/] },
  },
  {
    name: 'bzip2',
    when: bytes(() => Buffer.concat([Buffer.from('BZh9'), tar])),
    expected: { code: 1, message: [/compressed with bzip2.*gzip, zstd or not at all/] },
  },
  {
    name: 'an ELF program',
    when: bytes(() => fs.readFileSync('/bin/true')),
    expected: { code: 1, message: [/not a whole tar/] },
  },
  {
    name: 'a tar of another chain id on its parent',
    when: ({ store }) => importing(store, written(tar), another, '--parent', of.directory),
    expected: { code: 1, message: [/has the chain id sha256:[0-9a-f]{64}, not sha256:aaa/] },
  },
  {
    name: 'no file',
    when: ({ store, round }) => importing(store, `${round}/nothing`, another),
    expected: { code: 2, message: [/there is no file .*nothing/] },
  },
  {
    name: 'a directory',
    when: ({ store, round }) => importing(store, round, another),
    expected: { code: 2, message: [/is not a regular file/] },
  },
  {
    name: 'a pipe that nobody writes to',
    given: ({ round }) => execFileSync('mkfifo', [`${round}/pipe`]),
    when: ({ store, round }) => importing(store, `${round}/pipe`, another),
    expected: { code: 2, message: [/pipe is not a regular file/] },
  },
  {
    name: 'a chain id that is a path',
    when: ({ store }) => importing(store, written(tar), 'sha256:../../../../etc'),
    expected: { code: 2, message: [/Use sha256: and 64 hex digits/] },
  },
  {
    name: 'a tar without its chain id',
    when: ({ store }) => ask(['layer', 'import', `tar:${written(tar)}`, '--layer-store', store]),
    expected: { code: 2, message: [/a tar needs its chain id: --chain-id sha256:/] },
  },
  {
    name: 'a size that is none',
    when: ({ store }) => importing(store, written(tar), another, '--max-size', '64G'),
    expected: { code: 2, message: [/Use for example 500MiB or 64GiB/] },
  },
  {
    name: 'something that names no source',
    when: ({ store }) => ask(['layer', 'import', 'docker.io/busybox', '--layer-store', store]),
    expected: { code: 2, message: [/names no source of layers; say oci:/] },
  },
  {
    name: 'a layout that is none',
    when: ({ store, round }) => ask(['layer', 'import', `oci:${round}:v1`, '--layer-store', store]),
    expected: { code: 2, message: [/is not an OCI image layout: it has no oci-layout file/] },
  },
  {
    name: 'a layout whose index is a pipe',
    given: ({ round }) => {
      fs.writeFileSync(`${round}/oci-layout`, '{"imageLayoutVersion":"1.0.0"}');
      execFileSync('mkfifo', [`${round}/index.json`]);
    },
    when: ({ store, round }) => ask(['layer', 'import', `oci:${round}:v1`, '--layer-store', store]),
    expected: { code: 2, message: [/index\.json is not a regular file/] },
  },
  {
    name: 'a content store that is none',
    when: ({ store, round }) =>
      ask(['layer', 'import', `content:${round}@${another}`, '--layer-store', store]),
    expected: { code: 2, message: [/holds no content store of containerd/] },
  },
];

/** Something done to a store, and what is said of it. */
type Damage = readonly [name: string, done: (store: string) => unknown, ...says: RegExp[]];

const edited = (store: string, format: 'directory' | 'erofs', from: string, to: string): void => {
  const file = manifestOf(store, format);
  const text = fs.readFileSync(file, 'utf8');
  expect(text).toContain(from);
  fs.writeFileSync(file, text.replace(from, to));
};

function replaced(file: string, put: (file: string) => unknown): void {
  fs.rmSync(file, { recursive: true });
  put(file);
}

const pipe = (file: string): unknown => execFileSync('mkfifo', [file]);
const linkTo =
  (target: string) =>
  (file: string): void =>
    fs.symlinkSync(target, file);

const damages: readonly Damage[] = [
  ['a manifest that is junk', (store) => fs.writeFileSync(manifestOf(store), 'x'), /is not JSON/],
  [
    'a manifest that never ends',
    (store) => fs.truncateSync(manifestOf(store), 2 ** 32),
    /manifest\.json is not a file of at most/,
  ],
  [
    'a manifest that is a pipe',
    (store) => replaced(manifestOf(store), pipe),
    /manifest\.json is not a file of at most/,
  ],
  [
    'a manifest that is a link out of the store',
    (store) => replaced(manifestOf(store), linkTo('/etc/passwd')),
    /manifest\.json/,
  ],
  ['no manifest', (store) => fs.rmSync(manifestOf(store)), /has no manifest\.json/],
  [
    'the manifest of another layer',
    (store) => fs.copyFileSync(manifestOf(store, 'erofs'), manifestOf(store)),
    /is the manifest of sha256:/,
  ],
  [
    'a parent that is a path',
    (store) =>
      edited(store, 'directory', '"parentChainId": null', '"parentChainId": "sha256:../.."'),
    /at parentChainId: is not a sha256 digest/,
  ],
  [
    'a format that is a path',
    (store) => edited(store, 'directory', '"format": "directory"', '"format": "../../../etc"'),
    /at format/,
  ],
  [
    'a field that nobody knows',
    (store) => edited(store, 'directory', '"format"', '"path": "/etc", "format"'),
    /Unrecognized key: "path"/,
  ],
  [
    'an image of another size',
    (store) => fs.appendFileSync(`${directoryOf(store, 'erofs')}/layer.erofs`, 'x'),
    /layer\.erofs.*bytes/,
  ],
  [
    'an image with a changed byte',
    (store) => {
      const file = `${directoryOf(store, 'erofs')}/layer.erofs`;
      const image = fs.readFileSync(file);
      image.writeUInt8(image.readUInt8(image.length - 1) ^ 1, image.length - 1);
      fs.writeFileSync(file, image);
    },
    /has digest sha256:[0-9a-f]{64}, expected sha256:[0-9a-f]{64} as in its manifest/,
  ],
  [
    'an image that is a pipe',
    (store) => replaced(`${directoryOf(store, 'erofs')}/layer.erofs`, pipe),
    /layer\.erofs is/,
  ],
  [
    'an image that is a link',
    (store) => replaced(`${directoryOf(store, 'erofs')}/layer.erofs`, linkTo('/etc/passwd')),
    /layer\.erofs is/,
  ],
  [
    'no content',
    (store) => fs.rmSync(`${directoryOf(store, 'directory')}/fs`, { recursive: true }),
    /fs is (gone|missing|not)/,
  ],
  [
    'content that is a link to everything',
    (store) => replaced(`${directoryOf(store, 'directory')}/fs`, linkTo('/')),
    /fs is/,
  ],
  [
    'content of another directory',
    (store) => replaced(`${directoryOf(store, 'directory')}/fs`, (fs_) => fs.mkdirSync(fs_)),
    /fs/,
  ],
  [
    'a layer that is a link',
    (store) => replaced(directoryOf(store, 'directory'), linkTo('/')),
    /is not a directory/,
  ],
];

const stores: readonly HostileCase<Place>[] = [
  ...damages.map(([name, done, ...message]): HostileCase<Place> => {
    return {
      name,
      given: ({ store }) => done(store),
      when: listing,
      expected: {
        code: 3,
        message: [/^damaged: sha256:[0-9a-f]{12}: .*; import it again with --force$/m, ...message],
      },
    };
  }),
  {
    name: 'a store file that is junk',
    given: ({ store }) => fs.writeFileSync(`${store}/store.json`, 'x'),
    when: listing,
    expected: { code: 1, message: [/store\.json is not JSON/] },
  },
  {
    name: 'a store file of a later version',
    given: ({ store }) => {
      const text = fs.readFileSync(`${store}/store.json`, 'utf8');
      fs.writeFileSync(`${store}/store.json`, text.replace('"version":1', '"version":9'));
    },
    when: listing,
    expected: { code: 2, message: [/has version 9; this release supports 1/] },
  },
  {
    name: 'a store file that is a pipe',
    given: ({ store }) => replaced(`${store}/store.json`, pipe),
    when: listing,
    expected: { code: 2, message: [/store\.json is not a regular file/] },
  },
  {
    name: 'somebody’s files in place of a store',
    given: ({ store }) =>
      replaced(store, (at) => fs.mkdirSync(`${at}/thesis`, { recursive: true })),
    when: ({ store }) => importing(store, written(tar), of.directory),
    expected: { code: 2, message: [/is neither a layer store nor empty: it contains thesis/] },
  },
  {
    name: 'a damaged layer that is imported again without --force',
    given: ({ store }) => fs.writeFileSync(manifestOf(store), 'x'),
    when: ({ store }) => importing(store, written(tar), of.directory),
    expected: { code: 2, message: [/is not JSON; import it again with --force/] },
  },
];

function place(): Place {
  const store = rooms.copyOf(sound);
  return { store, round: rooms.directory('round') };
}

const whole = ({ store, round }: Place) => ({ store: treeOf(store), round: treeOf(round) });

describe('an import is refused of', () => {
  it.each(sources)('$name', (each) => checkCase(each, place(), whole));
});

describe('a store is told to have', () => {
  it.each(stores)('$name', (each) => checkCase(each, place(), whole));
});

it('an import that fills the disk gives back what it took', async () => {
  const store = rooms.mount('tmpfs', 'size=16m');
  const before = fs.statfsSync(store).bavail;
  const zeros = tarOf([{ name: 'zeros', content: Buffer.alloc(40 * 2 ** 20) }]);
  const bomb = gzipSync(zeros, { level: 1 });
  const rss = process.memoryUsage().rss;
  const answer = await importing(store, written(bomb), digestOf(zeros));
  expect(answer).toMatchObject({ code: 1 });
  expect(answer.message).toMatch(/ENOSPC.*; free space or inodes/);
  expect(process.memoryUsage().rss - rss).toBeLessThan(150 * 2 ** 20);
  expect(fs.readdirSync(`${store}/staging`)).toEqual([]);
  expect(fs.readdirSync(`${store}/sha256`)).toEqual([]);
  expect(before - fs.statfsSync(store).bavail).toBeLessThan(16);
});

it('an entry cannot pretend to be the mark of a layer, nor steer an overlay', async () => {
  const names = ['trusted.stratalog.layer', 'trusted.overlay.opaque', 'user.overlay.redirect'];
  const entries: Entry[] = names.map((name, index) => ({
    name: `d${index}/`,
    type: 'directory',
    pax: { [`SCHILY.xattr.${name}`]: `${another}/forged` },
  }));
  const forgedRoot: Entry = { name: './', type: 'directory', pax: entries[0]?.pax ?? {} };
  const { store } = place();
  const made = tarOf([forgedRoot, ...entries]);
  const { code, message } = await importing(store, written(made), digestOf(made));
  expect(code).toBe(0);
  for (const name of names.slice(0, 2)) expect(message).toContain(`attribute ${name} of`);
  const root = path.join(store, 'sha256', digestOf(made).slice(7), 'fs');
  expect(Buffer.from(attribute(root, names[0] ?? ''), 'hex').toString()).toMatch(
    new RegExp(`^${digestOf(made)}/`),
  );
  expect(attribute(`${root}/d0`, names[0] ?? '')).toBe('none');
  expect(attribute(`${root}/d1`, names[1] ?? '')).toBe('none');
  // Content like any other: an overlay with `userxattr` follows no redirects (overlayfs.rst).
  expect(attribute(`${root}/d2`, names[2] ?? '')).not.toBe('none');
});

it('setuid programs and devices are kept where nobody but root can come', async () => {
  const made = tarOf([
    { name: 'su', content: 'x', mode: 0o4755 },
    { name: 'mem', type: 'character-device', devmajor: 1, devminor: 1, mode: 0o666 },
    { name: 'queue', type: 'fifo' },
  ]);
  const { store } = place();
  expect(await importing(store, written(made), digestOf(made))).toMatchObject({ code: 0 });
  const root = path.join(store, 'sha256', digestOf(made).slice(7), 'fs');
  expect(fs.statSync(`${root}/su`).mode & 0o7777).toBe(0o4755);
  expect(fs.lstatSync(`${root}/mem`).isCharacterDevice()).toBe(true);
  expect(fs.lstatSync(`${root}/queue`).isFIFO()).toBe(true);
  expect(fs.statSync(`${store}/sha256`).mode & 0o777).toBe(0o700);
});

it('a hundred thousand entries that hide nothing cost no more than their bytes', async () => {
  const count = 100_000;
  const header = tarOf([{ name: 'd/.wh.0000000' }]).subarray(0, 512);
  const all = Buffer.alloc(count * 512 + 1024);
  for (let index = 0; index < count; index += 1) {
    const digits = index.toString().padStart(7, '0');
    header.copy(all, index * 512);
    all.write(digits, index * 512 + 6, 'latin1');
    rechecked(all.subarray(index * 512, index * 512 + 512));
  }
  const { store } = place();
  expect(await importing(store, written(all), digestOf(all))).toMatchObject({
    code: 0,
    message: '',
  });
  const root = path.join(store, 'sha256', digestOf(all).slice(7), 'fs');
  expect(fs.readdirSync(`${root}/d`)).toEqual([]);
});
