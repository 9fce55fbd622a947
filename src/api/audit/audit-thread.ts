/**
 * Runs slow queries on a worker thread: replaying a long log takes seconds of CPU time, which would
 * block the event loop that serves containerd.
 */
import { position, snapshotId } from '../../base/units.js';
import { jobModule } from '../../host/threads/job-module.js';
import type { WorkerPool } from '../../host/threads/workers.js';
import { errorOf } from './audit-faults.js';
import type * as jobs from './audit-jobs.js';
import type { SlowQueries } from './audit-queries.js';

const module = jobModule<typeof jobs>(new URL('./audit-jobs.js', import.meta.url));

export function queriesOnThread(workers: WorkerPool, root: string): SlowQueries {
  const options = (signal: AbortSignal) => ({ lane: 'look' as const, path: root, signal });
  return {
    stateAt: async (at, signal) =>
      valueOf(await workers.run(module, 'stateAt', { root, at }, options(signal))),
    positionAt: async (time, durable, signal) => {
      const input = { root, time, durable };
      return position(valueOf(await workers.run(module, 'positionAt', input, options(signal))));
    },
    find: async (text, durable, signal) => {
      const input = { root, text, durable };
      return valueOf(await workers.run(module, 'find', input, options(signal))).map(snapshotId);
    },
  };
}

function valueOf<Value>(answered: jobs.Answered<Value>): Value {
  if ('fault' in answered) throw errorOf(answered.fault);
  return answered.value;
}
