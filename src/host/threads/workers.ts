/**
 * Threads for calls that may take long or never come back. Node's own pool has four threads, and
 * the log writes through it: one dead NFS server would stop them all. Here work is sorted into
 * lanes that share nothing, so that making a directory never waits behind a delete, nor a delete
 * behind a mount that hangs.
 *
 * A job that its caller gives up rejects at once. Its thread cannot be stopped, but most calls
 * answer soon. One that is still busy a second later is *lost* until the system call answers, and
 * another takes its place, up to a bound.
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
 * `walk`     long but sure to end: usage, deletes, syncfs.
 * `through`  one short look through what may be somebody's remote mount.
 * `mount`    mount(2) and umount2(2), which may wait for a server for ever.
 * `look`     long work of the processor for those who look at the past: one at a time.
 */
export type LaneName = 'fast' | 'walk' | 'through' | 'mount' | 'look';

export interface LaneSize {
  /** Threads that take jobs. */
  readonly threads: number;
  /** Lost threads that are replaced. Each one more takes a working thread away. */
  readonly lostMax: number;
  /** Jobs that may wait for a thread. */
  readonly waitingMax: number;
  /** Threads that stay however long they idle: each costs four megabytes, and 40 ms to start. */
  readonly keeps?: number;
}

const usualSizes: Readonly<Record<LaneName, LaneSize>> = {
  fast: { threads: 2, lostMax: 2, waitingMax: 10_000, keeps: 1 },
  walk: { threads: 4, lostMax: 4, waitingMax: 10_000 },
  through: { threads: 4, lostMax: 4, waitingMax: 1_000 },
  mount: { threads: 8, lostMax: 8, waitingMax: 1_000 },
  look: { threads: 1, lostMax: 2, waitingMax: 100 },
};

/** An idle thread that its lane does not keep is ended after this time. */
const idleMillisMax = 10_000;
/** How long `close` waits for threads to end before it calls them hanging. */
const endMillisMax = 1_000;
/**
 * How long a thread may go on with a job that was given up before it is lost. Callers who cancel
 * a burst of healthy calls must not make the lane look broken to all others.
 */
const lostAfterMillis = 1_000;

export interface JobOptions {
  readonly lane: LaneName;
  /** What the job is about, for faults that the pool itself raises. */
  readonly path: string;
  readonly signal?: AbortSignal | undefined;
  /** NotBegun while an earlier job of this name and path is lost: one that hangs takes one thread. */
  readonly alone?: boolean;
}

export interface LaneState {
  /** Threads with a job that are not lost; its caller may just have given up. */
  readonly running: number;
  readonly waiting: number;
  /** Threads whose caller gave up a second ago or more and whose call has not answered yet. */
  readonly lost: number;
}

interface PendingJob {
  readonly number: number;
  readonly moduleUrl: string;
  readonly name: string;
  readonly input: unknown;
  readonly path: string;
  /** The first outcome counts: what a thread answers to a caller that gave up is dropped. */
  settle(outcome: { value: unknown } | { error: Error }): void;
}

interface Seat {
  readonly thread: WorkerThread;
  /** It has started. Before that it has begun no job, even if it was given one. */
  isReady: boolean;
  /** The job it runs; its caller may have given up on it. */
  job: PendingJob | null;
  lost: boolean;
  /** Runs from when its caller gave up until the job is done or the thread is lost. */
  lostTimer: NodeJS.Timeout | null;
  idleTimer: NodeJS.Timeout | null;
}

let leftHanging = 0;

/** Threads that were still in a system call when their pool was closed: an exit waits for them. */
export const threadsLeftHanging = (): number => leftHanging;

export class WorkerPool {
  readonly #lanes = new Map<LaneName, Lane>();
  readonly #sizes: Readonly<Record<LaneName, LaneSize>>;
  readonly #health: ThreadHealth;
  #nextJob = 1;
  #closing: Promise<number> | null = null;

