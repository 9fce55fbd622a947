/**
 * Whether the layers below a snapshot can be used right now. Every remote layer is checked each
 * time containerd uses it, in parallel and within a limit (stargz-snapshotter,
 * snapshot/snapshot.go, checkAvailability), and an unavailable one gets one more chance while the
 * caller waits. Unlike there, the answer names the layer and the reason.
 */
import { NotBegun, reasonOf } from '../base/errors.js';
import type { Clock, SnapshotDirectories } from '../base/ports.js';
import { formatTime, type SnapshotId } from '../base/units.js';
import { SupervisorClosed, type Supervisor } from '../effects/supervisor.js';
import type { FileSystem } from '../filesystems/contract.js';
import type { SnapshotState } from '../machines/fold.js';
import type { Maker } from '../machines/client-identity.js';
import { refusals, type Refusal } from '../machines/refusals.js';
import { orAborted } from '../base/abort.js';
import type { Dispatcher } from './dispatcher.js';
import type { StateRunner } from './state-runner.js';
import type { Visibility } from './clients/visibility.js';

/** Within the budget of Mounts, so that a client receives the layer and the reason. */
const RESTORE_WAIT_MILLIS = 5_000;

export interface LayersOptions {
  readonly dispatcher: Dispatcher;
  readonly runner: StateRunner;
  readonly supervisor: Supervisor;
  readonly fileSystem: FileSystem | null;
  readonly directories: Pick<SnapshotDirectories, 'fsPath'>;
  readonly clock: Clock;
  readonly visibility: Visibility;
}

export class Layers {
  readonly #options: LayersOptions;
  /** Checks under way: requests that ask at the same time share one. */
  readonly #checks = new Map<SnapshotId, Promise<Refusal | null>>();

  constructor(options: LayersOptions) {
    this.#options = options;
  }

  /** Those of the layers that must be looked at before they are used; most often none. */
  doubtful(layers: readonly SnapshotState[]): readonly SnapshotState[] {
    return layers.filter(
      (layer) => layer.remote !== null || layer.status === 'committed.unavailable',
    );
  }

  /**
   * The refusal for the first layer that cannot be used, or null. `client` is who is going to
   * mount it; null for this process itself.
   */
  async firstUnusable(
    layers: readonly SnapshotState[],
    client: Maker | null,
    signal: AbortSignal,
  ): Promise<Refusal | null> {
    const doubtful = this.doubtful(layers);
    if (doubtful.length === 0) return null;
    const answers = await orAborted(
      Promise.all(doubtful.map((layer) => this.#check(layer.id))),
      signal,
    );
    const unusable = answers.find((answer) => answer !== null) ?? null;
    return unusable ?? (await this.#firstHidden(doubtful, client, signal));
  }

  /** Asked after the check, which may just have mounted it. */
  async #firstHidden(
    layers: readonly SnapshotState[],
    client: Maker | null,
    signal: AbortSignal,
  ): Promise<Refusal | null> {
    const { visibility, directories } = this.#options;
    const remote = layers.filter((layer) => layer.remote !== null);
    const mountpoints = remote.map(({ id }) => directories.fsPath(id));
    const hidden = await visibility.whyHidden(client, mountpoints, signal);
    const layer = remote.find(({ id }) => directories.fsPath(id) === hidden?.mountpoint);
    return hidden === null || layer === undefined
      ? null
      : refusals.layerNotVisible(layer.name, layer.id, hidden.reason);
  }

  #check(id: SnapshotId): Promise<Refusal | null> {
    const underWay = this.#checks.get(id);
    if (underWay !== undefined) return underWay;
    const check = this.#checkNow(id).finally(() => this.#checks.delete(id));
    this.#checks.set(id, check);
    return check;
  }

  async #checkNow(id: SnapshotId): Promise<Refusal | null> {
    const layer = this.#options.dispatcher.accepted.get(id);
    if (layer === undefined) return refusals.superseded(`layer ${id}`);
    if (layer.status === 'committed.available') {
      const fault = await this.#whyUnusable(layer);
      if (fault === null) return null;
      const reason = reasonOf(fault);
      // That the checks are all busy, or the daemon stops, says nothing of this layer.
      const isOfLayer = !(fault instanceof NotBegun || fault instanceof SupervisorClosed);
      if (!isOfLayer) return refusals.layerNotAvailable(layer.name, id, reason);
      await this.#markLost(layer, reason);
    }
    // Another check may just have reported the loss: a mount outlives a crash, so the log
    // must know before it is made.
    await this.#options.dispatcher.durableOf(id);
    const lost = this.#options.dispatcher.accepted.get(id);
    if (lost?.status === 'committed.unavailable') await this.#restoreFor(lost);
    const now = this.#options.dispatcher.accepted.get(id);
    if (now?.status === 'committed.available') return null;
    const reason = now?.unavailability?.reason ?? 'it was removed meanwhile';
    return refusals.layerNotAvailable(layer.name, id, reason);
  }

  /** One attempt to restore it, as long as a caller can be kept waiting. The attempt goes on. */
  async #restoreFor(layer: SnapshotState): Promise<void> {
    const { runner, clock } = this.#options;
    let cancel: () => void = () => undefined;
    const waited = new Promise<void>((resolve) => {
      cancel = clock.schedule(RESTORE_WAIT_MILLIS, resolve);
    });
    await Promise.race([runner.restoreNow(layer), waited]);
    cancel();
  }

  async #whyUnusable(layer: SnapshotState): Promise<Error | null> {
    const { fileSystem, supervisor, directories } = this.#options;
    const { remote } = layer;
    if (remote === null) return null;
    if (fileSystem === null) {
      return new Error(`no remote file system is configured; "${remote.fileSystem}" provided it`);
    }
    const { result } = supervisor.run({
      effect: 'checkLayer',
      snapshot: layer.id,
      work: (signal) => fileSystem.check(directories.fsPath(layer.id), remote.mountLabels, signal),
    });
    return result.then(
      () => null,
      (thrown: unknown) => (thrown instanceof Error ? thrown : new Error(reasonOf(thrown))),
    );
  }

  async #markLost(layer: SnapshotState, reason: string): Promise<void> {
    const { dispatcher, clock } = this.#options;
    const retryAt = formatTime(clock.now());
    const lost = dispatcher.report(layer.id, { command: 'LayerLost', reason, retryAt });
    if (lost.ok) await lost.value?.durable;
  }
}
