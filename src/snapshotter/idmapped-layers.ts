/**
 * The mounts that show layers with mapped ids to containers in user namespaces. Which are needed
 * is a projection: those below the snapshots that exist with such a mapping. They are made before
 * the first of these is acknowledged, made again when they are gone, and taken away with the last.
 *
 * Work on one pair of maps is done one after the other, so that what a removal finds unneeded is
 * not what a Prepare has just found there.
 */
import { errnoOf, HostFault, reasonOf } from '../base/errors.js';
import { below, mountOf } from '../base/mount-layers.js';
import type { IdmappedClone, IdmappedMounts, MountTable } from '../base/ports.js';
import type { SnapshotId } from '../base/units.js';
import type { IdmappedLayerMounts } from '../effects/state-effects.js';
import type { Supervisor } from '../effects/supervisor.js';
import {
  clonesBelow,
  clonesOf,
  idmappedPath,
  mapsDirectory,
} from '../inspect/startup/idmapped-paths.js';
import { snapshotsDirectory } from '../log/files.js';
import { metaOf } from '../machines/transition-table.js';
import type { SnapshotState } from '../machines/fold.js';
import type { Forest } from '../machines/snapshots/forest.js';
import { hasIdmappedLayers, type IdMaps } from '../machines/id-mapping.js';
import type { Maker } from '../machines/client-identity.js';
import { refusals, Refused, type Refusal } from '../machines/refusals.js';
import type { Visibility } from './clients/visibility.js';

export interface IdmappedLayersOptions {
  readonly root: string;
  readonly mounts: IdmappedMounts;
  readonly mountTable: MountTable;
  readonly visibility: Visibility;
  /** The durable one: a removal that is not on the disk yet takes nothing away. */
  readonly forest: () => Forest;
  readonly onProblem: (message: string, fields: Readonly<Record<string, unknown>>) => void;
}

export class IdmappedLayers implements IdmappedLayerMounts {
  readonly #options: IdmappedLayersOptions;
  /** By directory of the maps: ends when all work on it that was begun has ended. */
  readonly #queues = new Map<string, Promise<void>>();
  /** Directories that could not be removed, and why: reported once each. */
  readonly #stuck = new Map<string, string>();

  constructor(options: IdmappedLayersOptions) {
    this.#options = options;
  }

