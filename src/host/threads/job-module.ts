/**
 * What the pool of workers.ts and its threads say to each other, and how a file of jobs is named.
 * A job is an exported function of a module: it runs on a thread of its own, may block there or
 * answer with a promise, and is told by its control when nobody waits for it any more.
 */
import type { MessagePort } from 'node:worker_threads';
import { InvariantBroken } from '../../base/assert.js';
import { HostFault } from '../../base/errors.js';
import type { ProgramText } from './thread-programs.js';

/** Handed to each job beside its input. */
export interface JobControl {
  /** True once the caller gave up. Long loops ask now and then, and end early. */
  readonly aborted: () => boolean;
}

declare const table: unique symbol;

/** A module whose exported functions `(input, control) => answer` are jobs. */
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

/** Both cross a thread border as structured clones: plain data, Uint8Array, Map, bigint. */
export type JobInput<Job> = Job extends (input: infer Input, ...rest: never[]) => unknown
  ? Input
  : never;
export type JobAnswer<Job> = Job extends (...input: never[]) => infer Answer
  ? Awaited<Answer>
  : never;

/** What a thread is started with. */
export interface ThreadSetup {
  readonly port: MessagePort;
  readonly signals: Int32Array;
}

/** Slots in the shared memory between the pool and one thread. */
export const signal = {
  /** Counts messages sent; the thread sleeps on it. */
  messages: 0,
  /** Number of the job that its caller gave up. */
  abortedJob: 1,
  /** 1 from when the thread is to end: it loads no native code any more. */
  ending: 2,
  /** 1 while the thread loads native code. */
  loading: 3,
  places: 4,
} as const;

export interface JobMessage {
  readonly job: number;
  readonly moduleUrl: string;
  /** The module's program; null if the thread has it, or loads it by its URL. */
  readonly program: ProgramText | null;
  readonly name: string;
  readonly input: unknown;
}

/** The first message of a thread: it runs its program, and takes jobs. */
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
  // By its name: a job may come from another script than the thread, with a class of its own.
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
