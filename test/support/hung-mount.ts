/**
 * A file system that never answers: FUSE whose server reads no request. Every look through the
 * mount point hangs until it ends, as with a server of NFS that has gone.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { mount } from '../../src/host/mounts/mount-jobs.js';

export interface HungMount {
  /** Ends the hanging, and the mount with it. */
  end(): void;
}

/** The mount point is a directory. To be ended before the test ends, whatever happens. */
export function hungMount(mountpoint: string): HungMount {
  const device = fs.openSync('/dev/fuse', 'r+');
  const options = [`fd=${device}`, 'rootmode=40000', 'user_id=0', 'group_id=0'];
  mount({ type: 'fuse', source: 'hung', mountpoint, options }, { aborted: () => false });
  return {
    end: () => {
      // The kernel aborts all that waits for an answer.
      fs.closeSync(device);
      execFileSync('umount', ['-l', mountpoint]);
    },
  };
}
