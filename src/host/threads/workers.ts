/**
 * Threads for calls that may take long or never return. libuv's pool has four threads and the log
 * writes through it, so one dead NFS server could block the log. Here jobs run in separate lanes:
 * creating a directory never waits for a delete, nor a delete for a mount that hangs.
 *
 * An aborted job rejects at once. Its thread cannot be stopped, but most calls return soon. A
 * thread that is still busy a second later is *lost* until its system call returns, and is replaced
 * up to a limit.
 */
import { assert } from '../../base/assert.js';
import { HostFault, NotBegun } from '../../base/errors.js';
import { fromPlainError } from './job-module.js';
import type { JobAnswer, JobInput, JobModule, JobReply } from './job-module.js';
import { threadFault } from './thread-fault.js';
import { ThreadHealth, type ThreadReports } from './thread-health.js';
import { WorkerThread, type ThreadEvents } from './worker-thread.js';

/**
 * `fast`     short work in our own directories; reading the mount table.
 * `walk`     long work that always ends: usage, deletes, syncfs.
 * `through`  short access through what may be a remote mount.
 * `mount`    mount(2) and umount2(2), which may wait for a server forever.
 * `look`     CPU-bound queries of the history, one at a time.
 */
export type LaneName = 'fast' | 'walk' | 'through' | 'mount' | 'look';

export interface LaneSize {
  /** Threads that take jobs. */
  readonly threads: number;
  /** Lost threads that are replaced. Each further one reduces the number of working threads. */
  readonly lostMax: number;
  /** Maximum number of queued jobs. */
  readonly waitingMax: number;
  /** Idle threads to keep: each costs four megabytes, and 40 ms to start. */
  readonly keeps?: number;
}

const usualSizes: Readonly<Record<LaneName, LaneSize>> = {
  fast: { threads: 2, lostMax: 2, waitingMax: 10_000, keeps: 1 },
  walk: { threads: 4, lostMax: 4, waitingMax: 10_000 },
  through: { threads: 4, lostMax: 4, waitingMax: 1_000 },
  mount: { threads: 8, lostMax: 8, waitingMax: 1_000 },
  look: { threads: 1, lostMax: 2, waitingMax: 100 },
};

/** A surplus idle thread is ended after this time. */
const idleMillisMax = 10_000;
/** How long `close` waits for threads before it reports them as hanging. */
const endMillisMax = 1_000;
/**
 * How long a thread may continue an aborted job before it is lost. A burst of aborted but healthy
 * calls must not make the lane refuse other jobs.
 */
const lostAfterMillis = 1_000;

export interface JobOptions {
  readonly lane: LaneName;
  /** The path in faults raised by the pool. */
  readonly path: string;
  readonly signal?: AbortSignal | undefined;
  /** Fail with NotBegun while an earlier job with this name and path hangs. */
  readonly alone?: boolean;
}

export interface LaneState {
  /** Threads with a job that are not lost; the job may have been aborted. */
  readonly running: number;
  readonly waiting: number;
  /** Threads whose job was aborted at least a second ago and has not returned. */
  readonly lost: number;
}

interface PendingJob {
  readonly number: number;
  readonly moduleUrl: string;
  readonly name: string;
  readonly input: unknown;
  readonly path: string;
  /** Only the first outcome counts: the reply to an aborted job is dropped. */
  settle(outcome: { value: unknown } | { error: Error }): void;
}

interface Slot {
  readonly thread: WorkerThread;
  /** The thread accepts jobs. Before that it has not begun any job, even if it was sent one. */
  isReady: boolean;
  /** The running job, which may be aborted. */
  job: PendingJob | null;
  lost: boolean;
  /** Runs from the abort until the job ends or the thread is lost. */
  lostTimer: NodeJS.Timeout | null;
  idleTimer: NodeJS.Timeout | null;
}

let leftHanging = 0;

/** Threads that hung in a system call when their pool was closed; process.exit() waits for them. */
export const threadsLeftHanging = (): number => leftHanging;

export class WorkerPool {
  readonly #lanes = new Map<LaneName, Lane>();
  readonly #sizes: Readonly<Record<LaneName, LaneSize>>;
  readonly #health: ThreadHealth;
  #nextJob = 1;
  #closing: Promise<number> | null = null;

