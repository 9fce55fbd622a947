/** Names, and headers that change them. */
import { entryOf, extensionOf, headerOf } from '../../../../../scripts/rig/tar.js';
import {
  attribute,
  directory,
  file,
  pax,
  refuses,
  symlink,
  unpacks,
  whole,
  type OddTar,
} from './kit.js';

export const names: readonly OddTar[] = [
  unpacks('entries for the root, which change nothing', [
    directory('./', { mode: 0o700, uid: 5, mtime: 7, ...attribute('user.root', 'x') }),
    directory('/', { mode: 0o700 }),
    directory('.', { mode: 0o700 }),
    directory('..', { mode: 0o700 }),
    symlink('./', '/etc'),
    { name: '', content: 'x' },
    file('f'),
  ]),
  unpacks('names that are written in many ways', [
    file('./a'),
    file('/absolute'),
    file('d//e'),
    file('d/./f'),
    file('d/../g'),
    directory('d/h/../i/'),
    file('///x///y'),
  ]),
  unpacks('names that climb above the root', [
    file('../above'),
    file('a/../../escape'),
    file('../../b/../c'),
    file('/../d'),
  ]),
  unpacks('names that are not UTF-8, or hard to print', [
    file('latin', 'x', { name: Buffer.from('latin-\xe9', 'latin1') }),
    file('sp ace\nand\ttab'),
    file('-dash'),
    file('c', 'x', { pax: { path: 'pax-\xff\xfe' } }),
    file('\u{1f600}'),
    symlink('s', 'x', { pax: { linkpath: 'to-\xe9' } }),
  ]),
  unpacks('a component of 255 bytes', [file('n'.repeat(255))], {
    erofs: /a name of 255 bytes/,
  }),
  refuses('a component of 256 bytes', [file('n'.repeat(256))]),
  refuses('a parent of 256 bytes', [file(`${'n'.repeat(256)}/f`)]),
  refuses('a name of 4,200 bytes', [file(`${'n/'.repeat(2100)}x`)]),
  unpacks('a whiteout of 252 bytes, whose own name is none', [file(`.wh.${'n'.repeat(252)}`)]),
  refuses('a whiteout of 256 bytes', [file(`.wh.${'n'.repeat(256)}`)]),
  unpacks(
    'a GNU long name and a long link',
    whole(
      extensionOf('L', `long/${'n'.repeat(120)}\0`, '././@LongLink'),
      extensionOf('K', `long/${'t'.repeat(120)}\0`, '././@LongLink'),
      headerOf(symlink('short', 'short')),
      extensionOf('L', 'cut\0off', '././@LongLink'),
      entryOf(file('short')),
      extensionOf('L', '', '././@LongLink'),
      entryOf(file('own')),
    ),
  ),
  unpacks(
    'GNU and PAX names of one entry',
    whole(
      extensionOf('L', 'gnu-first\0'),
      pax({ path: 'pax-second' }),
      headerOf(file('own')),
      pax({ path: 'pax-first', linkpath: 'pax-target' }),
      extensionOf('L', 'gnu-second\0'),
      extensionOf('K', 'gnu-target\0'),
      headerOf(symlink('own', 'own')),
    ),
  ),
  unpacks(
    'of two PAX headers the last one counts, whole',
    whole(pax({ path: 'first', uid: '7' }), pax({ mtime: '5' }), entryOf(file('own'))),
  ),
];
