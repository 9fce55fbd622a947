/**
 * The snapshotter's public methods: a request in, a reply or a refusal out. Answers come from the
 * durable forest alone. Stat, List, Usage of what rests, Update and Remove touch no disk but the
 * log; Prepare, View, Mounts and Commit wait for effects, and only for their own.
 *
 * Refusals are values. A promise rejects only with a fault of the world, LogReadOnly, or the
 * signal's reason.
 */
import type { SnapshotDirectories } from '../base/ports.js';
import { ok, refuse, type Result } from '../base/result.js';
import type { Position, SnapshotName, Usage } from '../base/units.js';
import type { ActorEntry } from '../effects/effect-run.js';
import type { Supervisor } from '../effects/supervisor.js';
import { metaOf } from '../machines/transition-table.js';
import type { Command, CommandOf } from '../machines/commands.js';
import type { Caller } from '../machines/events/events.js';
import type { SnapshotState } from '../machines/fold.js';
import { hasIdmappedLayers } from '../machines/id-mapping.js';
import { infoOf, type SnapshotInfo } from '../machines/snapshots/info.js';
import { UPPERDIR_LABEL } from '../machines/labels.js';
import { makerOf, type Keeper } from '../machines/client-identity.js';
import { refusals, type Refusal } from '../machines/refusals.js';
import { orAborted } from '../base/abort.js';
import type { Cleanup } from './cleanup.js';
import type { Clients } from './clients/clients.js';
import type { Accepted, Dispatcher } from './dispatcher.js';
import { asTargetQuery, parseFilters, type Filter } from './filter/filter.js';
import type { IdmappedLayers } from './idmapped-layers.js';
import type { Layers } from './layer-availability.js';
import { mountsOf, type MountSpec, type SnapshotPaths } from './mounts.js';
import { errorOf, type Preparation } from './preparation.js';
import type { SnapshotterSettings } from './settings.js';
import type { StateRunner } from './state-runner.js';
import type { DeletionRequest, UnownedDirectories } from './unowned-directories.js';

export type PrepareRequest = Omit<
  CommandOf<'Prepare'>,
  'command' | 'kind' | 'preallocated' | 'whyNoIdMapping' | 'fileSystems' | 'declined'
>;
export type CommitRequest = Omit<CommandOf<'Commit'>, 'command' | 'keeper'>;
export type UpdateRequest = Omit<CommandOf<'UpdateLabels'>, 'command' | 'keeper'>;

export interface SnapshotterParts {
  readonly dispatcher: Dispatcher;
  readonly runner: StateRunner;
  readonly supervisor: Supervisor;
  readonly layers: Layers;
  readonly idmapped: IdmappedLayers;
  readonly preparation: Preparation;
  readonly cleanup: Cleanup;
  readonly unowned: UnownedDirectories;
  readonly clients: Clients;
  readonly directories: SnapshotDirectories;
  readonly paths: SnapshotPaths;
  readonly settings: SnapshotterSettings;
}

export interface DirectoryProblems {
  /** Kept until a person names them (`stratalog gc --delete`). */
  readonly setAside: number;
  /** Cannot be deleted, or looked at; tried again. */
  readonly failing: number;
}

/** What a command is about, who asks, and what for. */
interface About {
  readonly name: SnapshotName;
  readonly caller: Caller;
  readonly purpose: 'use' | 'removal';
}

/** What is found out of the caller before a decision. */
interface Known {
  readonly caller: Caller;
  readonly keeper: Keeper | null;
}

const NOTHING: Usage = { size: 0, inodes: 0 };

/** How long List may look at snapshots before others get their turn. */
const SLICE_MILLIS = 5;

export class Snapshotter {
  readonly #parts: SnapshotterParts;

  constructor(parts: SnapshotterParts) {
    this.#parts = parts;
  }

