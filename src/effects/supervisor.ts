/**
 * Runs side effects as XState actors, each under its policy: bounded in number, in time and in
 * attempts. A failed actor is restarted alone (one for one); its siblings never notice. An actor
 * that ignores its signal is let go of: its caller gets TimeLimitPassed at the limit, and its
 * place is free again only when it really ends, so that a file system that hangs cannot pile up
 * calls without bound.
 */
import { createActor, fromPromise, type Actor } from 'xstate';
import { NotBegun, reasonOf, TimeLimitPassed } from '../base/errors.js';
import type { Clock } from '../base/ports.js';
import type { SnapshotId } from '../base/units.js';
import { healthMachine, type FailureLimit } from './health-machine.js';
import { backoffMillis, type EffectName, type EffectPolicies } from './policies.js';

export interface EffectRequest<Value> {
  readonly effect: EffectName;
  /** Whom it is for: shown to operators. */
  readonly snapshot: SnapshotId | null;
  readonly work: (signal: AbortSignal) => Promise<Value>;
}

export interface EffectRun<Value> {
  /** Rejects with the last attempt's fault, TimeLimitPassed, or the reason given to `stop`. */
  readonly result: Promise<Value>;
  /** Resolves when no work is in progress any more, which may be long after the result. */
  readonly idle: Promise<void>;
  stop(reason: Error): void;
}

/** A running or waiting actor, for /debug/actors. */
export interface ActorEntry {
  readonly effect: EffectName;
  readonly snapshot: SnapshotId | null;
  readonly state: 'waiting' | 'running' | 'backing off' | 'let go';
  readonly attempts: number;
  readonly ageMillis: number;
}

export interface SupervisorObserver {
  effectFailed(effect: EffectName, snapshot: SnapshotId | null, reason: string): void;
  healthChanged(health: 'healthy' | 'degraded'): void;
}

export interface SupervisorOptions {
  readonly clock: Clock;
  readonly policies: EffectPolicies;
  readonly failureLimit: FailureLimit;
  readonly observer: SupervisorObserver;
  /** Draws from [0, 1) for jitter. */
  readonly random: () => number;
}

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #lanes = new Map<EffectName, Lane>();
  readonly #runs = new Set<Run>();
  /** Work that was let go of and has not ended, by effect and snapshot. */
  readonly #hanging = new Set<string>();
  readonly #health: Actor<typeof healthMachine>;
  #stopHealthTimer: () => void = () => undefined;

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
    if (request.snapshot !== null && this.#hanging.has(what)) {
      // One thing that hangs must not take place after place, however often it is asked for.
      const fault = new NotBegun(`${what} was begun earlier and still hangs`);
      return { result: Promise.reject(fault), idle: Promise.resolve(), stop: () => undefined };
    }
    const lane = this.#laneOf(request.effect, policy.concurrency);
    const run = new Run(request, lane, this.#options, (reason) => this.#failed(request, reason));
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
      .then(() => {
        if (run.isWorking) this.#hanging.add(what);
        return run.workEnded();
      })
      .then(() => {
        this.#runs.delete(run);
        this.#hanging.delete(what);
      });
    return { result, idle, stop: (reason) => run.stop(reason) };
  }

  actors(): readonly ActorEntry[] {
    const now = this.#options.clock.monotonicMillis();
    return [...this.#runs].map((run) => run.entry(now));
  }

  /** Stops all actors; their results reject. */
  close(): void {
    this.#stopHealthTimer();
    for (const run of this.#runs) run.stop(new Error('the supervisor is closed'));
    this.#health.stop();
  }

  #laneOf(effect: EffectName, concurrency: number): Lane {
    let lane = this.#lanes.get(effect);
    if (lane === undefined) {
      lane = new Lane(concurrency);
      this.#lanes.set(effect, lane);
    }
    return lane;
  }

  #failed(request: EffectRequest<unknown>, thrown: unknown): void {
    const { clock, observer, failureLimit } = this.#options;
    observer.effectFailed(request.effect, request.snapshot, reasonOf(thrown));
    this.#health.send({ type: 'EffectFailed', atMillis: clock.monotonicMillis() });
    // Nothing else would tell the machine that it has been quiet since.
    this.#stopHealthTimer();
    this.#stopHealthTimer = clock.schedule(failureLimit.withinMillis + 1, () => {
      this.#health.send({ type: 'TimePassed', atMillis: clock.monotonicMillis() });
    });
  }
}

