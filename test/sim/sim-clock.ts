/**
 * Virtual time, and the only thing that makes anything happen: every reply of a port and every
 * timer is an entry in one queue, taken in order. Unlike the virtual clock of other tests it can
 * be asked for the next entry alone, and its time of day jumps.
 */
import type { Clock } from '../../src/base/ports.js';
import { unixNanos, type UnixNanos } from '../../src/base/units.js';

interface Entry {
  readonly at: number;
  readonly callback: () => void;
  isCancelled: boolean;
}

export class SimClock implements Clock {
  #millis = 0;
  #jumped = 0;
  /** By rising time; what was scheduled first comes first. */
  readonly #queue: Entry[] = [];

  now(): UnixNanos {
    const millis = this.#millis + this.#jumped;
    return unixNanos(1_700_000_000_000_000_000n + BigInt(Math.round(millis * 1000)) * 1000n);
  }

  monotonicMillis(): number {
    return this.#millis;
  }

  schedule(delayMillis: number, callback: () => void): () => void {
    const entry: Entry = {
      at: this.#millis + Math.max(0, delayMillis),
      callback,
      isCancelled: false,
    };
    this.#queue.splice(this.#placeOf(entry.at), 0, entry);
    return () => {
      entry.isCancelled = true;
    };
  }

  /** Somebody sets the time of day. Timers do not notice. */
  jump(millis: number): void {
    this.#jumped += millis;
  }

  /**
   * Lets time pass: runs what falls due, one entry after the other, each followed by everything
   * that it leads to without time. `isBusy` tells of work that is not in the queue. Stops early
   * when `isEnough` says so.
   */
  async advance(
    millis: number,
    isBusy: () => boolean,
    isEnough: () => boolean = () => false,
  ): Promise<void> {
    const until = this.#millis + millis;
    await settle(isBusy);
    while (!isEnough()) {
      const next = this.#queue[0];
      if (next === undefined || next.at > until) {
        this.#millis = until;
        return;
      }
      this.#queue.shift();
      if (next.isCancelled) continue;
      this.#millis = next.at;
      next.callback();
      await settle(isBusy);
    }
  }

  /** The first index behind all entries of this time and before. */
  #placeOf(at: number): number {
    let low = 0;
    let high = this.#queue.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#queue[middle]?.at ?? Infinity) <= at) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Until promises that are settled have told everybody. */
async function settle(isBusy: () => boolean): Promise<void> {
  do {
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  } while (isBusy());
}
