/**
 * All snapshots at one moment, joined by parent, and the indexes over them: by id, by name, by
 * what a remote snapshot stands for. Rules between snapshots ask here; rules of one snapshot are
 * the statechart's. A projection: everything in it can be folded again from the log.
 *
 * There are two in a daemon: the *accepted* one, ahead by what is in line to be written, on which
 * decisions rest; and the *durable* one, which is all that a client ever sees. The second is
 * kept as its difference to the first (durable-forest.ts).
 *
 * What a checkpoint held is packed (packed-states.ts) until it is requested by id or name.
 */
import { assert } from '../../base/assert.js';
import {
  parseSnapshotId,
  snapshotId,
  type SnapshotId,
  type SnapshotName,
} from '../../base/units.js';
import { metaOf, type Status } from '../transition-table.js';
import type { DaemonEvent } from '../events/daemon-events.js';
import type { ParentLink } from '../events/events.js';
import type { RemovalFailure } from '../facts.js';
import type { SnapshotState } from '../fold.js';
import { ForestCut } from './forest-checkpoint.js';
import { hasIdmappedLayers } from '../id-mapping.js';
import { TARGET_LABEL } from '../labels.js';
import { PackedStates } from './packed-states.js';
import { SetAsideDirectories, type SetAside } from '../set-aside.js';

/** Called with each state before it is replaced. */
export interface Follower {
  replacing(id: SnapshotId, before: SnapshotState | undefined): void;
}

/** More ids than operations in flight and preallocated directories can take at a crash. */
export const ID_GAP_MAX = 1_000_000;

export class Forest {
  readonly #packed: PackedStates;
  readonly #byId = new Map<SnapshotId, SnapshotState>();
  readonly #byName = new Map<SnapshotName, SnapshotId>();
  /** Beyond those that the packed states count themselves; below zero when some of those went. */
  readonly #childCount = new Map<SnapshotId, number>();
  readonly #byTarget: Index = new Map();
  readonly #byTargetLabel: Index = new Map();
  /** Those whose layers are mounted with mapped ids, until they are gone. */
  readonly #mapped = new Set<SnapshotId>();
  readonly #statusCounts: Map<Status, number>;
  readonly #preallocated = new Set<SnapshotId>();
  readonly #setAside = new SetAsideDirectories();
  readonly #failingRemovals = new Map<SnapshotId, RemovalFailure>();
  #checkedTo = 0;
  #follower: Follower | null = null;
  #nextId = 1;

  constructor(packed = PackedStates.none()) {
    this.#packed = packed;
    this.#statusCounts = new Map(packed.statusCounts);
    this.#nextId = packed.lastId + 1;
    for (const row of packed.unindexed) {
      const state = packed.state(row);
      packed.take(row);
      this.#byId.set(state.id, state);
      this.#index(state);
      this.#noteRemoval(state);
      this.#keepMapped(state);
    }
  }

