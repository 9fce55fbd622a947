/** Whiteouts of every kind, and names that come twice. */
import {
  directory,
  file,
  link,
  onlyLowest,
  refuses,
  symlink,
  unpacks,
  type OddTar,
} from './kit.js';

export const whiteouts: readonly OddTar[] = [
  unpacks('a whiteout before what it names', [
    file('.wh.f'),
    file('f', 'new'),
    file('.wh.d'),
    directory('d/'),
    file('d/g'),
  ]),
  unpacks('a whiteout after what it names', [file('f'), file('.wh.f')], onlyLowest),
  unpacks('a whiteout of a directory with what is in it', [file('d/f'), file('.wh.d')], onlyLowest),
  refuses('a whiteout of a directory whose entry came before', [directory('d/'), file('.wh.d')]),
  unpacks('a whiteout that comes twice', [file('.wh.f'), file('.wh.f')], onlyLowest),
  unpacks('whiteouts with content, owner and type', [
    file('.wh.a', 'content that does not count', { uid: 5, gid: 6, mode: 0o777, mtime: 9 }),
    directory('.wh.b/', { uid: 7 }),
    symlink('.wh.c', 'target'),
    link('.wh.d', 'nothing'),
    file('f'),
  ]),
  unpacks('whiteouts in directories that they imply, and through symlinks', [
    file('new/deep/.wh.f'),
    directory('d/'),
    symlink('s', 'd'),
    file('s/.wh.g'),
  ]),
  unpacks('an opaque directory before its content', [
    directory('d/'),
    file('d/.wh..wh..opq'),
    file('d/f'),
  ]),
  unpacks('an opaque directory after its content', [
    directory('d/'),
    file('d/f'),
    file('d/.wh..wh..opq'),
  ]),
  unpacks('an opaque directory after content that implies directories', [
    directory('d/'),
    file('d/implied/f'),
    file('d/named/implied/f'),
    directory('d/named/'),
    file('d/named/g'),
    file('other/implied/f'),
    file('d/.wh..wh..opq'),
    file('d/again/f'),
  ]),
  unpacks('an opaque directory that is only implied', [file('a/b/f'), file('a/b/.wh..wh..opq')]),
  unpacks('an opaque root', [file('a/f'), file('.wh..wh..opq'), file('g')]),
  unpacks('an opaque directory by a symlink', [
    directory('d/'),
    file('d/f'),
    symlink('s', 'd'),
    file('s/.wh..wh..opq'),
  ]),
  unpacks('an opaque directory that is replaced', [
    directory('d/'),
    file('d/.wh..wh..opq'),
    file('d'),
  ]),
  unpacks('an opaque mark where implied directories gave way to a symlink', [
    file('d/a/b/f'),
    symlink('d/a', '/d2'),
    file('d2/b/f'),
    file('d/.wh..wh..opq'),
  ]),
  refuses('a whiteout of no name', [file('d/.wh.')]),
  refuses('a whiteout of the directory itself', [file('d/.wh..')]),
  refuses('a whiteout of the directory above', [file('d/.wh...')]),
  unpacks('a whiteout of three dots', [file('.wh....')]),
  unpacks('what aufs leaves behind', [
    file('.wh..wh.aufs'),
    directory('.wh..wh.orph/'),
    directory('.wh..wh.plnk/'),
    file('.wh..wh.plnk/123.456', 'linked'),
    file('f'),
    link('g', '.wh..wh.plnk/123.456'),
  ]),
  unpacks('devices that overlay takes for whiteouts', [
    { name: 'c', type: 'character-device', devmajor: 0, devminor: 0 },
    file('f'),
  ]),
];

export const duplicates: readonly OddTar[] = [
  unpacks('the last of several entries of one name', [
    file('f', 'first, and longer', { mode: 0o4755 }),
    file('f', 'second'),
    symlink('g', '/etc/passwd'),
    file('g', 'x', { mode: 0o777, uid: 5 }),
    file('h'),
    symlink('h', 'f'),
    symlink('i', 'f'),
    { name: 'i', type: 'fifo' },
  ]),
  unpacks('a file in the place of a directory: it gets the time of the directory', [
    directory('d/', { mtime: 1000 }),
    file('d', 'x', { mtime: 2000 }),
  ]),
  unpacks('a file in the place of a directory whose name goes up from there', [
    directory('d/e/..', { mtime: 1000 }),
    file('d', 'x', { mtime: 2000 }),
  ]),
  unpacks('a directory whose name goes up from a symlink', [
    directory('d/e/', { mtime: 1000 }),
    symlink('s', 'd/e'),
    directory('s/../f', { mtime: 1500 }),
    directory('d/f/', { mtime: 3000 }),
    directory('s/../f', { mtime: 2000 }),
  ]),
  unpacks('a directory in the place of a file', [
    file('f'),
    directory('f/', { mode: 0o700 }),
    file('f/g'),
  ]),
  unpacks('a directory that comes twice', [
    directory('d/', { mode: 0o700, uid: 1, mtime: 5 }),
    file('d/f'),
    directory('d', { mode: 0o1777, uid: 2, mtime: 6 }),
  ]),
  unpacks('an implied directory that comes later', [
    file('d/f'),
    directory('d/', { mode: 0o700, uid: 2, mtime: 6 }),
  ]),
  refuses('a file in the place of a directory with directories in it', [
    directory('d/'),
    directory('d/e/'),
    file('d'),
  ]),
  unpacks('a file in the place of a directory with files in it', [
    directory('d/'),
    file('d/f'),
    file('d'),
  ]),
  unpacks('a symlink in the place of a directory: what it leads to gets the time', [
    directory('d/', { mtime: 1000 }),
    directory('e/', { mtime: 2000 }),
    file('e/f'),
    symlink('d', 'e', { mtime: 3000 }),
  ]),
  refuses('a symlink to nothing in the place of a directory', [
    directory('d/'),
    symlink('d', 'nothing'),
  ]),
  unpacks('a symlink out of the layer in the place of a directory', [
    directory('etc/', { mtime: 4000 }),
    directory('d/', { mtime: 1000 }),
    symlink('d', '/etc'),
  ]),
];
