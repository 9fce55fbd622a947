/**
 * The protocol between the worker pool and its threads, and how modules of jobs are named. A job is
 * an exported function that runs on a worker thread. It may block or return a promise, and its
 * control reports when the caller has aborted it.
 */
import type { MessagePort } from 'node:worker_threads';
import { InvariantBroken } from '../../base/assert.js';
import { HostFault } from '../../base/errors.js';
import type { ProgramText } from './thread-programs.js';

/** Passed to each job with its input. */
export interface JobControl {
  /** True once the caller has aborted the job. Long loops check it to end early. */
  readonly aborted: () => boolean;
}

declare const table: unique symbol;

/** A module whose exported functions `(input, control) => result` are jobs. */
export interface JobModule<Table> {
  readonly url: string;
  readonly [table]?: Table;
}

/**
 * Names a module of jobs. With `import type * as jobs from './x-jobs.js'` it is
 * `jobModule<typeof jobs>(new URL('./x-jobs.js', import.meta.url))`.
 */
export function jobModule<Table>(url: URL): JobModule<Table> {
  return { url: url.href };
}

/** Inputs and results are structured clones: plain data, Uint8Array, Map, bigint. */
export type JobInput<Job> = Job extends (input: infer Input, ...rest: never[]) => unknown
  ? Input
  : never;
export type JobAnswer<Job> = Job extends (...input: never[]) => infer Answer
  ? Awaited<Answer>
  : never;

/** The data that a thread is started with. */
export interface ThreadSetup {
  readonly port: MessagePort;
  readonly signals: Int32Array;
}

/** Indexes in the shared memory between the pool and one thread. */
export const signal = {
  /** Counts messages sent; the thread sleeps on it. */
  messages: 0,
  /** Number of the aborted job. */
  abortedJob: 1,
  /** 1 once the thread is being ended: it must not load native code any more. */
  ending: 2,
  /** 1 while the thread loads native code. */
  loading: 3,
  length: 4,
} as const;

export interface JobMessage {
  readonly job: number;
  readonly moduleUrl: string;
  /** The module's program; null if the thread already has it or loads it by URL. */
  readonly program: ProgramText | null;
  readonly name: string;
  readonly input: unknown;
}

/** The first message of a thread: it accepts jobs. */
export const threadReady = 'ready';

export type JobReply =
  | { readonly job: number; readonly value: unknown }
  | { readonly job: number; readonly thrown: PlainError };

/** An error as data: a structured clone would lose the class and the fields of a HostFault. */
export interface PlainError {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  readonly fault: { operation: string; path: string; code: string } | null;
}

export function toPlainError(thrown: unknown): PlainError {
  const error = thrown instanceof Error ? thrown : new Error(String(thrown));
  const { operation, path, code } = error as Partial<HostFault>;
  // By name: the job may be in another script with its own copy of the class.
  const isFault = error.name === 'HostFault' && operation !== undefined;
  const fault = isFault ? { operation, path: path ?? '', code: code ?? '' } : null;
  return { name: error.name, message: error.message, stack: error.stack, fault };
}

export function fromPlainError(plain: PlainError): Error {
  const error = sameClass(plain);
  error.message = plain.message;
  if (plain.stack !== undefined) error.stack = plain.stack;
  return error;
}

function sameClass({ name, fault }: PlainError): Error {
  if (fault !== null) return new HostFault(fault.operation, fault.path, fault.code);
  if (name === 'InvariantBroken') return new InvariantBroken();
  const error = new Error();
  error.name = name;
  return error;
}
