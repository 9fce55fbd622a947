/** Layers on others. */
import { tarOf, type Entry } from '../../../../../scripts/rig/tar.js';
import { attribute, directory, file, symlink, userAcl } from './kit.js';

/** Archives of layers on others, given bottom up: what they imply is looked for below. */
export interface OddChain {
  readonly name: string;
  readonly below: readonly (readonly Entry[])[];
  readonly tar: Buffer;
  readonly containerd: 'unpacks' | 'refuses';
}

const chain = (
  name: string,
  containerd: 'unpacks' | 'refuses',
  below: readonly (readonly Entry[])[],
  top: readonly Entry[],
): OddChain => {
  return { name, below, tar: tarOf(top), containerd };
};

const private_ = directory('d/', {
  mode: 0o2710,
  uid: 7,
  gid: 8,
  mtime: 5,
  pax: { 'SCHILY.xattr.user.below': 'x', 'SCHILY.xattr.system.posix_acl_access': userAcl },
});

export const oddChains: readonly OddChain[] = [
  chain('an implied directory looks as it does below', 'unpacks', [[private_]], [file('d/f')]),
  chain(
    'an implied directory that comes later keeps the attributes from below',
    'unpacks',
    [[private_]],
    [file('d/f'), directory('d/', { mode: 0o755 })],
  ),
  chain(
    'the topmost of several directories below counts',
    'unpacks',
    [[private_], [directory('d/', { mode: 0o700, uid: 9 })], [file('other')]],
    [file('d/e/f')],
  ),
  chain(
    'a file in the place of the directory below',
    'unpacks',
    [[private_], [file('d')]],
    [file('d/f')],
  ),
  chain(
    'a whiteout in the place of the directory below',
    'unpacks',
    [[private_], [file('.wh.d')]],
    [file('d/f')],
  ),
  chain(
    'an opaque directory over the one below',
    'unpacks',
    [
      [private_, directory('d/e/', { mode: 0o711, uid: 3 })],
      [directory('d/'), file('d/.wh..wh..opq')],
    ],
    [file('d/e/f')],
  ),
  chain(
    'a directory below what a layer below has deleted',
    'refuses',
    [[private_, directory('d/e/', { mode: 0o711 })], [file('.wh.d')]],
    [file('d/e/f')],
  ),
  chain('a directory below a file of a layer below', 'refuses', [[file('d')]], [file('d/e/f')]),
  chain(
    'a symlink of a layer below is not followed by the layers above',
    'unpacks',
    [[directory('real/', { mode: 0o711, uid: 4 }), symlink('s', 'real')]],
    [file('s/f')],
  ),
  chain(
    'an implied directory below one with a default ACL',
    'unpacks',
    [[private_]],
    [
      directory('a/', attribute('system.posix_acl_default', userAcl)),
      file('a/implied/f'),
      directory('d/', attribute('system.posix_acl_default', userAcl)),
    ],
  ),
];
