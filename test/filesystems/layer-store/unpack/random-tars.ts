/**
 * Random archives: entries that meet (few names, deep and crooked, of every type), and the archives
 * of odd-tars with changed bytes.
 */
import fc from 'fast-check';

import {
  base256,
  entryOf,
  extensionOf,
  paxRecords,
  rechecked,
  tarOf,
} from '../../../../scripts/rig/tar.js';
import type { Entry } from '../../../../scripts/rig/tar.js';

const component = fc.oneof(
  { weight: 12, arbitrary: fc.constantFrom('a', 'b', 'c', 'd') },
  { weight: 1, arbitrary: fc.constantFrom('.', '..', '', '\u00e9', 'f') },
);
const base = fc.oneof(
  { weight: 12, arbitrary: component },
  { weight: 2, arbitrary: fc.constantFrom('.wh.a', '.wh.b', '.wh..wh..opq', '.wh..wh..opq') },
  { weight: 1, arbitrary: fc.constantFrom('.wh.', '.wh..wh.plnk', '.wh..wh.aufs', '.wh.c/') },
);
const name = fc
  .tuple(fc.array(component, { maxLength: 3 }), base, fc.constantFrom('', '', '', '', '/', './'))
  .map(([parents, last, before]) => before + [...parents, last].join('/'));
const target = fc
  .tuple(
    fc.array(component, { minLength: 1, maxLength: 3 }),
    fc.constantFrom('', '', '', '/', '../'),
  )
  .map(([parts, before]) => before + parts.join('/'));

const id = fc.constantFrom('0', '1', '70000', '4294967294', '4294967295', '-1', '4294967297');
const time = fc.constantFrom(
  '0',
  '1',
  '1500000000.25',
  '-1',
  '4294967296.5',
  '9223372037',
  '7.000000001',
);
const attributes = fc.constantFrom<Readonly<Record<string, string>>>(
  {},
  {},
  {},
  { 'SCHILY.xattr.user.a': '1' },
  { 'SCHILY.xattr.user.b': '\xff\0' },
  { 'SCHILY.xattr.trusted.overlay.opaque': 'y' },
);

const metadata = fc
  .record({ uid: id, gid: id, mtime: time, atime: time, attributes, withPax: fc.boolean() })
  .map(({ uid, gid, mtime, atime, attributes: others, withPax }): Partial<Entry> => {
    return withPax
      ? { pax: { uid, gid, mtime, atime, ...others } }
      : { uid: 5, gid: 6, mtime: 1000 };
  });

const type = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('file', 'directory', 'directory') },
  { weight: 4, arbitrary: fc.constantFrom('link', 'symlink', 'symlink') },
  { weight: 1, arbitrary: fc.constantFrom('character-device', 'block-device', 'fifo') },
) as fc.Arbitrary<NonNullable<Entry['type']>>;

const entry = fc
  .record({
    name,
    type,
    linkname: target,
    mode: fc.constantFrom(0o644, 0o755, 0, 0o4755, 0o2775, 0o1777, 0o100600),
    device: fc.constantFrom(0, 1, 300),
    content: fc.constantFrom('', 'x', 'y'.repeat(600)),
    metadata,
    raw: fc.constantFrom<Entry['raw']>(
      undefined,
      undefined,
      undefined,
      undefined,
      { magic: '' },
      { magic: 'ustar  \0' },
      { flag: '\0' },
      { mtime: base256(-3n, 12) },
    ),
  })
  .map(({ device, content, metadata: more, raw, ...common }): Buffer => {
    return entryOf({
      ...common,
      ...more,
      devmajor: 0,
      devminor: device,
      ...(common.type === 'file' ? { content } : {}),
      ...(raw === undefined ? {} : { raw }),
    });
  });

const extension = fc.oneof(
  name.map((path) => extensionOf('x', paxRecords([['path', path]]))),
  name.map((path) => extensionOf('L', `${path}\0`)),
  target.map((path) => extensionOf('K', path)),
  name.map((path) => extensionOf('g', '', path)),
  fc.constant(Buffer.alloc(512)),
);

const piece = fc.oneof({ weight: 15, arbitrary: entry }, { weight: 1, arbitrary: extension });

/** A header or an entry each. */
export const randomPieces = fc.array(piece, { minLength: 1, maxLength: 14 });

const change = fc.record({
  block: fc.nat(5),
  offset: fc.nat(511),
  value: fc.oneof(
    fc.nat(255),
    fc.constantFrom(...Buffer.from('\0 0123456789-+=/.\n\x80\xff', 'latin1')),
  ),
});

/** An archive in which bytes were changed, with headers whose checksums are right again. */
export const changedTars = (tars: readonly Buffer[]): fc.Arbitrary<Buffer> =>
  fc
    .record({
      tar: fc.constantFrom(...tars.filter(({ length }) => length < 16 * 1024)),
      changes: fc.array(change, { minLength: 1, maxLength: 3 }),
      cutAt: fc.option(fc.nat(4096), { freq: 8 }),
    })
    .map(({ tar, changes, cutAt }) => {
      const changed = Buffer.from(tar);
      for (const { block, offset, value } of changes) {
        const begin = block * 512;
        if (begin + 512 > changed.length) continue;
        const header = changed.subarray(begin, begin + 512);
        const hadChecksum = isChecked(header);
        header[offset] = value;
        if (hadChecksum) rechecked(header);
      }
      return cutAt === null ? changed : changed.subarray(0, cutAt);
    });

const isChecked = (header: Buffer): boolean =>
  rechecked(Buffer.from(header)).subarray(148, 154).equals(header.subarray(148, 154));

/** What is below the layer in question. */
export const randomBelow = tarOf([
  {
    name: 'a/',
    type: 'directory',
    mode: 0o710,
    uid: 7,
    gid: 8,
    pax: { 'SCHILY.xattr.user.a': 'below' },
  },
  { name: 'a/b/', type: 'directory', mode: 0o700, uid: 9, mtime: 1_000_000 },
  { name: 'b', content: 'below' },
  { name: 'c', type: 'symlink', linkname: 'a/b' },
]);
