/** A root on a small ext4 of its own, which can be damaged as a failing disk damages one. */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { testRoot, type TestRoot } from './daemon.js';

export interface Ext4Root extends TestRoot {
  /**
   * Clears the inode of a path below the root, while nothing uses it: what is done with it then
   * fails with EUCLEAN, as after a bad write.
   */
  damage(path: string): void;
}

const MEBIBYTE = 1024 * 1024;

export function ext4Root(): Ext4Root {
  const root = testRoot();
  const image = `${root.layers}/ext4.img`;
  fs.writeFileSync(image, '');
  fs.truncateSync(image, 64 * MEBIBYTE);
  execFileSync('mkfs.ext4', ['-q', '-F', image]);
  fs.mkdirSync(root.path);
  // An error must not stop the file system: the daemon goes on beside it.
  const mount = () =>
    execFileSync('mount', ['-o', 'loop,errors=continue', image, root.path], { stdio: 'ignore' });
  mount();
  return {
    ...root,
    damage: (path) => {
      execFileSync('umount', [root.path]);
      execFileSync('debugfs', ['-w', '-R', `clri ${path}`, image], { stdio: 'ignore' });
      mount();
    },
  };
}