  /**
   * A writable snapshot on the parent (null: on nothing), and the mounts that show it.
   *
   * Refuses ParentUnknown, ParentNotCommitted, NameInUse, InvalidName, InvalidLabel,
   * InvalidMapping, IdsNotMappable, MappedOtherwise, LayerNotAvailable, LayerNotVisible; TargetReady when
   * `containerd.io/snapshot.ref` asks for a layer that is, or has just become, a committed snapshot.
   */
  prepare(
    request: PrepareRequest,
    signal: AbortSignal,
  ): Promise<Result<readonly MountSpec[], Refusal>> {
    return this.#prepare({ command: 'Prepare', kind: 'active', ...request }, signal);
  }

  /** A read-only snapshot; refuses as `prepare` does, but never asks for a remote layer. */
  view(
    request: PrepareRequest,
    signal: AbortSignal,
  ): Promise<Result<readonly MountSpec[], Refusal>> {
    return this.#prepare({ command: 'Prepare', kind: 'view', ...request }, signal);
  }

  /**
   * The mounts of an active snapshot or view, for the caller to make. Refuses SnapshotUnknown,
   * NotMountable, LayerNotAvailable, LayerNotVisible.
   */
  async mounts(
    key: SnapshotName,
    caller: Caller,
    signal: AbortSignal,
  ): Promise<Result<readonly MountSpec[], Refusal>> {
    const state = this.#parts.dispatcher.durable.shown(key);
    if (state === undefined) return refuse(refusals.snapshotUnknown(key));
    if (metaOf(state.status).shownAs === 'committed') return refuse(refusals.notMountable(key));
    const { layers, idmapped, clients, supervisor } = this.#parts;
    const doubtful = layers.doubtful(this.#parts.dispatcher.durable.ancestorsOf(state));
    if (doubtful.length === 0 && !hasIdmappedLayers(state)) return ok(this.#mountsOf(state));
    const client = makerOf(clients.known(caller));
    const unusable =
      (await layers.firstUnusable(doubtful, client, signal)) ??
      (await orAborted(idmapped.ensure(state, client, supervisor), signal));
    // The checks took time, and it may have been removed meanwhile, its parents with it.
    const isStillThere = this.#parts.dispatcher.durable.shown(key)?.id === state.id;
    if (!isStillThere) return refuse(refusals.snapshotUnknown(key));
    return unusable === null ? ok(this.#mountsOf(state)) : refuse(unusable);
  }

  /** Makes an active snapshot a layer under a new name. Durable, contents included, when it answers. */
  async commit(request: CommitRequest, signal: AbortSignal): Promise<Result<void, Refusal>> {
    const { dispatcher } = this.#parts;
    const room = dispatcher.roomToGrow();
    if (room !== null) await room;
    const { key, caller } = request;
    // Where nothing must be waited for, requests are decided in the order in which they came.
    const asked = this.#keeperOfName(request.name, caller);
    const nameKeeper = asked instanceof Promise ? await asked : asked;
    const begun = await this.#execute({ name: key, caller, purpose: 'use' }, (known) => ({
      ...{ command: 'Commit', ...request, ...known, nameKeeper },
    }));
    if (!begun.ok) return refuse(begun.refusal);
    const { event } = await orAborted(dispatcher.settled(begun.value.state), signal);
    if (event.type !== 'SnapshotCommitFailed') return ok(undefined);
    throw errorOf(event);
  }

