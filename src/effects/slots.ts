/**
 * The places of one kind of effect, first come, first served. Bounds how many run at once, not
 * how many wait: each that waits has a limit of its own.
 */
export class Slots {
  #free: number;
  readonly #waiting = new Set<() => void>();

  constructor(concurrency: number) {
    this.#free = concurrency;
  }

  /** Calls back when there is a place, maybe at once. Answers how to leave the queue. */
  enter(start: () => void): () => void {
    if (this.#free > 0) {
      this.#free -= 1;
      start();
    } else {
      this.#waiting.add(start);
    }
    return () => void this.#waiting.delete(start);
  }

  /** Gives a place back. */
  leave(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#free += 1;
      return;
    }
    this.#waiting.delete(next);
    next();
  }
}