  /** `onThreads` learns when threads cannot be started or die, and when one starts again. */
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
   * Runs an exported function of a job module on a thread and answers what it returns.
   *
   * Fails    what the job threw (HostFault keeps its class); the signal's reason, at once;
   *          HostFault EAGAIN when too many threads hang, too many jobs wait, or the system has
   *          no thread; NotBegun; EOWNERDEAD when the thread died, or cannot start for another
   *          reason; ECANCELED after `close`.
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
          // The thread runs exactly the function that the types name.
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
          error: new NotBegun(`${name} ${options.path} was begun earlier and still hangs`),
        });
      } else lane.submit(job);
    });
  }

  state(lane: LaneName): LaneState {
    return this.#lane(lane).state();
  }

  /** Ends all threads; answers how many did not end because a system call of theirs hangs. */
  close(): Promise<number> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<number> {
    const hanging = await Promise.all([...this.#lanes.values()].map((lane) => lane.close()));
    await this.#health.close();
    const count = hanging.reduce((sum, ofALane) => sum + ofALane, 0);
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

/** The seat has no job now, so nothing of it can be lost. */
function vacate(seat: Seat): void {
  if (seat.lostTimer !== null) clearTimeout(seat.lostTimer);
  seat.lostTimer = null;
  seat.job = null;
  seat.lost = false;
}

class Lane {
  readonly #name: LaneName;
  readonly #size: LaneSize;
  readonly #seats = new Set<Seat>();
  readonly #health: ThreadHealth;
  /** Kept in order of arrival; a Set so that an aborted job leaves it cheaply. */
  #waiting = new Set<PendingJob>();

  constructor(name: LaneName, size: LaneSize, health: ThreadHealth) {
    this.#name = name;
    this.#size = size;
    this.#health = health;
  }

  state(): LaneState {
    const seats = [...this.#seats];
    return {
      running: seats.filter((seat) => seat.job !== null && !seat.lost).length,
      waiting: this.#waiting.size,
      lost: this.#lostCount(),
    };
  }

  hasLost({ name, path }: PendingJob): boolean {
    for (const { lost, job } of this.#seats) {
      if (lost && job?.name === name && job.path === path) return true;
    }
    return false;
  }

  submit(job: PendingJob): void {
    if (this.#waiting.size >= this.#size.waitingMax) {
      job.settle({ error: this.#refusal(job, `${this.#waiting.size} jobs wait`) });
      return;
    }
    this.#waiting.add(job);
    this.pump();
  }

  /** The caller gave up: a waiting job is forgotten, a running one has a second to end. */
  abandon(job: PendingJob): void {
    if (this.#waiting.delete(job)) return;
    const seat = [...this.#seats].find((candidate) => candidate.job === job);
    if (seat === undefined) return;
    seat.thread.tellAborted(job.number);
    seat.thread.rest();
    // Not unreferenced: jobs may wait for this thread or the one that takes its place.
    seat.lostTimer = setTimeout(() => {
      // After an event loop that was busy, the answer may have come but not been read yet.
      setImmediate(() => {
        if (seat.job === job) this.#lose(seat);
      });
    }, lostAfterMillis);
  }

  #lose(seat: Seat): void {
    seat.lost = true;
    this.pump();
  }

  async close(): Promise<number> {
    const seats = [...this.#seats];
    const cancelled = [...this.#waiting, ...seats.flatMap((seat) => seat.job ?? [])];
    this.#waiting.clear();
    for (const seat of seats) if (seat.job !== null) seat.thread.tellAborted(seat.job.number);
    const ended = Promise.all(seats.map((seat) => this.#end(seat)));
    for (const job of cancelled) {
      job.settle({ error: new HostFault(job.name, job.path, 'ECANCELED') });
    }
    let timer: NodeJS.Timeout | undefined;
    const limit = new Promise((resolve) => (timer = setTimeout(resolve, endMillisMax)));
    await Promise.race([ended, limit]);
    clearTimeout(timer);
    return this.#seats.size;
  }

  /** Gives waiting jobs to idle threads, and starts threads while there may be more. */
  pump(): void {
    for (const job of this.#waiting) {
      const seat = this.#idleSeat() ?? this.#newSeat();
      if (seat === null) break;
      this.#waiting.delete(job);
      this.#start(seat, job);
    }
    const lost = this.#lostCount();
    const { startFailure } = this.#health;
    if (this.#capacity() === 0) {
      this.#failWaiting((job) => this.#refusal(job, `${lost} threads hang`));
    } else if (startFailure !== null && this.#seats.size === lost) {
      // No thread that works, and none to be had.
      this.#failWaiting((job) => threadFault(job, startFailure, 'start'));
    }
  }

  #failWaiting(faultOf: (job: PendingJob) => HostFault): void {
    const jobs = [...this.#waiting];
    this.#waiting.clear();
    for (const job of jobs) job.settle({ error: faultOf(job) });
  }

  #start(seat: Seat, job: PendingJob): void {
    if (seat.idleTimer !== null) clearTimeout(seat.idleTimer);
    seat.idleTimer = null;
    seat.job = job;
    const { number, moduleUrl, name, input } = job;
    try {
      seat.thread.send({ job: number, moduleUrl, name, input });
    } catch (error) {
      // The input cannot be cloned.
      this.#free(seat);
      job.settle({ error: error instanceof Error ? error : new Error(String(error)) });
    }
  }

  #idleSeat(): Seat | null {
    for (const seat of this.#seats) if (seat.job === null) return seat;
    return null;
  }

  #newSeat(): Seat | null {
    const living = this.#seats.size - this.#lostCount();
    if (living >= this.#capacity()) return null;
    // While threads do not start, those that are left do the work.
    if (living > 0 && this.#health.startFailure !== null) return null;
    const thread = this.#newThread({
      ready: () => {
        seat.isReady = true;
        this.#health.started();
      },
      answered: (reply) => {
        this.#answered(seat, reply);
      },
      died: (cause) => {
        this.#died(seat, cause);
      },
    });
    if (thread === null) return null;
    const state = { isReady: false, job: null, lost: false, lostTimer: null, idleTimer: null };
    const seat: Seat = { thread, ...state };
    this.#seats.add(seat);
    return seat;
  }

  #newThread(events: ThreadEvents): WorkerThread | null {
    try {
      return new WorkerThread(events);
    } catch (thrown) {
      this.#health.startFailed(thrown instanceof Error ? thrown : new Error(String(thrown)));
      return null;
    }
  }

  #answered(seat: Seat, reply: JobReply): void {
    const { job } = seat;
    assert(job?.number === reply.job, 'a thread answers the job that it was given');
    this.#free(seat);
    job.settle(
      'thrown' in reply ? { error: fromPlainError(reply.thrown) } : { value: reply.value },
    );
    this.pump();
  }

  #died(seat: Seat, cause: Error): void {
    this.#seats.delete(seat);
    const { job } = seat;
    const isAwaited = job !== null && seat.lostTimer === null && !seat.lost;
    if (seat.idleTimer !== null) clearTimeout(seat.idleTimer);
    vacate(seat);
    if (seat.isReady) {
      job?.settle({ error: threadFault(job, cause, 'run') });
      this.#health.died(cause);
    } else {
      this.#health.startFailed(cause);
      // It has not begun: a thread that is left may do it.
      const isLeft = this.#seats.size > this.#lostCount();
      if (isAwaited && isLeft) this.#waiting = new Set([job, ...this.#waiting]);
      else job?.settle({ error: threadFault(job, cause, 'start') });
    }
    this.pump();
  }

  #free(seat: Seat): void {
    vacate(seat);
    seat.thread.rest();
    const living = this.#seats.size - this.#lostCount();
    if (living > this.#size.threads) {
      void this.#end(seat);
      return;
    }
    seat.idleTimer = setTimeout(() => {
      if (this.#seats.size > (this.#size.keeps ?? 0)) void this.#end(seat);
    }, idleMillisMax);
    seat.idleTimer.unref();
  }

  async #end(seat: Seat): Promise<void> {
    if (seat.idleTimer !== null) clearTimeout(seat.idleTimer);
    if (seat.lostTimer !== null) clearTimeout(seat.lostTimer);
    // Out of the pool at once when idle; a busy one is counted as hanging until it is gone.
    if (seat.job === null) this.#seats.delete(seat);
    await seat.thread.end();
    this.#seats.delete(seat);
  }

  #lostCount(): number {
    let count = 0;
    for (const seat of this.#seats) if (seat.lost) count += 1;
    return count;
  }

  /** How many threads may work now. */
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
