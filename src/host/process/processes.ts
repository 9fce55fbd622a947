/** The Processes port. Calls that can block on another process run in process-jobs.ts. */
import * as fs from 'node:fs';
import { errnoOf } from '../../base/errors.js';
import type { ProcessId, Processes } from '../../base/ports.js';
import { jobModule } from '../threads/job-module.js';
import type * as processJobs from './process-jobs.js';
import type { WorkerPool } from '../threads/workers.js';

const jobs = jobModule<typeof processJobs>(new URL('./process-jobs.js', import.meta.url));

/** Digits of the boot id, enough to distinguish the boots of one machine. */
const BOOT_DIGITS = 8;

export function systemProcesses(pool: WorkerPool): Processes {
  return {
    startOf: (pid) => {
      try {
        return startOf(pid);
      } catch {
        return null;
      }
    },
    statusOf: (process) => {
      try {
        return startOf(process.pid) === process.startedAt ? 'running' : 'ended';
      } catch {
        return 'unknown';
      }
    },
    programOf: (pid, signal) =>
      pool.run(jobs, 'programOf', { pid }, { lane: 'through', path: `/proc/${pid}`, signal }),
    findProgram: async (program, signal) => {
      const input = { program, except: process.pid };
      const options = { lane: 'through', path: '/proc', signal } as const;
      for (const pid of await pool.run(jobs, 'pidsOfProgram', input, options)) {
        const startedAt = startOf(pid);
        if (startedAt !== null) return { pid, startedAt };
      }
      return null;
    },
    mountViewOf,
    mountsOf: (pid, signal) =>
      pool.run(jobs, 'mountsOf', { pid }, { lane: 'fast', path: `/proc/${pid}`, signal }),
    hiddenFrom: (pid, directories, signal) => {
      const options = { lane: 'through', path: `/proc/${pid}/root`, signal } as const;
      return pool.run(jobs, 'hiddenFrom', { pid, directories }, options);
    },
  };
}

/** Null if there is no such process. Throws if /proc cannot be read. */
function startOf(pid: number): string | null {
  if (pid <= 0) return null;
  let text: string;
  try {
    text = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch (thrown) {
    // ESRCH: it ended while the file was open.
    if (['ENOENT', 'ESRCH'].includes(errnoOf(thrown) ?? '')) return null;
    throw thrown;
  }
  const ticks = startTicks(text);
  return ticks === null ? null : `${bootId().slice(0, BOOT_DIGITS)}-${ticks}`;
}

/**
 * Field 22 of proc_pid_stat(5), as digits; null for a zombie. A process whose first thread has
 * ended is still running if it has other threads.
 */
export function startTicks(stat: string): string | null {
  // The name is in parentheses and can contain any character, including parentheses and spaces.
  const [state, ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [threads, ticks] = [fields[16], fields[18]];
  if (ticks === undefined || !/^\d+$/.test(ticks)) return null;
  const hasEnded = state === 'X' || (state === 'Z' && Number(threads) <= 1);
  return hasEnded ? null : ticks;
}

let boot: string | null = null;

function bootId(): string {
  boot ??= fs.readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return boot;
}

function mountViewOf({ pid, startedAt }: ProcessId): 'ours' | 'other' | 'unknown' {
  try {
    const namespace = fs.readlinkSync(`/proc/${pid}/ns/mnt`);
    const root = fs.readlinkSync(`/proc/${pid}/root`);
    // Checked last: the links belong to this process only if it is still running.
    if (startOf(pid) !== startedAt) return 'unknown';
    // After chroot(2) a process has the same mounts at other paths.
    const isOurs = namespace === fs.readlinkSync('/proc/self/ns/mnt') && root === '/';
    return isOurs ? 'ours' : 'other';
  } catch {
    return 'unknown';
  }
}
