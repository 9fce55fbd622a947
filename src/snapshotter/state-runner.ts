/**
 * Keeps the rule that effects belong to states: when a snapshot enters a state, that state's
 * effect is started; when it leaves, the effect is stopped; how an effect ends is reported back
 * as a command. A restart calls the same `entered` for every replayed snapshot whose state has an
 * effect, so recovery is not a second code path.
 */
import { InvariantBroken } from '../base/assert.js';
import { errnoHint } from '../base/errno-hints.js';
import { LogReadOnly } from '../base/errors.js';
import type { Clock } from '../base/ports.js';
import { formatTime, unixNanos, type SnapshotId } from '../base/units.js';
import { backoffMillis, type EffectPolicies } from '../effects/policies.js';
import { failureOf, removalFailureOf, workOf, type EffectWorld } from '../effects/state-effects.js';
import type { EffectRun, Supervisor } from '../effects/supervisor.js';
import { metaOf, type Status } from '../machines/transition-table.js';
import type { Command } from '../machines/commands.js';
import type { SnapshotState } from '../machines/fold.js';
import type { StateEffect } from '../machines/snapshot-machine.js';
import type { Dispatcher, EffectRunner } from './dispatcher.js';

/** When the effect of a state begins, and what it waits for. */
interface Scheduling {
  /** Milliseconds after the state was entered; null: only when it is requested. */
  readonly delay: (state: SnapshotState, options: StateRunnerOptions) => number | null;
  /**
   * Work of an earlier effect that was stopped must end first: a directory that is made, or mounted
   * on, while it is deleted would be left over.
   */
  readonly waitsForEarlierWork: boolean;
}

const atOnce: Scheduling = { delay: () => 0, waitsForEarlierWork: true };

const SCHEDULING: Readonly<Record<StateEffect, Scheduling>> = {
  prepareDirectories: atOnce,
  mapLayerIds: atOnce,
  mountRemote: atOnce,
  makeDurable: atOnce,
  // No caller waits, and a client that has just removed something most often asks for something new.
  removeDirectories: { delay: () => 50, waitsForEarlierWork: true },
  // A mount that hangs must not keep a later use of the layer from an answer.
  restoreLayer: { delay: untilRetry, waitsForEarlierWork: false },
};

/** An effect that has not begun. */
interface Scheduled {
  readonly state: SnapshotState;
  readonly effect: StateEffect;
  readonly cancel: () => void;
}

interface Running {
  readonly status: Status;
  readonly run: EffectRun<Command>;
  /** Settles when the outcome has been reported. Never rejects. */
  readonly reported: Promise<void>;
  /** Settles when the first attempt has ended, or the run was stopped. Never rejects. */
  readonly firstAttempt: Promise<void>;
}

export interface StateRunnerOptions {
  readonly clock: Clock;
  readonly supervisor: Supervisor;
  readonly policies: EffectPolicies;
  readonly world: EffectWorld;
  readonly random: () => number;
  /** A broken invariant, or anything else that must not be survived. */
  readonly onFatal: (thrown: unknown) => void;
  readonly onWarning: (message: string, fields: Readonly<Record<string, unknown>>) => void;
}

export class StateRunner implements EffectRunner {
  readonly #options: StateRunnerOptions;
  readonly #running = new Map<SnapshotId, Running>();
  /** By snapshot, all work begun for it; gone from here when it has really ended. */
  readonly #work = new Map<SnapshotId, Promise<void>>();
  readonly #scheduled = new Map<SnapshotId, Scheduled>();
  #dispatcher: Dispatcher | null = null;
  #closed = false;

  constructor(options: StateRunnerOptions) {
    this.#options = options;
  }

  /** The dispatcher and its runner need each other; this closes the circle. */
  reportTo(dispatcher: Dispatcher): void {
    this.#dispatcher = dispatcher;
  }

  entered(state: SnapshotState): void {
    if (this.#closed) return;
    const running = this.#running.get(state.id);
    if (running?.status === state.status) return;
    if (running !== undefined) {
      this.#running.delete(state.id);
      running.run.stop(new Error(`snapshot ${state.id} is ${state.status} now`));
    }
    this.#unschedule(state.id);
    const effect = metaOf(state.status).effect?.name;
    if (effect === undefined) return;
    const delay = SCHEDULING[effect].delay(state, this.#options);
    if (delay === 0) this.#start(state, effect);
    if (delay === 0 || delay === null) return;
    const cancel = this.#options.clock.schedule(delay, () => this.#startNow(state.id));
    this.#scheduled.set(state.id, { state, effect, cancel });
  }

  #unschedule(id: SnapshotId): Scheduled | null {
    const scheduled = this.#scheduled.get(id) ?? null;
    scheduled?.cancel();
    this.#scheduled.delete(id);
    return scheduled;
  }

  /** Begins what was to begin later. */
  #startNow(id: SnapshotId): void {
    const scheduled = this.#unschedule(id);
    if (scheduled !== null) this.#start(scheduled.state, scheduled.effect);
  }

