/** Headers in every dialect. */
import { base256, headerOf, octal, rechecked } from '../../../../../scripts/rig/tar.js';
import {
  directory,
  file,
  last,
  raw,
  refuses,
  symlink,
  unpacks,
  whole,
  type OddTar,
} from './kit.js';

export const headers: readonly OddTar[] = [
  unpacks('v7: no magic, no device numbers, a directory by its slash', [
    { name: 'd/', dialect: 'v7', mode: 0o755, raw: { flag: '\0' } },
    file('d/f', 'x', { dialect: 'v7', ...raw({ flag: '\0' }) }),
  ]),
  unpacks('a directory by its slash takes no content, whatever its size', [
    { name: 'd/', raw: { flag: '\0', size: octal(0o777, 12) } },
    file('f'),
  ]),
  unpacks('a slash behind the name of a file', [file('f/', 'x')]),
  unpacks('ustar with a prefix', [file('name', 'x', raw({ prefix: 'some/long/prefix' }))]),
  unpacks('star with a prefix and times of its own', [
    file(
      'name',
      'x',
      raw({
        rest:
          `prefix`.padEnd(131, '\0') +
          octal(2_000_000, 12) +
          octal(3, 12) +
          '\0'.repeat(8) +
          'tar\0',
      }),
    ),
  ]),
  refuses('star with a time that is no number', [
    file(
      'name',
      'x',
      raw({ rest: 'p'.padEnd(131, '\0') + '99999999999\0' + '\0'.repeat(20) + 'tar\0' }),
    ),
  ]),
  unpacks('GNU numbers in base 256', [
    file('f', 'four', {
      dialect: 'gnu',
      mtime: 5,
      ...raw({
        uid: base256(100_000_000n, 8),
        gid: base256(0xffff_fffen, 8),
        size: base256(4n, 12),
        mode: base256(0o755n, 8),
        mtime: base256(4_000_000_000n, 12),
      }),
    }),
  ]),
  unpacks('GNU times in the place of a prefix', [
    file('f', 'x', {
      dialect: 'gnu',
      mtime: 5,
      ...raw({ rest: octal(1_000_000, 12) + octal(7, 12) }),
    }),
  ]),
  unpacks('a prefix in a GNU header, as Go wrote it once', [
    file('f', 'x', { dialect: 'gnu', ...raw({ prefix: 'old/prefix/of/go' }) }),
  ]),
  unpacks('bytes that are neither times nor a prefix in a GNU header', [
    file('f', 'x', { dialect: 'gnu', ...raw({ prefix: 'pr\xe9fix' }) }),
  ]),
  unpacks('numbers with spaces, without an end, and empty ones', [
    file(
      'f',
      'xy',
      raw({ mode: '  0644 \0', uid: '00000017', gid: '\0'.repeat(8), size: '2          \0' }),
    ),
  ]),
  unpacks('a number that ends at a NUL within its field', [
    file('f', 'x', raw({ mode: '644\x0099\0\0' })),
  ]),
  refuses('a number that is not octal', [file('f', 'x', raw({ mode: '0000648\0' }))]),
  refuses('a number with a sign', [file('f', 'x', raw({ mtime: '-0000000001\0' }))]),
  refuses('a base-256 number over 64 bits', [
    file('f', 'x', raw({ mtime: '\x80\x01' + '\0'.repeat(10) })),
  ]),
  refuses('a negative size', [file('f', '', raw({ size: base256(-1n, 12) }))]),
  unpacks('a negative size of what has no content', [
    directory('d/', raw({ size: base256(-1n, 12) })),
  ]),
  refuses('a size of 2^62 bytes', [file('f', '', raw({ size: base256(1n << 62n, 12) }))]),
  unpacks('sizes of what has no content', [
    directory('d/', raw({ size: octal(512, 12) })),
    symlink('s', 'd', raw({ size: octal(3, 12) })),
    { name: 'p', type: 'fifo', raw: { size: octal(99, 12) } },
    directory('e/', { pax: { size: '7' } }),
    file('f'),
  ]),
  unpacks('a signed checksum', signedChecksum()),
  refuses('a wrong checksum', [file('f', 'x', raw({ checksum: '0000001\0' }))]),
  refuses('a checksum that is no number', [file('f', 'x', raw({ checksum: 'checksum' }))]),
  refuses('a contiguous file', [file('f', 'x', raw({ flag: '7' }))]),
  refuses('a volume label', [file('f', '', raw({ flag: 'V' }))]),
  refuses('a multi-volume continuation', [file('f', '', raw({ flag: 'M' }))]),
  refuses('a dump directory', [file('f', 'Yx\0\0', raw({ flag: 'D' }))]),
  unpacks('a whiteout of an unknown type', [
    file('.wh.nothing', 'content', raw({ flag: 'V' })),
    file('f'),
  ]),
  unpacks('device numbers that are no numbers of this kernel, of what is no device', [
    file('f', 'x', raw({ devmajor: base256(-1n, 8), devminor: base256(1n << 40n, 8) })),
  ]),
  refuses('a device number that is no number', [file('f', 'x', raw({ devmajor: 'x'.repeat(8) }))]),
];

/** Old tars of Sun summed signed bytes. */
function signedChecksum(): Buffer {
  const header = headerOf({ name: 'f' });
  header.write('\xe9\xe8', 1, 'latin1');
  return whole(rechecked(header, true), last);
}
