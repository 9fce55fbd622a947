/**
 * The forest as far as it is durable, kept as its difference to the accepted one: the states that
 * the accepted forest has moved on from, or has and this one has not yet. With nothing in line to
 * be written the difference is empty, so a second forest costs next to nothing.
 */
import type { SnapshotId, SnapshotName } from '../../base/units.js';
import { metaOf, type Status } from '../transition-table.js';
import type { SnapshotState } from '../fold.js';
import { Forest, namesOf, standsOn, type Follower } from './forest.js';
import type { ForestCut } from './forest-checkpoint.js';
import { hasIdmappedLayers } from '../id-mapping.js';
import { TARGET_LABEL } from '../labels.js';

export class DurableForest extends Forest implements Follower {
  readonly #accepted: Forest;
  /** What stands here where the accepted forest has something else; null for nothing. */
  readonly #differing = new Map<SnapshotId, SnapshotState | null>();
  /** Names of the states above. */
  readonly #names = new Map<SnapshotName, SnapshotId>();

  /** Everything that the accepted forest holds now counts as durable. */
  constructor(accepted: Forest) {
    super();
    this.#accepted = accepted;
    accepted.followedBy(this);
    this.reserveIdsBelow(accepted.nextId);
    this.reservePreallocated([...accepted.preallocated]);
    this.restoreSetAside(accepted.setAside, accepted.released);
    this.logCheckedTo(accepted.checkedTo);
  }

  /** The accepted forest is about to replace a state: until that is durable, it stands here. */
  replacing(id: SnapshotId, before: SnapshotState | undefined): void {
    if (!this.#differing.has(id)) this.#keep(id, before ?? null);
  }

  override put(next: SnapshotState): void {
    this.#forget(next.id);
    const accepted = this.#accepted.get(next.id);
    const durable = next.status === 'removed' ? undefined : next;
    if (accepted !== durable) this.#keep(next.id, durable ?? null);
    this.usePreallocated(next.id);
    this.reserveIdsBelow(next.id + 1);
  }

  /** Ahead by what is in line to be written: no client has seen it. */
  override get failingRemovals(): Forest['failingRemovals'] {
    return this.#accepted.failingRemovals;
  }

  override get size(): number {
    let size = this.#accepted.size;
    for (const [id, state] of this.#differing) {
      size += (state === null ? 0 : 1) - (this.#accepted.has(id) ? 1 : 0);
    }
    return size;
  }

  override get statusCounts(): ReadonlyMap<Status, number> {
    const counts = new Map(this.#accepted.statusCounts);
    const add = (status: Status | undefined, change: number) => {
      if (status !== undefined) counts.set(status, (counts.get(status) ?? 0) + change);
    };
    for (const [id, state] of this.#differing) {
      add(this.#accepted.get(id)?.status, -1);
      add(state?.status, 1);
    }
    return counts;
  }

  override get(id: SnapshotId): SnapshotState | undefined {
    const differing = this.#differing.get(id);
    return differing === undefined ? this.#accepted.get(id) : (differing ?? undefined);
  }

  override has(id: SnapshotId): boolean {
    const differing = this.#differing.get(id);
    return differing === undefined ? this.#accepted.has(id) : differing !== null;
  }

  override holderOf(name: SnapshotName): SnapshotState | undefined {
    const id = this.#names.get(name);
    if (id !== undefined) return this.#differing.get(id) ?? undefined;
    const holder = this.#accepted.holderOf(name);
    return holder === undefined || this.#differing.has(holder.id) ? undefined : holder;
  }

  override childrenOf(id: SnapshotId): number {
    let count = this.#accepted.childrenOf(id);
    for (const [child, state] of this.#differing) {
      const accepted = this.#accepted.get(child);
      count +=
        (state !== null && isChild(state, id) ? 1 : 0) -
        (accepted && isChild(accepted, id) ? 1 : 0);
    }
    return count;
  }

  override remotesFor(ref: string, parentId: SnapshotId | null): readonly SnapshotState[] {
    const states = this.#accepted
      .remotesFor(ref, parentId)
      .filter(({ id }) => !this.#differing.has(id));
    for (const state of this.#differing.values()) {
      const isIt = state?.remote?.ref === ref && (state.parent?.id ?? null) === parentId;
      if (isIt && metaOf(state.status).holdsName) states.push(state);
    }
    return states;
  }

  override labelledWithTarget(ref: string): readonly SnapshotState[] {
    const states = this.#accepted
      .labelledWithTarget(ref)
      .filter(({ id }) => !this.#differing.has(id));
    for (const state of this.#differing.values()) {
      const holdsName = state !== null && metaOf(state.status).holdsName;
      if (holdsName && state.labels.get(TARGET_LABEL) === ref) states.push(state);
    }
    return states;
  }

  override mapped(): readonly SnapshotState[] {
    const states = this.#accepted.mapped().filter(({ id }) => !this.#differing.has(id));
    for (const state of this.#differing.values()) {
      if (state !== null && hasIdmappedLayers(state)) states.push(state);
    }
    return states;
  }

  override cut(): ForestCut {
    return this.#accepted.cut().with(this.#differing);
  }

  #keep(id: SnapshotId, state: SnapshotState | null): void {
    this.#differing.set(id, state);
    if (state === null || !metaOf(state.status).holdsName) return;
    for (const name of namesOf(state)) this.#names.set(name, id);
  }

  #forget(id: SnapshotId): void {
    const state = this.#differing.get(id);
    this.#differing.delete(id);
    if (state == null) return;
    for (const name of namesOf(state)) if (this.#names.get(name) === id) this.#names.delete(name);
  }
}

const isChild = (state: SnapshotState, parentId: SnapshotId): boolean =>
  metaOf(state.status).holdsName && standsOn(state)?.id === parentId;
