/** Checks segments on threads: as many at once as there are processors. */
import { availableParallelism } from 'node:os';
import { jobModule } from '../../host/threads/job-module.js';
import { WorkerPool, type LaneName } from '../../host/threads/workers.js';
import type { SegmentFacts } from '../../log/verify/segment-check.js';
import type { SegmentChecker } from '../../log/verify/verify-ahead.js';
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
  const pluralize = <Facts extends SegmentFacts>(facts: Facts | null): Facts | null => {
    if (facts !== null) onBytes(facts.bytes);
    return facts;
  };
  const checker = checkerIn(pool, 'walk');
  return {
    // One waits for each thread, so that none is idle.
    ahead: 2 * threads,
    check: async (segment) => pluralize(await checker.check(segment)),
    sum: async (segment) => pluralize(await checker.sum(segment)),
    close: () => pool.close(),
  };
}

/** One segment at a time, on threads of a pool that has others to serve. */
export function checkerIn(pool: WorkerPool, lane: LaneName): SegmentChecker {
  return {
    ahead: 1,
    check: (segment) => pool.run(jobs, 'check', segment, { lane, path: segment.path }),
    sum: (segment) => pool.run(jobs, 'sum', segment, { lane, path: segment.path }),
  };
}
