/**
 * One effect from its request to its end: waiting for a place, attempts within their limits,
 * back-off. Each attempt is an XState actor of its own.
 */
import { createActor, fromPromise, type Actor } from 'xstate';
import { NotBegun, reasonOf, TimeLimitPassed } from '../base/errors.js';
import type { Clock } from '../base/ports.js';
import type { SnapshotId } from '../base/units.js';
import type { Slots } from './slots.js';
import { backoffMillis, type EffectName, type EffectPolicies } from './policies.js';

export interface EffectRequest<Value> {
  readonly effect: EffectName;
  /** Whom it is for: shown to operators. */
  readonly snapshot: SnapshotId | null;
  readonly work: (signal: AbortSignal) => Promise<Value>;
  /** Called when an attempt has failed, whether or not another one follows. */
  readonly onAttemptFailed?: (thrown: unknown) => void;
}

/** A running or waiting actor, for /debug/actors. */
export interface ActorEntry {
  readonly effect: EffectName;
  readonly snapshot: SnapshotId | null;
  /** `hanging`: past its time limit and still at work, with another attempt to follow. */
  readonly state: 'waiting' | 'running' | 'hanging' | 'backing off' | 'let go';
  readonly attempts: number;
  readonly ageMillis: number;
}

export interface RunOptions {
  readonly clock: Clock;
  readonly policies: EffectPolicies;
  /** Draws from [0, 1) for jitter. */
  readonly random: () => number;
}

type Work = (signal: AbortSignal) => Promise<unknown>;

/** One logic for all effects: the work is its input. XState aborts the signal when it is stopped. */
const effectLogic = fromPromise<unknown, { readonly work: Work }>(({ input, signal }) =>
  input.work(signal),
);

export class Run {
  readonly #request: EffectRequest<unknown>;
  readonly #places: Slots;
  readonly #options: RunOptions;
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
  /** Set while an attempt that passed its limit still works, and another one is to follow. */
  #retryWhenEnded: (() => void) | null = null;
  #busy = 0;

  constructor(
    request: EffectRequest<unknown>,
    places: Slots,
    options: RunOptions,
    onFailure: (thrown: unknown) => void,
  ) {
    this.#request = request;
    this.#places = places;
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

  /** Ends a back-off: the next attempt begins as soon as there is a place. */
  retryNow(): void {
    if (this.#ended || this.#state !== 'backing off') return;
    this.#cancelTimer();
    this.#enter();
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
    this.#leaveQueue = this.#places.enter(() => {
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
        this.#places.leave();
        if (this.#busy === 0) {
          this.#onWorkEnded();
          this.#retryWhenEnded?.();
        }
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
    this.#request.onAttemptFailed?.(thrown);
    const policy = this.#options.policies[this.#request.effect];
    const retriesLeft = policy.retries - (this.#attempts - 1);
    if (retriesLeft <= 0) this.#giveUp(thrown);
    // What still runs cannot be run a second time beside itself.
    else if (this.#busy > 0) {
      this.#state = 'hanging';
      this.#retryWhenEnded = () => this.#backOff();
    } else this.#backOff();
  }

  #backOff(): void {
    if (this.#ended) return;
    this.#retryWhenEnded = null;
    this.#state = 'backing off';
    const policy = this.#options.policies[this.#request.effect];
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