/** The places of one kind of effect, first come, first served. */
class Lane {
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

type Work = (signal: AbortSignal) => Promise<unknown>;

/** One logic for all effects: the work is its input. XState aborts the signal when it is stopped. */
const effectLogic = fromPromise<unknown, { readonly work: Work }>(({ input, signal }) =>
  input.work(signal),
);

/** One effect from its request to its end: attempts, limit, back-off. */
class Run {
  readonly #request: EffectRequest<unknown>;
  readonly #lane: Lane;
  readonly #options: SupervisorOptions;
  readonly #onFailure: (thrown: unknown) => void;
  readonly #startedMillis: number;
  #state: ActorEntry['state'] = 'waiting';
  #attempts = 0;
  #ended = false;
  #resolve: (value: unknown) => void = () => undefined;
  #reject: (reason: Error) => void = () => undefined;
  #actor: Actor<typeof effectLogic> | null = null;
  #cancelTimer: () => void = () => undefined;
  #leaveQueue: () => void = () => undefined;
  #onWorkEnded: () => void = () => undefined;
  #busy = 0;

  constructor(
    request: EffectRequest<unknown>,
    lane: Lane,
    options: SupervisorOptions,
    onFailure: (thrown: unknown) => void,
  ) {
    this.#request = request;
    this.#lane = lane;
    this.#options = options;
    this.#onFailure = onFailure;
    this.#startedMillis = options.clock.monotonicMillis();
  }

  begin(resolve: (value: unknown) => void, reject: (reason: Error) => void): void {
    this.#resolve = resolve;
    this.#reject = reject;
    this.#enter();
  }

  stop(reason: Error): void {
    if (this.#ended) return;
    this.#end();
    this.#reject(reason);
  }

  /** Whether an attempt's work is in progress, waited for or not. */
  get isWorking(): boolean {
    return this.#busy > 0;
  }

  /** Resolves once no work of this run is in progress. */
  workEnded(): Promise<void> {
    if (this.#busy === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onWorkEnded = resolve;
    });
  }

  entry(nowMillis: number): ActorEntry {
    const { effect, snapshot } = this.#request;
    const ageMillis = Math.round(nowMillis - this.#startedMillis);
    return { effect, snapshot, state: this.#state, attempts: this.#attempts, ageMillis };
  }

  #enter(): void {
    this.#state = 'waiting';
    const { effect } = this.#request;
    const { waitLimitMillis } = this.#options.policies[effect];
    if (waitLimitMillis !== null) {
      this.#cancelTimer = this.#options.clock.schedule(waitLimitMillis, () => {
        this.#giveUp(new NotBegun(`no place for ${effect} within ${waitLimitMillis} ms`));
      });
    }
    this.#leaveQueue = this.#lane.enter(() => {
      this.#cancelTimer();
      this.#attempt();
    });
  }

  #attempt(): void {
    const policy = this.#options.policies[this.#request.effect];
    this.#state = 'running';
    this.#attempts += 1;
    this.#busy += 1;
    const work: Work = async (signal) => {
      try {
        return await this.#request.work(signal);
      } finally {
        // The place is given back when the work is over, not when we stopped waiting for it.
        this.#busy -= 1;
        this.#lane.leave();
        if (this.#busy === 0) this.#onWorkEnded();
      }
    };
    const actor = createActor(effectLogic, { input: { work } });
    this.#actor = actor;
    actor.subscribe({
      next: (machineState) => {
        if (machineState.status === 'done') this.#succeeded(machineState.output);
      },
      error: (thrown) => this.#attemptFailed(thrown),
    });
    this.#cancelTimer = this.#options.clock.schedule(policy.timeLimitMillis, () => {
      actor.stop();
      this.#attemptFailed(new TimeLimitPassed(this.#request.effect, policy.timeLimitMillis));
    });
    actor.start();
  }

  #succeeded(value: unknown): void {
    if (this.#ended) return;
    this.#end();
    this.#resolve(value);
  }

  #attemptFailed(thrown: unknown): void {
    if (this.#ended) return;
    this.#cancelTimer();
    this.#onFailure(thrown);
    const policy = this.#options.policies[this.#request.effect];
    // What still runs cannot be run a second time beside itself.
    const retriesLeft = policy.retries - (this.#attempts - 1);
    if (retriesLeft <= 0 || thrown instanceof TimeLimitPassed) {
      this.#giveUp(thrown);
      return;
    }
    this.#state = 'backing off';
    const delay = backoffMillis(policy, this.#attempts - 1, this.#options.random());
    this.#cancelTimer = this.#options.clock.schedule(delay, () => this.#enter());
  }

  #giveUp(thrown: unknown): void {
    this.#end();
    this.#reject(thrown instanceof Error ? thrown : new Error(reasonOf(thrown)));
  }

  #end(): void {
    this.#ended = true;
    this.#state = 'let go';
    this.#cancelTimer();
    this.#leaveQueue();
    this.#actor?.stop();
  }
}
