/**
 * One requested effect from its request to its end: it waits for a slot, runs, and backs off
 * between attempts. While it backs off it holds no slot, so a directory that cannot be removed
 * does not keep others from being removed.
 */
import { assert } from '../base/assert.js';
import { NotBegun, reasonOf, TimeLimitPassed } from '../base/errors.js';
import type { Clock } from '../base/ports.js';
import type { SnapshotId } from '../base/units.js';
import {
  backoffMillis,
  type EffectName,
  type EffectPolicies,
  type EffectPolicy,
} from './policies.js';
import type { Attempt, Slot } from './slot-machine.js';
import type { SlotPool } from './slot-pool.js';

export interface EffectRequest<Value> {
  readonly effect: EffectName;
  /** Which snapshot it is for: shown to operators. */
  readonly snapshot: SnapshotId | null;
  readonly work: (signal: AbortSignal) => Promise<Value>;
  /** Called when an attempt has failed, whether or not another one follows. */
  readonly onAttemptFailed?: (thrown: unknown) => void;
}

/** A running or waiting effect, for /debug/actors. */
export interface ActorEntry {
  readonly effect: EffectName;
  readonly snapshot: SnapshotId | null;
  /**
   * `overdue`: past its time limit and still at work, with another attempt to follow.
   * `abandoned`: its result was reported, and its work has not ended.
   */
  readonly state: Phase['name'];
  readonly attempts: number;
  readonly ageMillis: number;
}

export interface RunOptions {
  readonly clock: Clock;
  readonly policies: EffectPolicies;
  /** Draws from [0, 1) for jitter. */
  readonly random: () => number;
}

type CancelTimer = () => void;

type Phase =
  | { readonly name: 'waiting'; readonly cancelLimit: CancelTimer }
  | { readonly name: 'running'; readonly slot: Slot }
  | { readonly name: 'overdue' }
  | { readonly name: 'backing off'; readonly cancelEnd: CancelTimer }
  | { readonly name: 'abandoned' }
  | { readonly name: 'ended' };

const noTimer: CancelTimer = () => undefined;

export class Run implements Attempt {
  readonly #request: EffectRequest<unknown>;
  readonly #pool: SlotPool;
  readonly #options: RunOptions;
  readonly #onFailure: (thrown: unknown) => void;
  readonly #startedMillis: number;
  #phase: Phase = { name: 'waiting', cancelLimit: noTimer };
  #attempts = 0;
  #resolve: (value: unknown) => void = () => undefined;
  #reject: (reason: Error) => void = () => undefined;
  #onIdle: () => void = () => undefined;

  constructor(
    request: EffectRequest<unknown>,
    pool: SlotPool,
    options: RunOptions,
    onFailure: (thrown: unknown) => void,
  ) {
    this.#request = request;
    this.#pool = pool;
    this.#options = options;
    this.#onFailure = onFailure;
    this.#startedMillis = options.clock.monotonicMillis();
  }

  start(resolve: (value: unknown) => void, reject: (reason: Error) => void): void {
    this.#resolve = resolve;
    this.#reject = reject;
    this.#wait();
  }

  /** Ends the run; its result rejects with the reason. */
  stop(reason: Error): void {
    const phase = this.#phase;
    switch (phase.name) {
      case 'waiting':
        phase.cancelLimit();
        this.#pool.leave(this);
        this.#end(reason);
        return;
      case 'backing off':
        phase.cancelEnd();
        this.#end(reason);
        return;
      case 'running':
        this.#abandon(reason);
        phase.slot.send({ type: 'Stopped' });
        return;
      case 'overdue':
        this.#abandon(reason);
        return;
      case 'abandoned':
      case 'ended':
    }
  }

  /** Ends a back-off: the next attempt begins as soon as a slot is free. */
  retryNow(): void {
    if (this.#phase.name !== 'backing off') return;
    this.#phase.cancelEnd();
    this.#wait();
  }

  /** Whether the result was reported while the work goes on. */
  get isAbandoned(): boolean {
    return this.#phase.name === 'abandoned';
  }

  /** Resolves once no work of this run is in progress. */
  workIsOver(): Promise<void> {
    if (!this.isAbandoned) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onIdle = resolve;
    });
  }

  entry(nowMillis: number): ActorEntry {
    const { effect, snapshot } = this.#request;
    const ageMillis = Math.round(nowMillis - this.#startedMillis);
    return { effect, snapshot, state: this.#phase.name, attempts: this.#attempts, ageMillis };
  }

  // What its slot reports.

  get timeLimitMillis(): number {
    return this.#policy.timeLimitMillis;
  }

  begin(slot: Slot, signal: AbortSignal): Promise<unknown> {
    assert(this.#phase.name === 'waiting', 'a slot begins only attempts that wait');
    this.#phase.cancelLimit();
    this.#phase = { name: 'running', slot };
    this.#attempts += 1;
    return this.#request.work(signal);
  }

  succeeded(value: unknown): void {
    this.#phase = { name: 'ended' };
    this.#resolve(value);
  }

  failed(thrown: unknown): void {
    if (this.#hasRetries) this.#backOff();
    else this.#end(thrown);
    this.#reportFailure(thrown);
  }

  timedOut(): void {
    const fault = new TimeLimitPassed(this.#request.effect, this.timeLimitMillis);
    // Two attempts of the same work must not overlap: the next one waits for the end of this one.
    if (this.#hasRetries) this.#phase = { name: 'overdue' };
    else this.#abandon(fault);
    this.#reportFailure(fault);
  }

  workEnded(): void {
    if (this.#phase.name === 'overdue') this.#backOff();
    else {
      this.#phase = { name: 'ended' };
      this.#onIdle();
    }
  }

  crashed(error: unknown): boolean {
    if (this.#phase.name !== 'running') return false;
    this.failed(error);
    return true;
  }

  get #policy(): EffectPolicy {
    return this.#options.policies[this.#request.effect];
  }

  get #hasRetries(): boolean {
    return this.#attempts <= this.#policy.retries;
  }

  #wait(): void {
    const { effect } = this.#request;
    const { waitLimitMillis } = this.#policy;
    const cancelLimit =
      waitLimitMillis === null
        ? noTimer
        : this.#options.clock.schedule(waitLimitMillis, () => {
            this.stop(new NotBegun(`no slot for ${effect} within ${waitLimitMillis} ms`));
          });
    this.#phase = { name: 'waiting', cancelLimit };
    this.#pool.enter(this);
  }

  #backOff(): void {
    const { clock, random } = this.#options;
    const delay = backoffMillis(this.#policy, this.#attempts - 1, random());
    const cancelEnd = clock.schedule(delay, () => this.#wait());
    this.#phase = { name: 'backing off', cancelEnd };
  }

  #reportFailure(thrown: unknown): void {
    this.#onFailure(thrown);
    this.#request.onAttemptFailed?.(thrown);
  }

  #end(thrown: unknown): void {
    this.#phase = { name: 'ended' };
    this.#reject(toError(thrown));
  }

  #abandon(reason: Error): void {
    this.#phase = { name: 'abandoned' };
    this.#reject(reason);
  }
}

const toError = (thrown: unknown): Error =>
  thrown instanceof Error ? thrown : new Error(reasonOf(thrown));
