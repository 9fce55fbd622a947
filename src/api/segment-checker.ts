/** Checks segments on threads: as many at once as there are processors. */
import { availableParallelism } from 'node:os';
import { jobModule } from '../host/job-module.js';
import { WorkerPool } from '../host/workers.js';
import type { SoundSegment } from '../log/segment-check.js';
import type { SegmentChecker } from '../log/verify-ahead.js';
import type * as segmentJobs from './segment-jobs.js';

const jobs = jobModule<typeof segmentJobs>(new URL('./segment-jobs.js', import.meta.url));

/** More would wait for the disk, and each thread costs memory. */
const THREADS_MAX = 8;

export interface ThreadedChecker extends SegmentChecker {
  close(): Promise<unknown>;
}

/** @param onBytes told of each segment that was read */
export function threadedChecker(onBytes: (bytes: number) => void): ThreadedChecker {
  const threads = Math.min(availableParallelism(), THREADS_MAX);
  const pool = new WorkerPool({ walk: { threads, lostMax: 0, waitingMax: 2 * threads } });
  return {
    // One waits for each thread, so that none is idle.
    ahead: 2 * threads,
    check: async (segment) => {
      const options = { lane: 'walk' as const, path: segment.path };
      const sound: SoundSegment | null = await pool.run(jobs, 'check', segment, options);
      if (sound !== null) onBytes(sound.bytes);
      return sound;
    },
    close: () => pool.close(),
  };
}