  /** At most one: called with each state before it is replaced. */
  followedBy(follower: Follower): void {
    assert(this.#follower === null, 'a forest has one follower');
    this.#follower = follower;
  }

  /** The id the next snapshot gets. Ids are never used twice, also when the snapshot is gone. */
  get nextId(): SnapshotId {
    return snapshotId(this.#nextId);
  }

  /** Lower ids are taken: by a checkpoint, or by directories that the log does not know. */
  reserveIdsBelow(next: number): void {
    this.#nextId = Math.max(this.#nextId, next);
  }

  /**
   * Reserves the ids of directories, which the log need not know, so that none is given again. An
   * id far above all of ours is none, and must not move ours.
   */
  reserveSeen(names: readonly string[]): void {
    const end = this.#nextId + ID_GAP_MAX;
    for (const name of names) {
      const id = parseSnapshotId(name);
      if (id !== null && id < end) this.reserveIdsBelow(id + 1);
    }
  }

  /** What the daemon said of itself, as far as it changes what is whose. */
  takeIn(event: DaemonEvent): void {
    this.#setAside.takeIn(event);
    if (event.type === 'DirectoriesPreallocated') this.reservePreallocated(event.data.ids);
    else if (event.type === 'PreallocatedReleased') {
      for (const id of event.data.ids) this.#preallocated.delete(id);
    } else if (event.type === 'LogRepaired') {
      for (const id of event.data.kept) this.#preallocated.delete(id);
      this.reserveIdsBelow(event.data.nextId);
    } else if (event.type === 'DirectoriesSetAside') {
      const names = event.data.directories.map(({ name }) => name);
      for (const name of names) this.#preallocated.delete(snapshotId(Number(name)));
      this.reserveSeen(names);
    } else if (event.type === 'DirectoriesReleased') {
      for (const name of event.data.names) this.#preallocated.delete(snapshotId(Number(name)));
    } else if (event.type === 'SegmentChecked') {
      this.logCheckedTo(event.data.to);
    }
  }

  /**
   * `to` of the newest SegmentChecked: segments before it were checked, or passed over because no
   * digest can be recorded for them.
   */
  get checkedTo(): number {
    return this.#checkedTo;
  }

  logCheckedTo(position: number): void {
    this.#checkedTo = Math.max(this.#checkedTo, position);
  }

  /** As a checkpoint recorded them. */
  restoreSetAside(kept: Iterable<readonly [string, SetAside]>, released: Iterable<string>): void {
    for (const [name, why] of kept) this.#setAside.keep(name, why);
    for (const name of released) this.#setAside.release(name);
  }

  /** Entries of `snapshots/` that no snapshot owns and that nothing may delete, by name. */
  get setAside(): ReadonlyMap<string, SetAside> {
    return this.#setAside.kept;
  }

  /** Entries of `snapshots/` that a person requested to be deleted with their content. */
  get released(): ReadonlySet<string> {
    return this.#setAside.released;
  }

  /** Reserves ids for directories that are made before a snapshot is requested. */
  reservePreallocated(ids: readonly SnapshotId[]): void {
    for (const id of ids) {
      this.#preallocated.add(id);
      this.reserveIdsBelow(id + 1);
    }
  }

  isPreallocated(id: SnapshotId): boolean {
    return this.#preallocated.has(id);
  }

  get preallocated(): ReadonlySet<SnapshotId> {
    return this.#preallocated;
  }

  /** Removed snapshots whose directory cannot be deleted, and why. */
  get failingRemovals(): ReadonlyMap<SnapshotId, RemovalFailure> {
    return this.#failingRemovals;
  }

  get size(): number {
    return this.#byId.size + this.#packed.live;
  }

  /** How many snapshots stand in each status. */
  get statusCounts(): ReadonlyMap<Status, number> {
    return this.#statusCounts;
  }

  get(id: SnapshotId): SnapshotState | undefined {
    const state = this.#byId.get(id);
    return state ?? this.#unpack(this.#packed.rowOf(id));
  }

  has(id: SnapshotId): boolean {
    if (this.#byId.has(id)) return true;
    const row = this.#packed.rowOf(id);
    return row !== -1 && !this.#packed.isTaken(row);
  }

  /** Who holds a name, or has it reserved for a commit under way. */
  holderOf(name: SnapshotName): SnapshotState | undefined {
    const id = this.#byName.get(name);
    return id === undefined ? this.#unpack(this.#packed.named(name)[0]) : this.#byId.get(id);
  }

  /** The snapshot that a client sees under this name. */
  shown(name: SnapshotName): SnapshotState | undefined {
    const state = this.holderOf(name);
    // A name reserved for a commit is not yet the name of what will bear it.
    if (state?.name !== name) return undefined;
    return metaOf(state.status).shownAs === null ? undefined : state;
  }

  /** How many snapshots of any kind stand on this one. */
  childrenOf(id: SnapshotId): number {
    const row = this.#packed.rowOf(id);
    const packed = row === -1 ? 0 : this.#packed.childrenOf(row);
    return packed + (this.#childCount.get(id) ?? 0);
  }

  /**
   * The remote snapshot, ready or on its way, that stands for (ref, parent). The ref alone is
   * not enough: the same layer on another parent is another snapshot. Of several, the oldest.
   */
  remoteFor(ref: string, parentId: SnapshotId | null): SnapshotState | undefined {
    const [first, ...others] = this.remotesFor(ref, parentId);
    return others.reduce(
      (oldest, state) => (oldest && oldest.id < state.id ? oldest : state),
      first,
    );
  }

  /** All that stand for (ref, parent): two, while one that was asked for twice is on its way. */
  remotesFor(ref: string, parentId: SnapshotId | null): readonly SnapshotState[] {
    for (const row of this.#packed.remote(ref)) this.#unpack(row);
    return idsIn(this.#byTarget, targetKey(ref, parentId)).flatMap(
      (id) => this.#byId.get(id) ?? [],
    );
  }

  /** All snapshots whose target label has this value, remote or not. */
  labelledWithTarget(ref: string): readonly SnapshotState[] {
    for (const row of this.#packed.labelled(ref)) this.#unpack(row);
    return idsIn(this.#byTargetLabel, ref).flatMap((id) => this.#byId.get(id) ?? []);
  }

  /** All snapshots whose layers are mounted with mapped ids, also those that are being removed. */
  mapped(): readonly SnapshotState[] {
    return [...this.#mapped].flatMap((id) => this.#byId.get(id) ?? []);
  }

  /** The snapshot's parents, nearest first. */
  ancestorsOf(state: SnapshotState): SnapshotState[] {
    const chain: SnapshotState[] = [];
    let link = state.parent;
    while (link !== null) {
      const parent = this.get(link.id);
      assert(parent !== undefined, 'a parent is gone while a child stands on it', () =>
        JSON.stringify(link),
      );
      chain.push(parent);
      link = parent.parent;
    }
    return chain;
  }

  /** All states as they are now, whatever happens while they are read. */
  cut(): ForestCut {
    return new ForestCut([...this.#byId.values()], this.#packed);
  }

  values(): Iterable<SnapshotState> {
    return this.cut().states();
  }

  /** As `values`, but an available local layer, view or active snapshot may be passed over by its id. */
  valuesExcept(isPassedOver: (id: SnapshotId) => boolean): Iterable<SnapshotState> {
    return this.cut().statesExcept(isPassedOver);
  }

  /** States that are not at rest, and some that are. */
  unsettled(): Iterable<SnapshotState> {
    return this.cut().statesExcept(() => true);
  }

  /** Takes in a snapshot's new state and keeps the indexes true. */
  put(next: SnapshotState): void {
    const previous = this.get(next.id);
    this.#follower?.replacing(next.id, previous);
    const isIndexedAlike = previous !== undefined && areIndexedAlike(previous, next);
    if (previous !== undefined) {
      if (!isIndexedAlike) this.#unindex(previous);
      this.#countStatus(previous.status, -1);
    }
    if (next.status === 'removed') {
      this.#byId.delete(next.id);
      this.#mapped.delete(next.id);
    } else {
      this.#keepMapped(next);
      this.#byId.set(next.id, next);
      if (!isIndexedAlike) this.#index(next);
      this.#countStatus(next.status, 1);
    }
    this.#noteRemoval(next);
    this.usePreallocated(next.id);
    this.#nextId = Math.max(this.#nextId, next.id + 1);
  }

  #noteRemoval({ id, status, removal }: SnapshotState): void {
    const failure = status === 'removed' ? null : (removal?.failure ?? null);
    if (failure === null) this.#failingRemovals.delete(id);
    else this.#failingRemovals.set(id, failure);
  }

  /** A snapshot has taken this id: it is no longer preallocated. */
  protected usePreallocated(id: SnapshotId): void {
    this.#preallocated.delete(id);
  }

  /** Makes a packed state an object that stays. Its children and status are counted already. */
  #unpack(row: number | undefined): SnapshotState | undefined {
    if (row === undefined || row === -1 || this.#packed.isTaken(row)) return undefined;
    const state = this.#packed.state(row);
    this.#packed.take(row);
    this.#byId.set(state.id, state);
    this.#indexTexts(state);
    return state;
  }

  #index(state: SnapshotState): void {
    this.#indexTexts(state);
    const parent = standsOn(state);
    if (parent !== null && metaOf(state.status).holdsName) this.#countChild(parent.id, 1);
  }

  #indexTexts(state: SnapshotState): void {
    if (!metaOf(state.status).holdsName) return;
    for (const name of namesOf(state)) {
      const holder = this.#byName.get(name) ?? this.#packed.holds(name);
      assert(holder === false || holder === state.id, 'two snapshots hold one name', () => name);
      this.#byName.set(name, state.id);
    }
    const label = state.labels.get(TARGET_LABEL);
    if (label !== undefined) add(this.#byTargetLabel, label, state.id);
    if (state.remote !== null) {
      add(this.#byTarget, remoteKey(state, state.remote.ref), state.id);
    }
  }

  #keepMapped(state: SnapshotState): void {
    if (hasIdmappedLayers(state)) this.#mapped.add(state.id);
  }

  #unindex(state: SnapshotState): void {
    if (!metaOf(state.status).holdsName) return;
    for (const name of namesOf(state)) this.#byName.delete(name);
    const parent = standsOn(state);
    if (parent !== null) this.#countChild(parent.id, -1);
    const label = state.labels.get(TARGET_LABEL);
    if (label !== undefined) drop(this.#byTargetLabel, label, state.id);
    if (state.remote !== null) {
      drop(this.#byTarget, remoteKey(state, state.remote.ref), state.id);
    }
  }

  #countStatus(status: Status, change: number): void {
    const count = (this.#statusCounts.get(status) ?? 0) + change;
    if (count === 0) this.#statusCounts.delete(status);
    else this.#statusCounts.set(status, count);
  }

  #countChild(parentId: SnapshotId, change: number): void {
    const count = (this.#childCount.get(parentId) ?? 0) + change;
    if (count === 0) this.#childCount.delete(parentId);
    else this.#childCount.set(parentId, count);
    assert(this.childrenOf(parentId) >= 0, 'a snapshot has fewer than no children');
  }
}

/** Most events change nothing that is looked up. */
function areIndexedAlike(before: SnapshotState, after: SnapshotState): boolean {
  return (
    before.name === after.name &&
    before.labels === after.labels &&
    before.parent === after.parent &&
    before.remote === after.remote &&
    before.commit === after.commit &&
    metaOf(before.status).holdsName === metaOf(after.status).holdsName
  );
}

/** A set only where several share a key, which is rare. */
type Index = Map<string, SnapshotId | Set<SnapshotId>>;

function add(index: Index, key: string, id: SnapshotId): void {
  const entry = index.get(key);
  if (entry === undefined) index.set(key, id);
  else if (entry instanceof Set) entry.add(id);
  else if (entry !== id) index.set(key, new Set([entry, id]));
}

function drop(index: Index, key: string, id: SnapshotId): void {
  const entry = index.get(key);
  if (entry === id) index.delete(key);
  else if (entry instanceof Set && entry.delete(id) && entry.size === 0) index.delete(key);
}

function idsIn(index: Index, key: string): readonly SnapshotId[] {
  const entry = index.get(key);
  if (entry === undefined) return [];
  return entry instanceof Set ? [...entry] : [entry];
}

/** A snapshot's names: its own, and the one that a commit under way will give it. */
export function namesOf(state: SnapshotState): readonly SnapshotName[] {
  return state.commit === null ? [state.name] : [state.name, state.commit.name];
}

/** The parent, or the one it is being rebased onto, which must not vanish meanwhile. */
export function standsOn(state: SnapshotState): ParentLink | null {
  return state.parent ?? state.commit?.parent ?? null;
}

function targetKey(ref: string, parentId: SnapshotId | null): string {
  return `${parentId ?? 0} ${ref}`;
}

function remoteKey(state: SnapshotState, ref: string): string {
  return targetKey(ref, state.parent?.id ?? null);
}