  /** Frees the name. The directory goes later: in the background, or with the next Cleanup. */
  async remove(name: SnapshotName, caller: Caller): Promise<Result<void, Refusal>> {
    const deferred = this.#parts.settings.asynchronousRemove;
    const removing = await this.#execute({ name, caller, purpose: 'removal' }, (known) => ({
      ...{ command: 'Remove', name, deferred, ...known },
    }));
    if (!removing.ok) return refuse(removing.refusal);
    await removing.value.durable;
    return ok(undefined);
  }

  stat(name: SnapshotName): Result<SnapshotInfo, Refusal> {
    const state = this.#parts.dispatcher.durable.shown(name);
    return state === undefined ? refuse(refusals.snapshotUnknown(name)) : ok(this.#infoOf(state));
  }

  /** Changes labels; answers the info after the change. */
  async update(request: UpdateRequest): Promise<Result<SnapshotInfo, Refusal>> {
    const { dispatcher } = this.#parts;
    const room = dispatcher.roomToGrow();
    if (room !== null) await room;
    const { name, caller } = request;
    const updating = await this.#execute({ name, caller, purpose: 'use' }, (known) => ({
      ...{ command: 'UpdateLabels', ...request, ...known },
    }));
    if (!updating.ok) return refuse(updating.refusal);
    await updating.value.durable;
    return ok(this.#infoOf(updating.value.state));
  }

  /** Disk usage without parents: measured while active, frozen at Commit, nothing for a view. */
  async usage(name: SnapshotName, signal: AbortSignal): Promise<Result<Usage, Refusal>> {
    const { dispatcher, supervisor, directories } = this.#parts;
    const state = dispatcher.durable.shown(name);
    if (state === undefined) return refuse(refusals.snapshotUnknown(name));
    if (metaOf(state.status).shownAs !== 'active') return ok(state.usage ?? NOTHING);
    const { id } = state;
    const { result } = supervisor.run({
      effect: 'measureUsage',
      snapshot: id,
      work: (stop) => directories.measure(id, stop),
    });
    return ok((await orAborted(result, signal)).usage);
  }

  /**
   * All snapshots that pass one of the filters, as one consistent cut: what happens while the
   * iterable is read does not change it. Refuses InvalidFilter.
   */
  list(filters: readonly string[]): Result<Iterable<SnapshotInfo>, Refusal> {
    const listed = this.listInSlices(filters);
    return listed.ok ? ok(flattened(listed.value)) : listed;
  }

  /**
   * As `list`, in slices that cost some milliseconds each, whatever the filters are: others can
   * have their turn in between. A slice is empty when so much was looked at in vain.
   */
  listInSlices(filters: readonly string[]): Result<Iterable<readonly SnapshotInfo[]>, Refusal> {
    const { durable } = this.#parts.dispatcher;
    const parsed = parseFilters(filters);
    if (!parsed.ok) return parsed;
    const query = asTargetQuery(filters);
    // containerd asks this for each layer of each pull: it must not cost a walk over everything.
    if (query !== null) {
      return ok(this.#slicesOf(this.#infosOf(durable.labelledWithTarget(query.ref)), parsed.value));
    }
    const cut = durable.cut();
    const infos = this.#parts.settings.upperdirLabel ? this.#infosOf(cut.states()) : cut.infos();
    return ok(this.#slicesOf(infos, parsed.value));
  }

  /**
   * Collects the directories that no snapshot owns any more; settles when that is done. `deletion`
   * names entries that are deleted with their content although they are set aside.
   *
   * Refuses DirectoryOwned, DirectoryUnknown; then nothing was collected
   */
  async cleanup(
    signal: AbortSignal,
    deletion: DeletionRequest | null = null,
  ): Promise<Result<void, Refusal>> {
    const { cleanup, unowned } = this.#parts;
    if (deletion !== null) {
      const released = await orAborted(unowned.release(deletion), signal);
      if (!released.ok) return released;
    }
    await orAborted(cleanup.run(), signal);
    return ok(undefined);
  }

  /** Directories that need a person: kept although the log has no use for them, or not deletable. */
  directoryProblems(): DirectoryProblems {
    const { dispatcher, unowned } = this.#parts;
    const { setAside, failingRemovals } = dispatcher.accepted;
    let inUse = 0;
    // Those that a repair set aside are known to the person who ran it.
    for (const { because } of setAside.values()) if (because !== 'repair') inUse += 1;
    return { setAside: inUse, failing: failingRemovals.size + unowned.failing.size };
  }

  /** Replies to clients include every record before this position. */
  get durablePosition(): Position {
    return this.#parts.dispatcher.durablePosition;
  }

  /** How many snapshots clients see, by kind, and how many layers are unavailable. */
  counts(): Readonly<Record<'active' | 'view' | 'committed' | 'hidden' | 'unavailable', number>> {
    const counts = { active: 0, view: 0, committed: 0, hidden: 0, unavailable: 0 };
    for (const [status, count] of this.#parts.dispatcher.durable.statusCounts) {
      counts[metaOf(status).shownAs ?? 'hidden'] += count;
      if (status === 'committed.unavailable') counts.unavailable += count;
    }
    return counts;
  }

  /** For metrics: how many snapshots stand in each state of the statechart. */
  countsByKindAndState(): readonly { kind: string; state: string; count: number }[] {
    const counts = [...this.#parts.dispatcher.durable.statusCounts];
    return counts.map(([status, count]) => ({
      kind: metaOf(status).shownAs ?? 'none',
      state: status,
      count,
    }));
  }

  actors(): readonly ActorEntry[] {
    return this.#parts.supervisor.actors();
  }

  async #prepare(
    command: CommandOf<'Prepare'>,
    signal: AbortSignal,
  ): Promise<Result<readonly MountSpec[], Refusal>> {
    const room = this.#parts.dispatcher.roomToGrow();
    if (room !== null) await room;
    const identified = this.#parts.clients.identify(command.caller);
    const caller = identified instanceof Promise ? await identified : identified;
    const asked = this.#keeperOfName(command.key, caller);
    const nameKeeper = asked instanceof Promise ? await asked : asked;
    const { whyNoIdMapping } = this.#parts.settings.mounts;
    const able = whyNoIdMapping === null ? command : { ...command, whyNoIdMapping };
    const known = { ...able, caller, nameKeeper };
    const prepared = await this.#parts.preparation.run(known, signal);
    return prepared.ok ? ok(this.#mountsOf(prepared.value)) : prepared;
  }

  /**
   * Executes a command on the snapshot that holds a name, with the reason that keeps it from the
   * caller, if any. Nothing runs between finding the holder and deciding.
   */
  async #execute(
    { name, caller, purpose }: About,
    commandFor: (known: Known) => Command,
  ): Promise<Result<Accepted, Refusal>> {
    const { dispatcher, clients } = this.#parts;
    for (;;) {
      const holder = dispatcher.accepted.holderOf(name) ?? null;
      const look = holder === null ? null : clients.keeperOf(holder, caller, purpose);
      const keeper = look instanceof Promise ? await look : look;
      // A look takes time, and another snapshot may hold the name by now.
      const current = dispatcher.accepted.holderOf(name) ?? null;
      if (current?.id !== holder?.id) continue;
      return dispatcher.execute(current, commandFor({ caller: clients.known(caller), keeper }));
    }
  }

  /** What keeps the holder of a name, if there is one, from a caller who wants the name. */
  #keeperOfName(name: SnapshotName, caller: Caller): Promise<Keeper | null> | Keeper | null {
    const { dispatcher, clients } = this.#parts;
    const holder = dispatcher.accepted.holderOf(name);
    return holder === undefined ? null : clients.keeperOf(holder, caller, 'use');
  }

  #mountsOf(state: SnapshotState): readonly MountSpec[] {
    const { dispatcher, paths, settings } = this.#parts;
    return mountsOf(state, dispatcher.durable.ancestorsOf(state), paths, settings.mounts);
  }

  *#infosOf(states: Iterable<SnapshotState>): Iterable<SnapshotInfo> {
    for (const state of states) {
      if (metaOf(state.status).shownAs !== null) yield this.#infoOf(state);
    }
  }

  *#slicesOf(infos: Iterable<SnapshotInfo>, passes: Filter): Iterable<readonly SnapshotInfo[]> {
    let slice: SnapshotInfo[] = [];
    let end = performance.now() + SLICE_MILLIS;
    for (const info of infos) {
      if (passes(info)) slice.push(info);
      if (performance.now() < end) continue;
      yield slice;
      slice = [];
      end = performance.now() + SLICE_MILLIS;
    }
    if (slice.length > 0) yield slice;
  }

  #infoOf(state: SnapshotState): SnapshotInfo {
    const info = infoOf(state);
    if (!this.#parts.settings.upperdirLabel) return info;
    const upperdir = this.#parts.directories.fsPath(state.id);
    return {
      ...info,
      labels: new Map<string, string>(info.labels).set(UPPERDIR_LABEL, upperdir),
    };
  }
}

function* flattened<Item>(slices: Iterable<readonly Item[]>): Iterable<Item> {
  for (const slice of slices) yield* slice;
}
