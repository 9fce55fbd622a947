/** The MountTable port. The calls are made by mount-jobs.ts on threads that may hang. */
import { HostFault } from '../../base/errors.js';
import type { MountTable } from '../../base/ports.js';
import { jobModule } from '../threads/job-module.js';
import type * as mountJobs from './mount-jobs.js';
import type { WorkerPool } from '../threads/workers.js';

const jobs = jobModule<typeof mountJobs>(new URL('./mount-jobs.js', import.meta.url));

/**
 * In addition to the port, the option `loop` attaches an image file to a loop device, as mount(8)
 * does, and the unmount detaches it. Options longer than a page fail with E2BIG.
 */
export function systemMountTable(pool: WorkerPool): MountTable {
  return {
    // Reading the table accesses no file system, so it cannot hang.
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