  /**
   * `client` is who is going to mount them; null for this process itself.
   *
   * Fails    Refused (IdsNotMappable, LayerNotVisible), HostFault, or the signal's reason
   */
  async attach(state: SnapshotState, client: Maker | null, signal: AbortSignal): Promise<void> {
    if (!hasIdmappedLayers(state)) return;
    await this.#inTurn(state.idMapping, async () => {
      const layers = this.#layersBelow(state);
      await this.#refuseCovered(layers, signal);
      const clones = clonesOf(this.#options.root, layers, state.idMapping);
      await this.#attach(state.idMapping, clones, signal);
    });
    await this.#refuseHidden(state, client, signal);
  }

  /**
   * The same for a snapshot that exists already, since its mounts do not outlive a reboot: the
   * reason why its layers cannot be shown with mapped ids, or null.
   */
  async ensure(
    state: SnapshotState,
    client: Maker | null,
    supervisor: Supervisor,
  ): Promise<Refusal | null> {
    if (!hasIdmappedLayers(state)) return null;
    const { result } = supervisor.run({
      effect: 'mapLayerIds',
      snapshot: state.id,
      work: (signal) => this.attach(state, client, signal),
    });
    try {
      await result;
      return null;
    } catch (thrown) {
      if (thrown instanceof Refused) return thrown.refusal;
      throw thrown;
    }
  }

  async release({ idMapping }: SnapshotState, signal: AbortSignal): Promise<void> {
    if (idMapping === null) return;
    const name = baseName(mapsDirectory(this.#options.root, idMapping));
    await this.#inTurn(idMapping, () => this.#removeUnneeded(name, signal));
  }

  async renew(layer: SnapshotId, signal: AbortSignal): Promise<void> {
    const { root, forest, onProblem } = this.#options;
    for (const state of mappedIn(forest())) {
      const attachOne = async () => {
        const layers = this.#layersBelow(state).filter(({ id }) => id === layer);
        await this.#attach(state.idMapping, clonesOf(root, layers, state.idMapping), signal);
      };
      try {
        await this.#inTurn(state.idMapping, attachOne);
      } catch (thrown) {
        signal.throwIfAborted();
        // The layer itself serves again; those who need it mapped get the reason.
        const error = reasonOf(thrown);
        onProblem('a layer could not be mounted with mapped ids again', { layer, error });
      }
    }
  }

  /** Takes away all that no snapshot needs. What cannot be removed is reported and left. */
  async removeUnneeded(signal: AbortSignal): Promise<void> {
    const entries = await this.#options.mounts.list(signal);
    const names = new Set(entries.map((entry) => entry.split('/')[0] ?? ''));
    for (const name of names) {
      await this.#enqueue(`${this.#options.mounts.directory}/${name}`, () =>
        this.#removeUnneeded(name, signal),
      );
    }
  }

  /** None once it is removed: no later removal would find its mounts. */
  #layersBelow({ id }: SnapshotState): readonly SnapshotState[] {
    const forest = this.#options.forest();
    const current = forest.get(id);
    const isThere = current !== undefined && metaOf(current.status).holdsName;
    return isThere ? forest.ancestorsOf(current) : [];
  }

  async #attach(
    maps: IdMaps,
    clones: readonly IdmappedClone[],
    signal: AbortSignal,
  ): Promise<void> {
    if (clones.length === 0) return;
    const absent = await this.#options.mounts.missing(clones, signal);
    if (absent.length === 0) return;
    // A snapshot may have been removed since its layers were looked up.
    const needed = this.#neededBelow(mapsDirectory(this.#options.root, maps));
    const missing = absent.filter(({ mountpoint }) => needed.has(mountpoint));
    try {
      await this.#options.mounts.attach(maps, missing, signal);
    } catch (thrown) {
      signal.throwIfAborted();
      throw await this.#explained(thrown, missing);
    }
  }

  /**
   * The clone of `snapshots/` shows directories, not what is mounted on them; of an ordinary layer
   * nothing may be.
   */
  async #refuseCovered(layers: readonly SnapshotState[], signal: AbortSignal): Promise<void> {
    const snapshots = snapshotsDirectory(this.#options.root);
    const ids = new Set(layers.flatMap(({ id, remote }) => (remote === null ? [String(id)] : [])));
    const table = await this.#options.mountTable.read(signal);
    for (const { mountpoint } of table) {
      const [id = ''] = below(mountpoint, snapshots)?.split('/') ?? [];
      if (!ids.has(id)) continue;
      const found = `something is mounted on ${mountpoint}, which is not a remote layer; unmount it`;
      throw new Refused(refusals.cannotMapIds(found));
    }
  }

  /** Asked after the mounts are made. A client in another mount namespace may not get them. */
  async #refuseHidden(
    state: SnapshotState,
    client: Maker | null,
    signal: AbortSignal,
  ): Promise<void> {
    const { root, visibility } = this.#options;
    const { idMapping } = state;
    const layers = this.#layersBelow(state);
    const mountpoints = clonesOf(root, layers, idMapping).map(({ mountpoint }) => mountpoint);
    const hidden = await visibility.whyHidden(client, mountpoints, signal);
    if (hidden === null) return;
    const layer = layers.find((one) => {
      const path = idmappedPath(root, one, idMapping);
      return path !== null && below(path, hidden.mountpoint) !== null;
    });
    if (layer === undefined) return;
    throw new Refused(refusals.layerNotVisible(layer.name, layer.id, hidden.reason));
  }

  async #explained(thrown: unknown, clones: readonly IdmappedClone[]): Promise<unknown> {
    if (!(thrown instanceof HostFault)) return thrown;
    const { operation } = thrown;
    const refused = (why: string): Refused =>
      new Refused(refusals.cannotMapIds(why), { cause: thrown });
    if (operation === 'unshare') return refused(thrown.message);
    const source = clones.find((clone) => clone.source === thrown.path)?.source;
    if (operation !== 'mount_setattr' || source === undefined) return thrown;
    const table = await this.#options.mountTable.read().catch(() => []);
    const type = mountOf(source, table)?.fileSystemType ?? 'an unknown file system';
    return refused(
      `${source} is ${type}, of which this kernel makes no idmapped mount ` +
        `(mount_setattr: ${thrown.code})`,
    );
  }

  async #removeUnneeded(name: string, signal: AbortSignal): Promise<void> {
    const { mounts, onProblem } = this.#options;
    const needed = this.#neededBelow(`${mounts.directory}/${name}`);
    const entries = await mounts.list(signal);
    const own = entries.filter((entry) => entry.startsWith(`${name}/`));
    const unneeded = own.filter((entry) => !needed.has(`${mounts.directory}/${entry}`));
    // A directory of maps that is empty goes by itself.
    if (own.length === 0 && entries.includes(name)) unneeded.push(name);
    for (const entry of unneeded) {
      const path = `${mounts.directory}/${entry}`;
      try {
        await mounts.detach(path, signal);
        this.#stuck.delete(path);
      } catch (thrown) {
        signal.throwIfAborted();
        if (errnoOf(thrown) === undefined) throw thrown;
        const error = reasonOf(thrown);
        if (this.#stuck.get(path) === error) continue;
        this.#stuck.set(path, error);
        onProblem('a directory of idmapped mounts could not be removed', { path, error });
      }
    }
  }

  #neededBelow(directory: string): ReadonlySet<string> {
    const { root } = this.#options;
    const forest = this.#options.forest();
    const needed = new Set<string>();
    for (const state of mappedIn(forest)) {
      if (mapsDirectory(root, state.idMapping) !== directory) continue;
      for (const { mountpoint } of clonesBelow(root, forest, state)) needed.add(mountpoint);
    }
    return needed;
  }

  #inTurn(maps: IdMaps, work: () => Promise<void>): Promise<void> {
    return this.#enqueue(mapsDirectory(this.#options.root, maps), work);
  }

  async #enqueue(directory: string, work: () => Promise<void>): Promise<void> {
    const earlier = this.#queues.get(directory) ?? Promise.resolve();
    const done = earlier.then(work);
    const settled = done.catch(() => undefined);
    this.#queues.set(directory, settled);
    try {
      await done;
    } finally {
      if (this.#queues.get(directory) === settled) this.#queues.delete(directory);
    }
  }
}

/** Snapshots that need their mounts: while one is being removed, its parents may be gone. */
function mappedIn(forest: Forest) {
  const states = forest.mapped().filter(hasIdmappedLayers);
  return states.filter(({ status }) => metaOf(status).holdsName);
}

const baseName = (path: string): string => path.slice(path.lastIndexOf('/') + 1);
