/**
 * Prepare and View from the request to the mounts, remote layers included.
 *
 * A layer is asked for at most once at a time for each (ref, parent), however many clients want
 * it. If it cannot be had, all of them get an ordinary snapshot, and the log has the reason. If the
 * caller goes away meanwhile, nothing of the snapshot stays.
 */
import { EffectFailed } from '../base/errors.js';
import { ok, refuse, type Result } from '../base/result.js';
import { metaOf } from '../machines/transition-table.js';
import type { CommandOf } from '../machines/commands.js';
import { decide, targetOf } from '../machines/decide.js';
import type { SnapshotEventOf } from '../machines/events/events.js';
import type { SnapshotState } from '../machines/fold.js';
import { requestedMaps } from '../machines/id-mapping.js';
import { refusals, type Refusal } from '../machines/refusals.js';
import { keeperInWords } from '../machines/refusals.js';
import { makerOf } from '../machines/client-identity.js';
import type { SnapshotId } from '../base/units.js';
import { orAborted } from '../base/abort.js';
import type { Accepted, Dispatcher, Settled } from './dispatcher.js';
import type { Layers } from './layer-availability.js';
import type { DirectoryPool } from './directory-pool.js';
import type { Clients } from './clients/clients.js';
import type { Visibility } from './clients/visibility.js';

type PrepareCommand = CommandOf<'Prepare'>;

export interface PreparationOptions {
  readonly dispatcher: Dispatcher;
  readonly layers: Layers;
  readonly preallocated: DirectoryPool;
  readonly clients: Clients;
  readonly visibility: Visibility;
  /** Names of the remote file systems, in the order in which they are asked. */
  readonly fileSystems: readonly string[];
}

/** What asking for a remote layer came to; null when it was given up before there was an answer. */
interface TargetAnswer {
  /** Null: the layer is ready. */
  readonly failure: string | null;
}

interface StandingLayer {
  readonly ready: Refusal;
  /** Why it does not serve this client; null when it does. */
  readonly unusable: string | null;
  /** It may serve others. */
  readonly isWithheld: boolean;
}

export class Preparation {
  readonly #options: PreparationOptions;
  /** Remote preparations under way. */
  readonly #targets = new Map<string, Promise<TargetAnswer | null>>();

  constructor(options: PreparationOptions) {
    this.#options = options;
  }

  /** The active snapshot or view, durable. TargetReady when the remote layer serves instead. */
  async run(command: PrepareCommand, signal: AbortSignal): Promise<Result<SnapshotState, Refusal>> {
    const target = this.#options.fileSystems.length === 0 ? null : targetOf(command);
    if (target === null) return this.#prepare(command, null, signal);
    const client = makerOf(command.caller);
    const outOfReach = await this.#options.visibility.whyOutOfReach(client, signal);
    if (outOfReach !== null) return this.#prepare(command, outOfReach, signal);
    const key = `${target} ${command.parent ?? ''}`;
    const underWay = this.#targets.get(key);
    if (underWay !== undefined) {
      const answer = await orAborted(underWay, signal);
      // The first requester has left, or was refused for its own reason: the next one requests.
      if (answer === null) return this.run(command, signal);
      return this.#prepare(command, answer.failure, signal);
    }
    const { promise, settle } = settleable<TargetAnswer | null>();
    this.#targets.set(key, promise);
    let answer: TargetAnswer | null = null;
    try {
      const prepared = await this.#prepare(command, null, signal);
      if (prepared.ok && !this.#options.visibility.isBlind(client)) {
        answer = { failure: 'the remote file system was just asked, and did not have it' };
      } else if (!prepared.ok && prepared.refusal.name === 'TargetReady') {
        answer = { failure: null };
      }
      return prepared;
    } finally {
      this.#targets.delete(key);
      settle(answer);
    }
  }

