/** What a process costs, read from /proc: memory, processor time, descriptors. */
import { readFile, readdir } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { answerOf } from '../../scripts/rig/first-answer.js';

/** A clock tick of proc_pid_stat(5) is 10 ms everywhere. */
const tickMicros = 10_000;

/** User and system time of a process and all its threads, in microseconds. */
export async function processorMicros(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * tickMicros;
}

export interface Memory {
  /** VmRSS, in MiB: all pages that are there, shared ones too. */
  readonly resident: number;
  /** RssAnon: its own, not backed by a file. */
  readonly anonymous: number;
  /** VmHWM: the most that was ever resident. */
  readonly peak: number;
}

export async function memoryOf(pid: number): Promise<Memory> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const mebibytes = (field: string): number => {
    const kibibytes = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1];
    return Number(kibibytes) / 1024;
  };
  return {
    resident: mebibytes('VmRSS'),
    anonymous: mebibytes('RssAnon'),
    peak: mebibytes('VmHWM'),
  };
}

export async function descriptorsOf(pid: number): Promise<number> {
  return (await readdir(`/proc/${pid}/fd`)).length;
}

const statPath = '/containerd.services.snapshots.v1.Snapshots/Stat';

/**
 * Resolves when the server behind the socket has answered a call. A connection that is accepted
 * does not prove that it can: calls wait until the log is replayed.
 */
export async function answers(
  socketPath: string,
  isRunning: () => boolean,
  timeoutMillis: number,
): Promise<void> {
  const deadline = performance.now() + timeoutMillis;
  while (isRunning() && performance.now() < deadline) {
    const answer = await answerOf(socketPath, statPath).catch(() => null);
    if (answer?.status === notFound || answer?.status === invalidArgument) return;
    await sleep(2);
  }
  throw new Error(isRunning() ? 'the socket did not answer in time' : 'the process has ended');
}

/** Stat of the empty name: refused by the one, not found by the other. */
const invalidArgument = 3;
const notFound = 5;
