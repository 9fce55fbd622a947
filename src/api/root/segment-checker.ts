/** Checks segments on worker threads, one per processor. */
import { availableParallelism } from 'node:os';
import { jobModule } from '../../host/threads/job-module.js';
import { WorkerPool, type LaneName } from '../../host/threads/workers.js';
import type { SegmentFacts } from '../../log/verify/sealed-segment.js';
import type { SegmentChecker } from '../../log/verify/verify-ahead.js';
import type * as segmentJobs from './segment-jobs.js';

const jobs = jobModule<typeof segmentJobs>(new URL('./segment-jobs.js', import.meta.url));

/** More threads would only wait for the disk, and each costs memory. */
const THREADS_MAX = 8;

export interface ThreadedChecker extends SegmentChecker {
  close(): Promise<unknown>;
}

/** @param onBytes called with the size of each segment that was read */
export function threadedChecker(onBytes: (bytes: number) => void): ThreadedChecker {
  const threads = Math.min(availableParallelism(), THREADS_MAX);
  const pool = new WorkerPool({ walk: { threads, lostMax: 0, waitingMax: 2 * threads } });
  const reported = <Facts extends SegmentFacts>(facts: Facts | null): Facts | null => {
    if (facts !== null) onBytes(facts.bytes);
    return facts;
  };
  const checker = checkerIn(pool, 'walk');
  return {
    // One queued segment per thread, so that no thread is idle.
    ahead: 2 * threads,
    check: async (segment) => reported(await checker.check(segment)),
    sum: async (segment) => reported(await checker.sum(segment)),
    close: () => pool.close(),
  };
}

/** One segment at a time, on a pool that is shared with other work. */
export function checkerIn(pool: WorkerPool, lane: LaneName): SegmentChecker {
  return {
    ahead: 1,
    check: (segment) => pool.run(jobs, 'check', segment, { lane, path: segment.path }),
    sum: (segment) => pool.run(jobs, 'sum', segment, { lane, path: segment.path }),
  };
}
