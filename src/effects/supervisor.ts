/**
 * Runs side effects as XState actors, each under its policy: bounded in number, in time and in
 * attempts. A failed actor is restarted alone (one for one); its siblings never notice. An actor
 * that ignores its signal is let go of: its caller gets TimeLimitPassed at the limit, and its
 * place is free again only when it really ends, so that a file system that hangs cannot pile up
 * calls without bound.
 */
import { createActor, type Actor } from 'xstate';
import { NotBegun, reasonOf } from '../base/errors.js';
import type { SnapshotId } from '../base/units.js';
import { healthMachine, type FailureLimit } from './health-machine.js';
import { Slots } from './slots.js';
import type { EffectName } from './policies.js';
import { Run, type ActorEntry, type EffectRequest, type RunOptions } from './effect-run.js';

export interface EffectRun<Value> {
  /** Rejects with the last attempt's fault, TimeLimitPassed, or the reason given to `stop`. */
  readonly result: Promise<Value>;
  /** Resolves when no work is in progress any more, which may be long after the result. */
  readonly idle: Promise<void>;
  stop(reason: Error): void;
  /** Begins the next attempt now instead of at the end of a back-off. */
  retryNow(): void;
}

export interface SupervisorObserver {
  effectFailed(effect: EffectName, snapshot: SnapshotId | null, reason: string): void;
  healthChanged(health: 'healthy' | 'degraded'): void;
}

export interface SupervisorOptions extends RunOptions {
  readonly failureLimit: FailureLimit;
  readonly observer: SupervisorObserver;
}

/** Of work that was cut short by `close`: the next start does it. */
export class SupervisorClosed extends Error {
  override readonly name = 'SupervisorClosed';

  constructor() {
    super(SupervisorClosed.text);
  }

  static readonly text = 'the supervisor is closed';
}

const notBegun = (fault: Error): EffectRun<never> => ({
  result: Promise.reject(fault),
  idle: Promise.resolve(),
  stop: () => undefined,
  retryNow: () => undefined,
});

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #places = new Map<EffectName, Slots>();
  readonly #runs = new Set<Run>();
  /** Work that was let go of and has not ended, by effect and snapshot. */
  readonly #hanging = new Set<string>();
  readonly #health: Actor<typeof healthMachine>;
  #stopHealthTimer: () => void = () => undefined;
  #isClosed = false;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#health = createActor(healthMachine, { input: options.failureLimit });
    let previous: 'healthy' | 'degraded' = 'healthy';
    this.#health.subscribe((machineState) => {
      if (machineState.value === previous) return;
      previous = machineState.value;
      options.observer.healthChanged(previous);
    });
    this.#health.start();
  }

  get health(): 'healthy' | 'degraded' {
    return this.#health.getSnapshot().value;
  }

  /** Starts the effect now, or as soon as its kind has a free place. */
  run<Value>(request: EffectRequest<Value>): EffectRun<Value> {
    const policy = this.#options.policies[request.effect];
    const what = `${request.effect} ${request.snapshot ?? ''}`;
    if (this.#isClosed) return notBegun(new SupervisorClosed());
    if (request.snapshot !== null && this.#hanging.has(what)) {
      // One thing that hangs must not take place after place, however often it is asked for.
      return notBegun(new NotBegun(`${what} was begun earlier and still hangs`));
    }
    const places = this.#placesOf(request.effect, policy.concurrency);
    const run = new Run(request, places, this.#options, (reason) => this.#failed(request, reason));
    this.#runs.add(run);
    const result = new Promise<Value>((resolve, reject) => {
      // The value comes from this request's own work.
      run.begin((value) => resolve(value as Value), reject);
    });
    const idle = result
      .then(
        () => undefined,
        () => undefined,
      )
      .then(async () => {
        // Another run of the same may hang on: only the mark of this one goes with it.
        const hangs = run.isWorking;
        if (hangs) this.#hanging.add(what);
        await run.workEnded();
        this.#runs.delete(run);
        if (hangs) this.#hanging.delete(what);
      });
    return {
      result,
      idle,
      stop: (reason) => run.stop(reason),
      retryNow: () => run.retryNow(),
    };
  }

  actors(): readonly ActorEntry[] {
    const now = this.#options.clock.monotonicMillis();
    return [...this.#runs].map((run) => run.entry(now));
  }

  /** Stops all actors; their results reject, as do those of what is begun from now on. */
  close(): void {
    this.#isClosed = true;
    this.#stopHealthTimer();
    for (const run of this.#runs) run.stop(new SupervisorClosed());
    this.#health.stop();
  }

  #placesOf(effect: EffectName, concurrency: number): Slots {
    let places = this.#places.get(effect);
    if (places === undefined) {
      places = new Slots(concurrency);
      this.#places.set(effect, places);
    }
    return places;
  }

  #failed(request: EffectRequest<unknown>, thrown: unknown): void {
    const { clock, observer, failureLimit } = this.#options;
    observer.effectFailed(request.effect, request.snapshot, reasonOf(thrown));
    if (this.#isClosed) return;
    this.#health.send({ type: 'EffectFailed', atMillis: clock.monotonicMillis() });
    // Nothing else would tell the machine that it has been quiet since.
    this.#stopHealthTimer();
    this.#stopHealthTimer = clock.schedule(failureLimit.withinMillis + 1, () => {
      this.#health.send({ type: 'TimePassed', atMillis: clock.monotonicMillis() });
    });
  }
}
