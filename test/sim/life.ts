/**
 * One life of the daemon, from its start to its end or its death. Every call of a port goes
 * through here: it takes time before it has its effect and time before its answer comes, so a
 * kill can fall before, between and after. The dead get no answers.
 */
import type { Clock } from '../../src/base/ports.js';
import type { SimClock } from './sim-clock.js';
import type { Weather } from './weather.js';

/** What all parts of the simulated world share. */
export interface Surroundings {
  readonly clock: SimClock;
  readonly weather: Weather;
  /** Adds a line to the run's event log. */
  readonly trace: (line: string) => void;
}

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  readonly mayHang?: boolean;
}

export class Life {
  isAlive = true;
  readonly #around: Surroundings;
  readonly #number: number;
  #calls = 0;
  #busy = 0;
  /** The timers of the dead do not ring. */
  readonly clock: Clock;
  /** Ends of calls that hang. */
  readonly #held = new Set<() => void>();

  constructor(around: Surroundings, number: number) {
    this.#around = around;
    this.#number = number;
    const { clock } = around;
    this.clock = {
      now: () => clock.now(),
      monotonicMillis: () => clock.monotonicMillis(),
      schedule: (delay, callback) =>
        clock.schedule(delay, () => {
          if (this.isAlive) callback();
        }),
    };
  }

  /** Whether an effect is being carried out that takes turns of the event loop, but no time. */
  get isBusy(): boolean {
    return this.#busy > 0;
  }

  trace(line: string): void {
    if (this.isAlive) this.#around.trace(line);
  }

  /** Carries out one piece of work on the world: all of it or, when it throws, what it did so far. */
  async call<Value>(
    what: string,
    work: () => Value | Promise<Value>,
    { signal, mayHang = false }: CallOptions = {},
  ): Promise<Value> {
    const { weather } = this.#around;
    this.#calls += 1;
    const name = `${this.#number}.${this.#calls} ${what}`;
    this.trace(`> ${name}`);
    await this.#pass(weather.delay());
    const hang = mayHang ? weather.hang() : null;
    if (hang !== null) {
      this.trace(`~ ${name} hangs`);
      await this.#hang(hang, weather.listens() ? signal : undefined);
    }
    try {
      signal?.throwIfAborted();
      const value = await this.#carryOut(work);
      await this.#pass(weather.delay());
      this.trace(`< ${name}`);
      return value;
    } catch (thrown) {
      this.trace(`< ${name}: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
      await this.#pass(weather.delay());
      throw thrown;
    }
  }

  /** Takes this time, and no longer than the next calm. */
  async hangFor(millis: number, signal?: AbortSignal): Promise<void> {
    await this.#hang(millis, this.#around.weather.listens() ? signal : undefined);
    signal?.throwIfAborted();
  }

  /** Ends all that hangs. */
  release(): void {
    for (const end of [...this.#held]) end();
  }

  async #carryOut<Value>(work: () => Value | Promise<Value>): Promise<Value> {
    this.#busy += 1;
    try {
      return await work();
    } finally {
      this.#busy -= 1;
    }
  }

  #pass(millis: number): Promise<void> {
    return new Promise((resolve) => {
      this.#around.clock.schedule(millis, () => {
        if (this.isAlive) resolve();
      });
    });
  }

  #hang(millis: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const end = () => {
        cancel();
        this.#held.delete(end);
        signal?.removeEventListener('abort', end);
        if (this.isAlive) resolve();
      };
      const cancel = this.#around.clock.schedule(millis, end);
      this.#held.add(end);
      signal?.addEventListener('abort', end);
    });
  }
}
