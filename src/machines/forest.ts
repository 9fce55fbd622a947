/**
 * All snapshots at one moment, joined by parent, and the indexes over them: by id, by name, by
 * what a remote snapshot stands for. Rules between snapshots ask here; rules of one snapshot are
 * the statechart's. A projection: everything in it can be folded again from the log.
 *
 * There are two in a daemon: the *accepted* one, ahead by what is in line to be written, on which
 * decisions rest; and the *durable* one, which is all that a client is ever told.
 */
import { assert } from '../base/assert.js';
import { snapshotId, type SnapshotId, type SnapshotName } from '../base/units.js';
import { metaOf } from './chart.js';
import type { ParentLink } from './events.js';
import type { SnapshotState } from './fold.js';
import { TARGET_LABEL } from './labels.js';

export class Forest {
  readonly #byId = new Map<SnapshotId, SnapshotState>();
  readonly #byName = new Map<SnapshotName, SnapshotId>();
  readonly #childCount = new Map<SnapshotId, number>();
  readonly #byTarget = new Map<string, Set<SnapshotId>>();
  readonly #byTargetLabel = new Map<string, Set<SnapshotId>>();
  #nextId = 1;

  /** The id the next snapshot gets. Ids are never used twice, also when the snapshot is gone. */
  get nextId(): SnapshotId {
    return snapshotId(this.#nextId);
  }

  /** Ids below are taken: by a checkpoint's word, or by directories nobody remembers. */
  reserveIdsBelow(next: number): void {
    this.#nextId = Math.max(this.#nextId, next);
  }

  get size(): number {
    return this.#byId.size;
  }

  get(id: SnapshotId): SnapshotState | undefined {
    return this.#byId.get(id);
  }

  /** Who holds a name, or has it reserved for a commit under way. */
  holderOf(name: SnapshotName): SnapshotState | undefined {
    const id = this.#byName.get(name);
    return id === undefined ? undefined : this.#byId.get(id);
  }

  /** The snapshot that a client may be told of under this name. */
  shown(name: SnapshotName): SnapshotState | undefined {
    const state = this.holderOf(name);
    // A name reserved for a commit is not yet the name of what will bear it.
    if (state?.name !== name) return undefined;
    return metaOf(state.status).shownAs === null ? undefined : state;
  }

  /** How many snapshots of any kind stand on this one. */
  childrenOf(id: SnapshotId): number {
    return this.#childCount.get(id) ?? 0;
  }

  /**
   * The remote snapshot, ready or on its way, that stands for (ref, parent). The ref alone is
   * not enough: the same layer on another parent is another snapshot. Of several, the oldest.
   */
  remoteFor(ref: string, parentId: SnapshotId | null): SnapshotState | undefined {
    const ids = this.#byTarget.get(targetKey(ref, parentId));
    return ids === undefined ? undefined : this.#byId.get(snapshotId(Math.min(...ids)));
  }

  /** All snapshots whose target label has this value, remote or not. */
  labelledWithTarget(ref: string): readonly SnapshotState[] {
    const ids = [...(this.#byTargetLabel.get(ref) ?? [])];
    return ids.flatMap((id) => this.#byId.get(id) ?? []);
  }

  /** The snapshot's parents, nearest first. */
  ancestorsOf(state: SnapshotState): SnapshotState[] {
    const chain: SnapshotState[] = [];
    let link = state.parent;
    while (link !== null) {
      const parent = this.#byId.get(link.id);
      assert(parent !== undefined, 'a parent is gone while a child stands on it', () =>
        JSON.stringify(link),
      );
      chain.push(parent);
      link = parent.parent;
    }
    return chain;
  }

  values(): IterableIterator<SnapshotState> {
    return this.#byId.values();
  }

  /** Takes in a snapshot's new state and keeps the indexes true. */
  put(next: SnapshotState): void {
    const previous = this.#byId.get(next.id);
    if (previous !== undefined) this.#unindex(previous);
    if (next.status === 'removed') {
      this.#byId.delete(next.id);
    } else {
      this.#byId.set(next.id, next);
      this.#index(next);
    }
    this.#nextId = Math.max(this.#nextId, next.id + 1);
  }

  #index(state: SnapshotState): void {
    if (!metaOf(state.status).holdsName) return;
    for (const name of namesOf(state)) {
      const holder = this.#byName.get(name);
      assert(
        holder === undefined || holder === state.id,
        'two snapshots hold one name',
        () => name,
      );
      this.#byName.set(name, state.id);
    }
    const parent = standsOn(state);
    if (parent !== null) this.#countChild(parent.id, 1);
    const label = state.labels.get(TARGET_LABEL);
    if (label !== undefined) add(this.#byTargetLabel, label, state.id);
    if (state.remote !== null) {
      add(this.#byTarget, remoteKey(state, state.remote.ref), state.id);
    }
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

  #countChild(parentId: SnapshotId, change: number): void {
    const count = this.childrenOf(parentId) + change;
    assert(count >= 0, 'a snapshot has fewer than no children');
    if (count === 0) this.#childCount.delete(parentId);
    else this.#childCount.set(parentId, count);
  }
}

function add(index: Map<string, Set<SnapshotId>>, key: string, id: SnapshotId): void {
  const ids = index.get(key);
  if (ids === undefined) index.set(key, new Set([id]));
  else ids.add(id);
}

function drop(index: Map<string, Set<SnapshotId>>, key: string, id: SnapshotId): void {
  const ids = index.get(key);
  if (ids?.delete(id) && ids.size === 0) index.delete(key);
}

function namesOf(state: SnapshotState): readonly SnapshotName[] {
  return state.commit === null ? [state.name] : [state.name, state.commit.name];
}

/** The parent, or the one it is being rebased onto, which must not vanish meanwhile. */
function standsOn(state: SnapshotState): ParentLink | null {
  return state.parent ?? state.commit?.parent ?? null;
}

function targetKey(ref: string, parentId: SnapshotId | null): string {
  return `${parentId ?? 0} ${ref}`;
}

function remoteKey(state: SnapshotState, ref: string): string {
  return targetKey(ref, state.parent?.id ?? null);
}