  /** @param onThreads called when threads fail to start or die, and when they start again */
  constructor(
    sizes: Partial<Record<LaneName, LaneSize>> = {},
    onThreads: ThreadReports = () => undefined,
  ) {
    this.#sizes = { ...usualSizes, ...sizes };
    this.#health = new ThreadHealth(onThreads, () => {
      for (const lane of this.#lanes.values()) lane.pump();
    });
  }

  /**
   * Runs an exported function of a job module on a thread and returns its result.
   *
   * @throws what the job throws (HostFault keeps its class); the signal's reason, at once;
   *   HostFault: EAGAIN if too many threads hang, too many jobs are queued, or the system cannot
   *   start a thread; EOWNERDEAD if the thread died or cannot start for another reason; ECANCELED
   *   after `close`; NotBegun
   */
  run<Table, Name extends keyof Table & string>(
    module: JobModule<Table>,
    name: Name,
    input: JobInput<Table[Name]>,
    options: JobOptions,
  ): Promise<JobAnswer<Table[Name]>> {
    return new Promise((resolve, reject) => {
      const { signal } = options;
      if (signal?.aborted) throw abortReason(signal);
      if (this.#closing !== null) throw new HostFault(name, options.path, 'ECANCELED');
      const lane = this.#lane(options.lane);
      const job: PendingJob = {
        number: this.#nextJob++,
        moduleUrl: module.url,
        name,
        input,
        path: options.path,
        settle: (outcome) => {
          signal?.removeEventListener('abort', onAbort);
          if ('error' in outcome) reject(outcome.error);
          // Sound because the thread runs the function that the types name.
          else resolve(outcome.value as JobAnswer<Table[Name]>);
        },
      };
      const onAbort = (): void => {
        assert(signal !== undefined, 'an abort has a signal');
        job.settle({ error: abortReason(signal) });
        lane.abandon(job);
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      if (options.alone === true && lane.hasLost(job)) {
        job.settle({
          error: new NotBegun(`${name} ${options.path}: an earlier call still hangs`),
        });
      } else lane.submit(job);
    });
  }

  state(lane: LaneName): LaneState {
    return this.#lane(lane).state();
  }

  /** Ends all threads. Returns how many did not end because they hang in a system call. */
  close(): Promise<number> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<number> {
    const hanging = await Promise.all([...this.#lanes.values()].map((lane) => lane.close()));
    await this.#health.close();
    const count = hanging.reduce((sum, laneCount) => sum + laneCount, 0);
    leftHanging += count;
    return count;
  }

  #lane(name: LaneName): Lane {
    let lane = this.#lanes.get(name);
    if (lane === undefined) {
      lane = new Lane(name, this.#sizes[name], this.#health);
      this.#lanes.set(name, lane);
    }
    return lane;
  }
}

function abortReason(signal: AbortSignal): Error {
  const reason: unknown = signal.reason;
  return reason instanceof Error ? reason : new Error(String(reason));
}

/** Clears the job of a slot. A slot without a job cannot be lost. */
function vacate(slot: Slot): void {
  if (slot.lostTimer !== null) clearTimeout(slot.lostTimer);
  slot.lostTimer = null;
  slot.job = null;
  slot.lost = false;
}

class Lane {
  readonly #name: LaneName;
  readonly #size: LaneSize;
  readonly #slots = new Set<Slot>();
  readonly #health: ThreadHealth;
  /** In order of arrival; a Set, so that aborted jobs are removed quickly. */
  #waiting = new Set<PendingJob>();

  constructor(name: LaneName, size: LaneSize, health: ThreadHealth) {
    this.#name = name;
    this.#size = size;
    this.#health = health;
  }

  state(): LaneState {
    const slots = [...this.#slots];
    return {
      running: slots.filter((slot) => slot.job !== null && !slot.lost).length,
      waiting: this.#waiting.size,
      lost: this.#lostCount(),
    };
  }

  hasLost({ name, path }: PendingJob): boolean {
    for (const { lost, job } of this.#slots) {
      if (lost && job?.name === name && job.path === path) return true;
    }
    return false;
  }

  submit(job: PendingJob): void {
    if (this.#waiting.size >= this.#size.waitingMax) {
      job.settle({ error: this.#refusal(job, `${this.#waiting.size} jobs are queued`) });
      return;
    }
    this.#waiting.add(job);
    this.pump();
  }

  /** Aborts a job: a queued one is removed, a running one has a second to end. */
  abandon(job: PendingJob): void {
    if (this.#waiting.delete(job)) return;
    const slot = [...this.#slots].find((candidate) => candidate.job === job);
    if (slot === undefined) return;
    slot.thread.signalAbort(job.number);
    slot.thread.unref();
    // Not unreferenced: queued jobs may need this thread or its replacement.
    slot.lostTimer = setTimeout(() => {
      // If the event loop was busy, the reply may have arrived but not been read yet.
      setImmediate(() => {
        if (slot.job === job) this.#lose(slot);
      });
    }, lostAfterMillis);
  }

  #lose(slot: Slot): void {
    slot.lost = true;
    this.pump();
  }

  async close(): Promise<number> {
    const slots = [...this.#slots];
    const cancelled = [...this.#waiting, ...slots.flatMap((slot) => slot.job ?? [])];
    this.#waiting.clear();
    for (const slot of slots) if (slot.job !== null) slot.thread.signalAbort(slot.job.number);
    const ended = Promise.all(slots.map((slot) => this.#end(slot)));
    for (const job of cancelled) {
      job.settle({ error: new HostFault(job.name, job.path, 'ECANCELED') });
    }
    let timer: NodeJS.Timeout | undefined;
    const limit = new Promise((resolve) => (timer = setTimeout(resolve, endMillisMax)));
    await Promise.race([ended, limit]);
    clearTimeout(timer);
    return this.#slots.size;
  }

  /** Assigns queued jobs to idle threads, and starts threads up to the limit. */
  pump(): void {
    for (const job of this.#waiting) {
      const slot = this.#idleSeat() ?? this.#newSeat();
      if (slot === null) break;
      this.#waiting.delete(job);
      this.#start(slot, job);
    }
    const lost = this.#lostCount();
    const { startFailure } = this.#health;
    if (this.#capacity() === 0) {
      this.#failWaiting((job) => this.#refusal(job, `${lost} threads hang`));
    } else if (startFailure !== null && this.#slots.size === lost) {
      // No working thread, and none can be started.
      this.#failWaiting((job) => threadFault(job, startFailure, 'start'));
    }
  }

  #failWaiting(faultOf: (job: PendingJob) => HostFault): void {
    const jobs = [...this.#waiting];
    this.#waiting.clear();
    for (const job of jobs) job.settle({ error: faultOf(job) });
  }

  #start(slot: Slot, job: PendingJob): void {
    if (slot.idleTimer !== null) clearTimeout(slot.idleTimer);
    slot.idleTimer = null;
    slot.job = job;
    const { number, moduleUrl, name, input } = job;
    try {
      slot.thread.send({ job: number, moduleUrl, name, input });
    } catch (error) {
      // The input cannot be cloned.
      this.#free(slot);
      job.settle({ error: error instanceof Error ? error : new Error(String(error)) });
    }
  }

  #idleSeat(): Slot | null {
    for (const slot of this.#slots) if (slot.job === null) return slot;
    return null;
  }

  #newSeat(): Slot | null {
    const living = this.#slots.size - this.#lostCount();
    if (living >= this.#capacity()) return null;
    // While threads fail to start, the remaining ones run the jobs.
    if (living > 0 && this.#health.startFailure !== null) return null;
    const thread = this.#newThread({
      ready: () => {
        slot.isReady = true;
        this.#health.started();
      },
      answered: (reply) => {
        this.#answered(slot, reply);
      },
      died: (cause) => {
        this.#died(slot, cause);
      },
    });
    if (thread === null) return null;
    const state = { isReady: false, job: null, lost: false, lostTimer: null, idleTimer: null };
    const slot: Slot = { thread, ...state };
    this.#slots.add(slot);
    return slot;
  }

  #newThread(events: ThreadEvents): WorkerThread | null {
    try {
      return new WorkerThread(events);
    } catch (thrown) {
      this.#health.startFailed(thrown instanceof Error ? thrown : new Error(String(thrown)));
      return null;
    }
  }

  #answered(slot: Slot, reply: JobReply): void {
    const { job } = slot;
    assert(job?.number === reply.job, 'a thread replies to its current job');
    this.#free(slot);
    job.settle(
      'thrown' in reply ? { error: fromPlainError(reply.thrown) } : { value: reply.value },
    );
    this.pump();
  }

  #died(slot: Slot, cause: Error): void {
    this.#slots.delete(slot);
    const { job } = slot;
    const isAwaited = job !== null && slot.lostTimer === null && !slot.lost;
    if (slot.idleTimer !== null) clearTimeout(slot.idleTimer);
    vacate(slot);
    if (slot.isReady) {
      job?.settle({ error: threadFault(job, cause, 'run') });
      this.#health.died(cause);
    } else {
      this.#health.startFailed(cause);
      // The job has not begun, so a remaining thread can run it.
      const isLeft = this.#slots.size > this.#lostCount();
      if (isAwaited && isLeft) this.#waiting = new Set([job, ...this.#waiting]);
      else job?.settle({ error: threadFault(job, cause, 'start') });
    }
    this.pump();
  }

  #free(slot: Slot): void {
    vacate(slot);
    slot.thread.unref();
    const living = this.#slots.size - this.#lostCount();
    if (living > this.#size.threads) {
      void this.#end(slot);
      return;
    }
    slot.idleTimer = setTimeout(() => {
      if (this.#slots.size > (this.#size.keeps ?? 0)) void this.#end(slot);
    }, idleMillisMax);
    slot.idleTimer.unref();
  }

  async #end(slot: Slot): Promise<void> {
    if (slot.idleTimer !== null) clearTimeout(slot.idleTimer);
    if (slot.lostTimer !== null) clearTimeout(slot.lostTimer);
    // An idle thread leaves the pool at once; a busy one counts as hanging until it has ended.
    if (slot.job === null) this.#slots.delete(slot);
    await slot.thread.end();
    this.#slots.delete(slot);
  }

  #lostCount(): number {
    let count = 0;
    for (const slot of this.#slots) if (slot.lost) count += 1;
    return count;
  }

  /** The current limit of working threads. */
  #capacity(): number {
    const { threads, lostMax } = this.#size;
    return Math.max(0, Math.min(threads, threads + lostMax - this.#lostCount()));
  }

  #refusal(job: PendingJob, reason: string): HostFault {
    const fault = new HostFault(job.name, job.path, 'EAGAIN');
    fault.message += `: ${reason} in the lane ${this.#name}`;
    return fault;
  }
}
