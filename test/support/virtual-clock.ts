/** A clock that stands still until it is told to move: hours pass in a test within a moment. */
import type { Clock } from '../../src/base/ports.js';
import { unixNanos, type UnixNanos } from '../../src/base/units.js';

interface Timer {
  readonly at: number;
  readonly callback: () => void;
}

export class VirtualClock implements Clock {
  #millis = 0;
  readonly #timers = new Set<Timer>();

  now(): UnixNanos {
    return unixNanos(1_700_000_000_000_000_000n + BigInt(Math.round(this.#millis * 1e6)));
  }

  monotonicMillis(): number {
    return this.#millis;
  }

  schedule(delayMillis: number, callback: () => void): () => void {
    const timer = { at: this.#millis + delayMillis, callback };
    this.#timers.add(timer);
    return () => {
      this.#timers.delete(timer);
    };
  }

  /** How many callbacks are waited for: an ended run must leave none. */
  get timers(): number {
    return this.#timers.size;
  }

  /** Lets time pass; what falls due runs in order, and what follows from it before the next. */
  async advance(millis: number): Promise<void> {
    const until = this.#millis + millis;
    await settle();
    for (;;) {
      const [next] = [...this.#timers]
        .filter(({ at }) => at <= until)
        .sort((left, right) => left.at - right.at);
      if (next === undefined) break;
      this.#timers.delete(next);
      this.#millis = next.at;
      next.callback();
      await settle();
    }
    this.#millis = until;
  }
}

/** Until promises that are settled have told everybody. */
export function settle(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
