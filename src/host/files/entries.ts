/** Reads times and sizes of any entries of `snapshots/`, off the event loop. */
import { errnoOf } from '../../base/errors.js';
import type { MountTable } from '../../base/ports.js';
import { unixNanos, type UnixNanos } from '../../base/units.js';
import type * as entryJobs from './entry-jobs.js';
import { jobModule } from '../threads/job-module.js';
import { isAtOrBelow } from '../mounts/mountinfo.js';
import type { WorkerPool } from '../threads/workers.js';

const jobs = jobModule<typeof entryJobs>(new URL('./entry-jobs.js', import.meta.url));

export interface EntryState {
  /** The ctime of each entry, without those that are absent or hidden by a mount. */
  changedAt(names: readonly string[]): Promise<ReadonlyMap<string, UnixNanos>>;
  /** Allocated bytes; null if the entry is absent or something is mounted in it. */
  size(name: string): Promise<number | null>;
}

/** @param snapshots absolute, and not a symlink */
export async function entryLook(
  snapshots: string,
  pool: WorkerPool,
  mountTable: MountTable,
): Promise<EntryState> {
  const mounts = await mountTable.read();
  const mountpoints = mounts
    .map(({ mountpoint }) => mountpoint)
    .filter((mountpoint) => isAtOrBelow(mountpoint, snapshots));
  const ifExists = async <Value>(job: Promise<Value>): Promise<Value | null> => {
    try {
      return await job;
    } catch (thrown) {
      if (errnoOf(thrown) === 'ENOENT') return null;
      throw thrown;
    }
  };
  return {
    changedAt: async (names) => {
      const times = new Map<string, UnixNanos>();
      for (const name of names) {
        const path = `${snapshots}/${name}`;
        if (mountpoints.includes(path)) continue;
        const time = await ifExists(pool.run(jobs, 'changedAt', { path }, { lane: 'fast', path }));
        if (time !== null) times.set(name, unixNanos(time));
      }
      return times;
    },
    size: async (name) => {
      const path = `${snapshots}/${name}`;
      // The content of a mount is not part of the entry, and its server may not answer.
      if (mountpoints.some((mountpoint) => isAtOrBelow(mountpoint, path))) return null;
      return ifExists(pool.run(jobs, 'sizeOf', { path }, { lane: 'walk', path }));
    },
  };
}