  /**
   * All calls of `decide` for one Prepare, remote or not:
   *
   * 1. Before checks of layers, if any are due: a call that is refused anyway must not wait for
   *    them, and the refusal of a key in use takes precedence over TargetReady.
   * 2. After a check that failed: a layer that was removed meanwhile is not unavailable, so its
   *    child has no parent.
   * 3. To begin (`#begin`): the decision that is carried out. Checks take time, so what was decided
   *    before them no longer counts.
   * 4. For each effect that ends (`Dispatcher.report`): DirectoriesReady, unless the directories
   *    were preallocated, then RemoteReady or RemoteFailed. The caller may have left meanwhile.
   *
   * A remote Prepare without layers to check needs 3 and 4 alone.
   */
  async #prepare(
    command: PrepareCommand,
    declined: string | null,
    signal: AbortSignal,
  ): Promise<Result<SnapshotState, Refusal>> {
    const layer = this.#committedLayer(command);
    const refusal =
      layer !== null || this.#uncheckedBelow(command).length > 0 ? this.#refusalNow(command) : null;
    if (refusal !== null) return refuse(refusal);
    const standing = layer === null ? null : await this.#standingLayer(layer, command, signal);
    if (standing !== null && standing.unusable === null) return refuse(standing.ready);
    const unusable = await this.#unusableBelow(command, signal);
    if (unusable !== null) return refuse(unusable);
    const reason = standing?.unusable ?? declined;
    const withholdsReady = standing?.isWithheld === true;
    const begun = this.#begin({ ...command, withholdsReady }, reason);
    if (!begun.ok) {
      // It has become ready since, and whether it is for this client was not asked.
      const isNew = begun.refusal.name === 'TargetReady';
      return isNew ? this.#prepare(command, declined, signal) : begun;
    }
    const settled = await this.#settle(begun.value, signal);
    if (settled.event.type === 'SnapshotAbandoned' && settled.state.remote !== null) {
      // The mount hangs or left something behind, so that directory is given up. A fresh one,
      // without asking again, serves the client.
      return this.#prepare(command, settled.event.data.reason, signal);
    }
    return answerOf(settled);
  }

  /** What would be refused now. TargetReady is no refusal here: the layer is checked first. */
  #refusalNow(command: PrepareCommand): Refusal | null {
    const { accepted } = this.#options.dispatcher;
    const decision = decide(accepted, accepted.holderOf(command.key) ?? null, command);
    return decision.ok || decision.refusal.name === 'TargetReady' ? null : decision.refusal;
  }

  /** Checks the layers below that must be checked; most often there are none. */
  async #unusableBelow(command: PrepareCommand, signal: AbortSignal): Promise<Refusal | null> {
    const unchecked = this.#uncheckedBelow(command);
    if (unchecked.length === 0) return null;
    const { layers } = this.#options;
    const unusable = await layers.firstUnusable(unchecked, makerOf(command.caller), signal);
    return unusable === null ? null : (this.#refusalNow(command) ?? unusable);
  }

  /** The committed remote layer for the requested target; null if there is none. */
  #committedLayer(command: PrepareCommand): SnapshotState | null {
    const target = targetOf(command);
    if (target === null) return null;
    const { accepted } = this.#options.dispatcher;
    const parent = command.parent === null ? undefined : accepted.shown(command.parent);
    const layer = accepted.remoteFor(target, parent?.id ?? null);
    return layer !== undefined && metaOf(layer.status).shownAs === 'committed' ? layer : null;
  }

  /** Whether this client may use the layer. */
  async #standingLayer(
    standing: SnapshotState,
    command: PrepareCommand,
    signal: AbortSignal,
  ): Promise<StandingLayer> {
    const { accepted } = this.#options.dispatcher;
    const ready = refusals.targetReady(targetOf(command) ?? standing.name, standing.name);
    const { caller } = command;
    const keeper = await this.#options.clients.keeperOf(standing, caller, 'use');
    // The other client would remove it from below this one.
    if (keeper !== null) return { ready, unusable: keeperInWords(keeper), isWithheld: true };
    const client = makerOf(caller);
    const refusal = await this.#options.layers.firstUnusable([standing], client, signal);
    // "Already exists" is a promise that must hold after a power cut.
    await orAborted(this.#options.dispatcher.durableOf(standing.id), signal);
    return {
      ready,
      unusable: refusal?.message ?? null,
      // The log says that it is ready, and so would a decision: again and again.
      isWithheld: refusal !== null && accepted.get(standing.id)?.status === 'committed.available',
    };
  }

  /** The layers below that must be checked before they are used. */
  #uncheckedBelow(command: PrepareCommand): readonly SnapshotState[] {
    const { dispatcher, layers } = this.#options;
    const { accepted } = dispatcher;
    const parent = command.parent === null ? undefined : accepted.shown(command.parent);
    return parent === undefined ? [] : layers.doubtful([parent, ...accepted.ancestorsOf(parent)]);
  }

  /** Decides again, since the checks took time, and starts. */
  #begin(command: PrepareCommand, declined: string | null): Result<Accepted, Refusal> {
    const { dispatcher, preallocated, fileSystems } = this.#options;
    const id = this.#preallocatedFor(command);
    const begun = dispatcher.execute(dispatcher.accepted.holderOf(command.key) ?? null, {
      ...{ ...command, fileSystems, declined },
      ...(id !== null && { preallocated: id }),
    });
    if (!begun.ok && id !== null) preallocated.giveBack(id);
    return begun;
  }

  /** Directories that were made ahead, when their owner is the right one. */
  #preallocatedFor(command: PrepareCommand): SnapshotId | null {
    const { dispatcher, preallocated } = this.#options;
    const maps = requestedMaps(command.key, command.labels);
    if (!maps.ok || maps.value !== null) return null;
    if (command.parent === null) return preallocated.take(null);
    const owner = dispatcher.accepted.shown(command.parent)?.owner ?? null;
    return owner === null ? null : preallocated.take(owner);
  }

  async #settle({ state, event, durable }: Accepted, signal: AbortSignal): Promise<Settled> {
    const isAtRest = metaOf(state.status).afterCrash === undefined;
    const settled = isAtRest
      ? durable.then(() => ({ state, event }))
      : this.#options.dispatcher.settled(state);
    try {
      return await orAborted(settled, signal);
    } catch (thrown) {
      this.#giveUp(state.id, settled);
      throw thrown;
    }
  }

  /** The caller is gone: what it asked for goes too, now or as soon as it stands. */
  #giveUp(id: SnapshotId, settled: Promise<Settled>): void {
    const { dispatcher } = this.#options;
    const reason = 'the caller went away before the answer';
    const withdraw = async () => {
      const fault = { kind: 'CallerLeft' } as const;
      const abandoned = dispatcher.report(id, { command: 'DirectoriesFailed', reason, fault });
      if (abandoned.ok) return;
      const { state } = await settled;
      const { shownAs } = metaOf(state.status);
      if (shownAs !== 'active' && shownAs !== 'view') return;
      const current = dispatcher.accepted.get(id) ?? null;
      const command = { command: 'Remove', name: state.name, deferred: false, caller: {} } as const;
      dispatcher.execute(current, command);
    };
    withdraw().catch(() => {
      // The log is read-only: what is left is found and settled by the next start.
    });
  }
}

function answerOf({ state, event }: Settled): Result<SnapshotState, Refusal> {
  const { shownAs } = metaOf(state.status);
  if (shownAs === 'committed') {
    return refuse(refusals.targetReady(state.remote?.ref ?? state.name, state.name));
  }
  if (shownAs !== null) return ok(state);
  if (event.type !== 'SnapshotAbandoned') throw new Error('the snapshot could not be prepared');
  const { reason: message, fault } = event.data;
  const name = fault?.kind;
  if (name === 'IdsNotMappable' || name === 'LayerNotVisible') return refuse({ name, message });
  throw errorOf(event);
}

/** The error for the caller of a failed effect, as the log has it. */
export function errorOf({
  data: { reason, fault },
}: SnapshotEventOf<'SnapshotAbandoned' | 'SnapshotCommitFailed'>): EffectFailed {
  return new EffectFailed(fault?.kind ?? 'Error', reason, fault?.errno);
}

function settleable<Value>(): { promise: Promise<Value>; settle: (value: Value) => void } {
  let settle: (value: Value) => void = () => undefined;
  const promise = new Promise<Value>((resolve) => {
    settle = resolve;
  });
  return { promise, settle };
}
