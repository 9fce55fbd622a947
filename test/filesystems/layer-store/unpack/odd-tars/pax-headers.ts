/** PAX headers, of one entry and global ones. */
import {
  base256,
  entryOf,
  extensionOf,
  headerOf,
  paxRecords,
} from '../../../../../scripts/rig/tar.js';
import { file, last, padded, pax, refuses, unpacks, whole, type OddTar } from './kit.js';

export const paxHeaders: readonly OddTar[] = [
  unpacks('PAX records of every kind', [
    file('own', 'content', {
      uid: 1,
      pax: {
        path: 'by-pax',
        uid: '70000',
        gid: '80000',
        uname: 'somebody',
        gname: 'others',
        mtime: '1500000000.123456789',
        atime: '1600000000.5',
        ctime: '1400000000',
        comment: 'ignored',
        charset: 'ISO-IR 10646 2000 UTF-8',
        'VENDOR.key': 'ignored',
        'SCHILY.dev': '5',
        'LIBARCHIVE.creationtime': '1',
        __proto__x: 'ignored',
      },
    }),
  ]),
  unpacks('a size by PAX', whole(pax({ size: '3' }), headerOf(file('f')), padded('abc'), last)),
  unpacks('empty values leave the own ones', [
    file('own', 'x', { uid: 5, pax: { path: '', uid: '', mtime: '', size: '' } }),
  ]),
  unpacks(
    'the last of several records of one keyword',
    whole(
      extensionOf(
        'x',
        paxRecords([
          ['path', 'first'],
          ['path', 'second'],
        ]),
      ),
      last,
    ),
  ),
  unpacks('numbers with a plus and with zeros', [
    file('f', 'x', { pax: { uid: '+5', gid: `${'0'.repeat(30)}7`, mtime: '+5.5' } }),
  ]),
  unpacks(
    'a length with a plus and with zeros',
    whole(extensionOf('x', '+15 path=abcde\n00000000000000000000030 uid=5\n'), last),
  ),
  ...['5x', '-', '1e3', '0x5', '99999999999999999999', ' 5', '1_0', '5.0'].map((uid) =>
    refuses(`the owner ${uid} by PAX`, [file('f', 'x', { pax: { uid } })]),
  ),
  refuses('a size that is no number', [file('f', '', { pax: { size: 'abc' } })]),
  refuses('a negative size by PAX', [file('f', '', { pax: { size: '-1' } })]),
  refuses('a time that is no number', [file('f', 'x', { pax: { mtime: '5,5' } })]),
  refuses('a time with a fraction that is no number', [file('f', 'x', { pax: { atime: '5.5x' } })]),
  refuses('a change time that is no number', [file('f', 'x', { pax: { ctime: 'never' } })]),
  refuses('a name with a NUL', [file('f', 'x', { pax: { path: 'a\0b' } })]),
  refuses('a user name with a NUL', [file('f', 'x', { pax: { uname: 'a\0b' } })]),
  refuses('a keyword with a NUL', [file('f', 'x', { pax: { 'a\0b': 'x' } })]),
  unpacks('a comment with a NUL', [file('f', 'x', { pax: { comment: 'a\0b' } })]),
  ...[
    ['no length', 'path=abc\n'],
    ['a length of 0', '0 path=abc\n'],
    ['a length that is too short', '4 a=\n'],
    ['a length that is too long', '99 path=abc\n'],
    ['a length that ends before the newline', '11 path=abc\n'],
    ['a length that is cut', '12'],
    ['a negative length', '-12 path=abc\n'],
    ['no keyword', '6 =abc\n'],
    ['no equals sign', '9 pathab\n'],
    ['NULs after the records', '12 path=abc\n\0\0\0'],
  ].map(([name, records = '']) =>
    refuses(`PAX records with ${name}`, whole(extensionOf('x', records), last)),
  ),
  unpacks('a PAX header without records', whole(extensionOf('x', ''), last)),
  unpacks('a PAX header of 1 MiB', whole(pax({ comment: 'x'.repeat(1024 ** 2 - 17) }), last)),
  refuses('a PAX header over 1 MiB', whole(pax({ comment: 'x'.repeat(1024 ** 2) }), last)),
  refuses('a long name over 1 MiB', whole(extensionOf('L', 'x'.repeat(1024 ** 2 + 1)), last)),
  refuses(
    'a PAX header with a negative size',
    whole(headerOf({ name: 'p', raw: { flag: 'x', size: base256(-5n, 12) } }), last),
  ),
  unpacks(
    'a global header changes no other entry',
    whole(
      extensionOf(
        'g',
        paxRecords([
          ['uid', '7'],
          ['mtime', '5'],
          ['path', 'global'],
          ['SCHILY.xattr.user.g', 'x'],
        ]),
      ),
      entryOf(file('f')),
      entryOf(file('g')),
    ),
  ),
  unpacks(
    'a global header removes what has its name',
    whole(
      entryOf(file('etc/passwd')),
      entryOf(file('other')),
      extensionOf('g', '', 'other'),
      extensionOf('g', paxRecords([['path', 'etc']]), 'pax_global_header'),
      extensionOf('g', '', 'made/on/the/way'),
    ),
  ),
  unpacks(
    'a global header between a PAX header or a long name and their entry',
    whole(
      pax({ path: 'lost' }),
      extensionOf('g', ''),
      entryOf(file('own')),
      extensionOf('L', 'lost\0'),
      extensionOf('g', ''),
      entryOf(file('own-too')),
    ),
  ),
  refuses('a global header that does not follow its form', whole(extensionOf('g', 'x'), last)),
  unpacks(
    'a global header with a number that is none',
    whole(extensionOf('g', paxRecords([['uid', 'x']])), last),
  ),
];
