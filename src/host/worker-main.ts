/**
 * The program of one thread of the pool: takes a job, runs it to its end, answers, sleeps. It
 * sleeps in a futex and not in an event loop, because the wake-up is then one system call.
 */
import { receiveMessageOnPort, workerData } from 'node:worker_threads';
import { signal, toPlainError } from './job-module.js';
import type { JobControl, JobMessage, JobReply, ThreadSetup } from './job-module.js';

type Job = (input: unknown, control: JobControl) => unknown;

const { port, signals } = workerData as ThreadSetup;
const modules = new Map<string, Readonly<Record<string, unknown>>>();

async function jobNamed(moduleUrl: string, name: string): Promise<Job> {
  let loaded = modules.get(moduleUrl);
  if (loaded === undefined) {
    loaded = (await import(moduleUrl)) as Readonly<Record<string, unknown>>;
    modules.set(moduleUrl, loaded);
  }
  const job = loaded[name];
  if (typeof job !== 'function') throw new Error(`${moduleUrl} has no job ${name}`);
  return job as Job;
}

async function perform(message: JobMessage): Promise<JobReply> {
  const control = { aborted: () => Atomics.load(signals, signal.abortedJob) === message.job };
  try {
    const job = await jobNamed(message.moduleUrl, message.name);
    return { job: message.job, value: await job(message.input, control) };
  } catch (error) {
    return { job: message.job, thrown: toPlainError(error) };
  }
}

async function serve(): Promise<never> {
  for (;;) {
    // Read before looking for a message: one that comes in between then ends the wait at once.
    const seen = Atomics.load(signals, signal.messages);
    const received = receiveMessageOnPort(port) as { message: JobMessage } | undefined;
    if (received === undefined) Atomics.wait(signals, signal.messages, seen);
    else port.postMessage(await perform(received.message));
  }
}

await serve();
