/** The MountTable port. The calls are made by mount-jobs.ts on threads that may hang. */
import { HostFault } from '../../base/errors.js';
import type { MountTable } from '../../base/ports.js';
import { jobModule } from '../threads/job-module.js';
import type * as mountJobs from './mount-jobs.js';
import type { WorkerPool } from '../threads/workers.js';

const jobs = jobModule<typeof mountJobs>(new URL('./mount-jobs.js', import.meta.url));

/**
 * Beyond the port: the option `loop` binds an image file to a loop device, as mount(8) does, and
 * frees it with the unmount. Options longer than a page are HostFault E2BIG.
 */
export function systemMountTable(pool: WorkerPool): MountTable {
  return {
    // Reading the table asks no file system, so it may stand beside the work that is sure to end.
    read: (signal) =>
      pool.run(jobs, 'readTable', undefined, {
        lane: 'fast',
        path: '/proc/self/mountinfo',
        signal,
      }),
    mount: async (request, signal) => {
      if (!request.mountpoint.startsWith('/')) {
        throw new HostFault('mount', request.mountpoint, 'EINVAL');
      }
      await pool.run(jobs, 'mount', request, { lane: 'mount', path: request.mountpoint, signal });
    },
    unmount: async (mountpoint, { detach }, signal) => {
      const input = { mountpoint, detach };
      await pool.run(jobs, 'unmount', input, { lane: 'mount', path: mountpoint, signal });
    },
  };
}
