/**
 * Runs side effects in slots (slot-machine.ts), each kind under its policy: bounded in number, in
 * time and in attempts. The caller of work that ignores its abort signal gets TimeLimitPassed at
 * the limit; the slot is free again only when the work really ends.
 */
import { createActor, type Actor } from 'xstate';
import { assert } from '../base/assert.js';
import { NotBegun, reasonOf } from '../base/errors.js';
import type { SnapshotId } from '../base/units.js';
import { Run, type ActorEntry, type EffectRequest, type RunOptions } from './effect-run.js';
import { isEffectName, type EffectName } from './policies.js';
import { SlotPool } from './slot-pool.js';
import { supervisorMachine, type FailureLimit } from './supervisor-machine.js';

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

/** Rejects the results of work that `close` cut short; the next startup does it. */
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
  readonly #pools = new Map<EffectName, SlotPool>();
  readonly #runs = new Set<Run>();
  /** Effects whose result was reported and whose work goes on, by effect and snapshot. */
  readonly #abandoned = new Set<string>();
  readonly #actor: Actor<typeof supervisorMachine>;
  #slots = 0;
  #isClosed = false;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    const { clock, failureLimit, observer } = options;
    this.#actor = createActor(supervisorMachine, {
      clock: {
        setTimeout: (callback: () => void, millis: number) => clock.schedule(millis, callback),
        clearTimeout: (cancel: () => void) => cancel(),
      },
      input: {
        limit: failureLimit,
        monotonicMillis: () => clock.monotonicMillis(),
        queueOf: (slotId) => this.#poolOf(effectIn(slotId)),
        slotCrashed: (slotId, slot, error) => this.#poolOf(effectIn(slotId)).crashed(slot, error),
      },
    });
    let previous: 'healthy' | 'degraded' = 'healthy';
    this.#actor.subscribe(({ value }) => {
      if (value === previous || value === 'closed') return;
      previous = value;
      observer.healthChanged(value);
    });
    this.#actor.start();
  }

  get health(): 'healthy' | 'degraded' {
    return this.#actor.getSnapshot().matches('degraded') ? 'degraded' : 'healthy';
  }

  /** Starts the effect now, or as soon as its kind has a free slot. */
  run<Value>(request: EffectRequest<Value>): EffectRun<Value> {
    const key = `${request.effect} ${request.snapshot ?? ''}`;
    if (this.#isClosed) return notBegun(new SupervisorClosed());
    if (request.snapshot !== null && this.#abandoned.has(key)) {
      // Repeated requests for work that hangs must not take one slot after another.
      return notBegun(new NotBegun(`${key} was begun earlier and still hangs`));
    }
    const pool = this.#poolOf(request.effect);
    const run = new Run(request, pool, this.#options, (thrown) => this.#failed(request, thrown));
    this.#runs.add(run);
    const result = new Promise<Value>((resolve, reject) => {
      // The value comes from this request's own work.
      run.start((value) => resolve(value as Value), reject);
    });
    const settled = async (): Promise<void> => {
      if (run.isAbandoned) {
        this.#abandoned.add(key);
        await run.workIsOver();
        this.#abandoned.delete(key);
      }
      this.#runs.delete(run);
    };
    return {
      result,
      idle: result.then(settled, settled),
      stop: (reason) => run.stop(reason),
      retryNow: () => run.retryNow(),
    };
  }

  actors(): readonly ActorEntry[] {
    const now = this.#options.clock.monotonicMillis();
    return [...this.#runs].map((run) => run.entry(now));
  }

  /** Stops all effects; their results reject, as do those of later requests. */
  close(): void {
    this.#isClosed = true;
    this.#actor.send({ type: 'Closed' });
    for (const run of this.#runs) run.stop(new SupervisorClosed());
  }

  #poolOf(effect: EffectName): SlotPool {
    let pool = this.#pools.get(effect);
    if (pool === undefined) {
      const { concurrency } = this.#options.policies[effect];
      pool = new SlotPool(concurrency, () => {
        this.#slots += 1;
        this.#actor.send({ type: 'SlotNeeded', slotId: `${effect}:${this.#slots}` });
      });
      this.#pools.set(effect, pool);
    }
    return pool;
  }

  #failed(request: EffectRequest<unknown>, thrown: unknown): void {
    this.#options.observer.effectFailed(request.effect, request.snapshot, reasonOf(thrown));
    this.#actor.send({ type: 'EffectFailed' });
  }
}

function effectIn(slotId: string): EffectName {
  const [effect = ''] = slotId.split(':');
  assert(isEffectName(effect), 'a slot is named after its kind of effect');
  return effect;
}