  /**
   * Tries to restore an unavailable layer now, or joins the attempt under way. Settles when its
   * outcome is in line to be written; never rejects.
   */
  async restoreNow(state: SnapshotState): Promise<void> {
    this.#unschedule(state.id);
    if (!this.#running.has(state.id)) this.#start(state, 'restoreLayer');
    await this.#running.get(state.id)?.reported;
  }

  /** Settles when the first attempt of the effect under way, if any, has ended. Never rejects. */
  async firstAttemptEnded(id: SnapshotId): Promise<void> {
    // A caller waits after all.
    this.#startNow(id);
    await this.#running.get(id)?.firstAttempt;
  }

  /** Tries the effect of a state again: now instead of after a back-off, or anew. */
  retry(state: SnapshotState): void {
    const running = this.#running.get(state.id);
    if (running !== undefined) running.run.retryNow();
    else if (!this.#scheduled.has(state.id)) this.entered(state);
  }

  close(): void {
    this.#closed = true;
    for (const id of [...this.#scheduled.keys()]) this.#unschedule(id);
    for (const { run } of this.#running.values()) run.stop(new Error('the snapshotter is closing'));
    this.#running.clear();
  }

  #start(state: SnapshotState, effect: StateEffect): void {
    const earlier = this.#work.get(state.id);
    if (earlier !== undefined && SCHEDULING[effect].waitsForEarlierWork) {
      void earlier.then(() => {
        const isStillThere = this.#dispatcher?.accepted.get(state.id)?.status === state.status;
        if (isStillThere && !this.#closed && !this.#running.has(state.id)) this.#run(state, effect);
      });
    } else this.#run(state, effect);
  }

  #run(state: SnapshotState, effect: StateEffect): void {
    const { supervisor, world } = this.#options;
    const work = workOf(effect, state, world);
    const isRemote = state.remote !== null;
    const policy = effect === 'removeDirectories' && isRemote ? 'removeRemote' : effect;
    let firstEnded: () => void = () => undefined;
    const firstFailed = new Promise<void>((resolve) => {
      firstEnded = resolve;
    });
    const onAttemptFailed = (thrown: unknown): void => {
      firstEnded();
      if (effect === 'removeDirectories') this.#removalFailed(state, thrown);
    };
    const run = supervisor.run({ effect: policy, snapshot: state.id, work, onAttemptFailed });
    // An earlier one may still hang: then the supervisor refuses this one, which is idle at once.
    const idle = Promise.all([this.#work.get(state.id), run.idle]).then(() => {
      if (this.#work.get(state.id) === idle) this.#work.delete(state.id);
    });
    this.#work.set(state.id, idle);
    const reported = run.result.then(
      (outcome) => this.#ended(state, outcome),
      (thrown: unknown) => {
        if (this.#closed || this.#running.get(state.id)?.run !== run) return;
        const failure = failureOf(effect, thrown, this.#retryAt(state));
        if (failure !== null) this.#ended(state, failure);
        else this.#running.delete(state.id);
        if (thrown instanceof InvariantBroken) this.#options.onFatal(thrown);
      },
    );
    const firstAttempt = Promise.race([reported, firstFailed]);
    this.#running.set(state.id, { status: state.status, run, reported, firstAttempt });
  }

  /** Recorded, and warned of, when the path or the error is another than before. */
  #removalFailed(state: SnapshotState, thrown: unknown): void {
    const { world, onWarning } = this.#options;
    const failure = removalFailureOf(state, thrown, world.directories);
    if (failure === null || !this.#report(state.id, failure)) return;
    const { path, code, reason } = failure;
    onWarning('the directory of a removed snapshot cannot be deleted; it is tried again', {
      ...{ snapshot: state.id, path, code, error: reason },
      ...(thrown instanceof Error && { advice: errnoHint(thrown).replace(/^; /, '') }),
    });
  }

  #ended(state: SnapshotState, outcome: Command): void {
    if (this.#closed) return;
    this.#running.delete(state.id);
    this.#report(state.id, outcome);
  }

  /** Whether it led to an event. */
  #report(id: SnapshotId, command: Command): boolean {
    if (this.#closed) return false;
    try {
      // A refusal means the snapshot has moved on meanwhile: then the outcome is of no interest.
      const reported = this.#dispatcher?.report(id, command);
      return reported?.ok === true && reported.value !== null;
    } catch (thrown) {
      // A log that is read-only has said so to everybody already.
      if (!(thrown instanceof LogReadOnly)) this.#options.onFatal(thrown);
      return false;
    }
  }

  /** An ordinary layer does not come back by itself; a remote one is tried again, ever later. */
  #retryAt(state: SnapshotState): string | null {
    if (state.remote === null) return null;
    const { clock, policies, random } = this.#options;
    const attempts = state.unavailability?.attempts ?? 0;
    const delay = backoffMillis(policies.restoreLayer, attempts, random());
    return formatTime(unixNanos(clock.now() + BigInt(delay) * 1_000_000n));
  }
}

/** Without a time, only a use of the layer or a person can bring it back. */
function untilRetry(
  { unavailability }: SnapshotState,
  { clock, policies }: StateRunnerOptions,
): number | null {
  const retryAt = unavailability?.retryAt ?? null;
  if (retryAt === null) return null;
  const left = Math.max(1, Date.parse(retryAt) - Number(clock.now() / 1_000_000n));
  // No wait was ever longer: a time further off was recorded by a clock that was ahead.
  return Math.min(left, policies.restoreLayer.backoffMillisMax);
}
