/** Extended attributes and ACLs. */
import {
  acl,
  attribute,
  capability,
  directory,
  file,
  refuses,
  symlink,
  unpacks,
  userAcl,
  type OddTar,
} from './kit.js';

const noAcl = /system\.posix_acl_(access|default).*squashfs cannot hold/;

export const attributes: readonly OddTar[] = [
  unpacks('extended attributes of bytes, empty ones, and some with odd names', [
    file('f', 'x', {
      pax: {
        'SCHILY.xattr.user.bytes': '\xff\xfe\0=\n',
        'SCHILY.xattr.user.empty': '',
        'SCHILY.xattr.user.na=me': 'x',
        'SCHILY.xattr.user.\xe9': 'x',
        'SCHILY.xattr.security.capability': capability,
      },
    }),
    directory('d/', attribute('user.d', 'x')),
  ]),
  unpacks('attributes that no archive may set', [
    file('f', 'x', attribute('trusted.x', 'x')),
    directory('d/', attribute('trusted.overlay.opaque', 'y')),
    directory('e/', attribute('trusted.overlay.redirect', '/etc')),
    directory('g/', attribute('trusted.stratalog.layer', 'forged')),
  ]),
  unpacks('attributes of overlays that users mount', [
    directory('d/', attribute('user.overlay.opaque', 'y')),
  ]),
  unpacks('attributes that the kind of file cannot have', [
    symlink('s', 'f', attribute('user.x', 'x')),
    { name: 'p', type: 'fifo', ...attribute('user.x', 'x') },
    { name: 'c', type: 'character-device', devmajor: 1, devminor: 3, ...attribute('user.x', 'x') },
    symlink('t', 'f', attribute('system.posix_acl_access', userAcl)),
  ]),
  unpacks('attributes of no namespace that Linux knows', [
    file('f', 'x', attribute('nonsense', 'x')),
    file('h', 'x', attribute('system.nonsense', 'x')),
  ]),
  refuses('an attribute of no name', [file('f', 'x', attribute('', 'x'))]),
  unpacks('ACLs as text, which containerd does not read', [
    file('f', 'x', {
      pax: { 'SCHILY.acl.access': 'user::rwx,group::r-x,other::r-x,user:1234:r-x' },
    }),
  ]),
  unpacks(
    'an ACL of a file',
    [file('f', 'x', { mode: 0o750, ...attribute('system.posix_acl_access', userAcl) })],
    {
      squashfs: noAcl,
    },
  ),
  unpacks(
    'an ACL whose mask is another than the mode says',
    [file('f', 'x', { mode: 0o710, ...attribute('system.posix_acl_access', userAcl) })],
    { squashfs: noAcl },
  ),
  unpacks(
    'a default ACL, which what comes into the directory inherits',
    [
      directory('d/', attribute('system.posix_acl_default', userAcl)),
      file('d/f', 'x', { mode: 0o640 }),
      directory('d/e/', { mode: 0o700 }),
      file('d/implied/f'),
      symlink('d/s', 'f'),
      { name: 'd/p', type: 'fifo', mode: 0o600 },
    ],
    { squashfs: noAcl },
  ),
  unpacks('an ACL of an unknown version', [
    file('f', 'x', attribute('system.posix_acl_access', 'junk')),
  ]),
  refuses('an ACL that lacks entries', [
    file('f', 'x', attribute('system.posix_acl_access', acl([1, 7]))),
  ]),
  refuses('a capability that is none', [file('f', 'x', attribute('security.capability', 'junk'))]),
  unpacks('an attribute of 64 KiB', [file('f', 'x', attribute('user.x', 'x'.repeat(65_536)))], {
    erofs: /f has the attribute user\.x of 65536 bytes, which erofs cannot hold/,
  }),
  unpacks('an attribute of a byte less', [file('f', 'x', attribute('user.x', 'x'.repeat(65_535)))]),
  unpacks(
    'attributes of 256 KiB together, in two entries of one directory',
    ['a', 'b'].map((part) =>
      directory('d/', {
        pax: Object.fromEntries(
          [1, 2].map((index) => [`SCHILY.xattr.user.${part}${index}`, 'x'.repeat(65_535)]),
        ),
      }),
    ),
    { erofs: /d has extended attributes of 262\d+ bytes, which erofs cannot hold/ },
  ),
  refuses('an attribute over 64 KiB', [file('f', 'x', attribute('user.x', 'x'.repeat(65_537)))]),
  refuses('the name of an attribute over 255 bytes', [
    file('f', 'x', attribute(`user.${'x'.repeat(251)}`, 'x')),
  ]),
  unpacks('attributes of a directory that comes twice', [
    directory('d/', attribute('user.first', '1')),
    directory('d/', attribute('user.second', '2')),
  ]),
];
