/** The IdmappedMounts port: the calls are made by idmapped-jobs.ts on threads that may hang. */
import { dirname } from 'node:path';
import type { IdmappedMounts } from '../../base/ports.js';
import type * as idmappedJobs from './idmapped-jobs.js';
import { jobModule } from '../threads/job-module.js';
import { openUserNamespace, type NamespaceMaps } from './user-namespace.js';
import type { WorkerPool } from '../threads/workers.js';

const jobs = jobModule<typeof idmappedJobs>(new URL('./idmapped-jobs.js', import.meta.url));

/** Opens a user namespace; its descriptor is valid until it is closed. */
type OpenNamespace = (
  maps: NamespaceMaps,
  signal?: AbortSignal,
) => Promise<{ readonly fd: number; close(): Promise<void> }>;

/** @param openNamespace replaced in tests that must not start processes */
export function systemIdmappedMounts(
  directory: string,
  pool: WorkerPool,
  openNamespace: OpenNamespace = openUserNamespace,
): IdmappedMounts {
  return {
    directory,
    missing: (clones, signal) =>
      pool.run(jobs, 'missing', clones, { lane: 'mount', path: directory, signal }),
    attach: async (maps, clones, signal) => {
      if (clones.length === 0) return;
      const namespace = await openNamespace(maps, signal);
      try {
        const input = { namespace: namespace.fd, clones };
        await pool.run(jobs, 'attach', input, { lane: 'mount', path: directory, signal });
      } finally {
        await namespace.close();
      }
    },
    detach: async (mountpoint, signal) => {
      const input = { mountpoint, parent: dirname(mountpoint) };
      await pool.run(jobs, 'detach', input, { lane: 'mount', path: mountpoint, signal });
    },
    list: (signal) =>
      pool.run(jobs, 'list', { path: directory }, { lane: 'fast', path: directory, signal }),
  };
}
