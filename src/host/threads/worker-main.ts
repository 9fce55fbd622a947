/**
 * The program of a worker thread: receives a job, runs it, replies, sleeps. It sleeps on a futex
 * instead of an event loop, because waking it is then one system call.
 */
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Script } from 'node:vm';
import { receiveMessageOnPort, workerData } from 'node:worker_threads';
import { signal, threadReady, toPlainError } from './job-module.js';
import type { JobControl, JobMessage, JobReply, ThreadSetup } from './job-module.js';
import type { ProgramText } from './thread-programs.js';

type Job = (input: unknown, control: JobControl) => unknown;
type Jobs = Readonly<Record<string, unknown>>;

const { port, signals } = workerData as ThreadSetup;
const modules = new Map<string, Jobs>();

/**
 * Terminating a thread in native code kills the process, because koffi aborts where it cannot throw.
 * So a thread ends itself between two jobs, and is terminated only if it does not.
 *
 * Loading native code takes longest, and is never interrupted. Each side therefore sets its own flag before it reads the other's (`loading`
 * here, `ending` in the pool), so at least one of them sees the other.
 */
const load = process.dlopen.bind(process);
process.dlopen = (...given: Parameters<typeof process.dlopen>) => {
  Atomics.store(signals, signal.loading, 1);
  try {
    if (Atomics.load(signals, signal.ending) === 1) throw new Error('the thread is ended');
    load(...given);
  } finally {
    Atomics.store(signals, signal.loading, 0);
  }
};

async function jobNamed({ moduleUrl, program, name }: JobMessage): Promise<Job> {
  let loaded = modules.get(moduleUrl);
  if (loaded === undefined) {
    loaded = program === null ? ((await import(moduleUrl)) as Jobs) : run(moduleUrl, program);
    modules.set(moduleUrl, loaded);
  }
  const job = loaded[name];
  if (typeof job !== 'function') throw new Error(`${moduleUrl} has no job ${name}`);
  return job as Job;
}

/** Runs the text of a CommonJS module that scripts/bundle.ts has wrapped in a function. */
function run(moduleUrl: string, program: ProgramText): Jobs {
  const filename = fileURLToPath(moduleUrl);
  const source = Buffer.from(program).toString('latin1');
  const own: { exports: unknown } = { exports: {} };
  const wrapped = new Script(source, { filename }).runInThisContext() as (
    ...given: readonly unknown[]
  ) => void;
  wrapped(own.exports, createRequire(filename), own, filename, dirname(filename));
  return own.exports as Jobs;
}

async function perform(message: JobMessage): Promise<JobReply> {
  const control = { aborted: () => Atomics.load(signals, signal.abortedJob) === message.job };
  try {
    const job = await jobNamed(message);
    return { job: message.job, value: await job(message.input, control) };
  } catch (error) {
    return { job: message.job, thrown: toPlainError(error) };
  }
}

async function serve(): Promise<never> {
  port.postMessage(threadReady);
  for (;;) {
    // Read before receiving: a message that arrives in between then ends the wait at once.
    const seen = Atomics.load(signals, signal.messages);
    if (Atomics.load(signals, signal.ending) === 1) process.exit();
    const received = receiveMessageOnPort(port) as { message: JobMessage } | undefined;
    if (received === undefined) Atomics.wait(signals, signal.messages, seen);
    else port.postMessage(await perform(received.message));
  }
}

void serve();
