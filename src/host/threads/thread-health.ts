/**
 * Tracks whether worker threads can be started. After a thread fails to start or dies, retries
 * until one starts, so that health is reported without waiting for the next job.
 */
import { threadReason } from './thread-fault.js';
import { WorkerThread } from './worker-thread.js';

/** Called with the reason when a thread fails, and with null when one starts again. */
export type ThreadReports = (reason: string | null) => void;

const firstDelayMillis = 1_000;
const delayMillisMax = 10_000;

export class ThreadHealth {
  #failure: Error | null = null;
  #reported: string | null = null;
  #delayMillis = firstDelayMillis;
  #timer: NodeJS.Timeout | null = null;
  #attempt: WorkerThread | null = null;
  #closed = false;

  constructor(
    private readonly onChange: ThreadReports,
    /** Called when threads start again, so that queued jobs can run. */
    private readonly onRecovered: () => void,
  ) {}

  /** Why the last thread failed to start; null if it started. */
  get startFailure(): Error | null {
    return this.#failure;
  }

  startFailed(cause: Error): void {
    this.#failure = cause;
    this.#report(threadReason(cause, 'start'));
    this.#schedule();
  }

  /** A running thread died. Tries at once whether another one starts. */
  died(cause: Error): void {
    this.#report(threadReason(cause, 'run'));
    if (this.#timer === null) this.#try();
  }

  started(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#delayMillis = firstDelayMillis;
    const hadFailed = this.#failure !== null;
    this.#failure = null;
    this.#report(null);
    if (hadFailed) this.onRecovered();
  }

  async close(): Promise<void> {
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    await this.#attempt?.end();
  }

  #report(reason: string | null): void {
    if (reason === this.#reported) return;
    this.#reported = reason;
    this.onChange(reason);
  }

  #schedule(): void {
    if (this.#closed || this.#timer !== null) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#try();
    }, this.#delayMillis);
    this.#timer.unref();
    this.#delayMillis = Math.min(2 * this.#delayMillis, delayMillisMax);
  }

  #try(): void {
    if (this.#closed || this.#attempt !== null) return;
    const failed = (cause: Error): void => {
      this.#attempt = null;
      this.startFailed(cause);
    };
    try {
      const attempt = new WorkerThread({
        ready: () => {
          this.#attempt = null;
          this.started();
          void attempt.end();
        },
        answered: () => undefined,
        died: failed,
      });
      this.#attempt = attempt;
    } catch (thrown) {
      failed(thrown instanceof Error ? thrown : new Error(String(thrown)));
    }
  }
}
