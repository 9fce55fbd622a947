/** The children and ancestors of a snapshot at a position. */
import { assert } from '../../base/assert.js';
import type { SnapshotId } from '../../base/units.js';
import { metaOf } from '../../machines/transition-table.js';
import type { ParentLink } from '../../machines/events/events.js';
import type { SnapshotState } from '../../machines/fold.js';
import { standsOn, type Forest } from '../../machines/snapshots/forest.js';

/** The children, in ascending order of id. */
export function childrenIn(forest: Forest, id: SnapshotId): readonly ParentLink[] {
  const children: ParentLink[] = [];
  for (const state of forest.values()) {
    if (metaOf(state.status).holdsName && standsOn(state)?.id === id) {
      children.push({ id: state.id, name: state.name });
    }
  }
  return children;
}

/** Ancestors, nearest first; null if one no longer exists, as for a snapshot being removed. */
export function ancestorsIn(forest: Forest, state: SnapshotState): readonly SnapshotState[] | null {
  const chain: SnapshotState[] = [];
  for (let link = state.parent; link !== null;) {
    const parent = forest.get(link.id);
    if (parent === undefined) return null;
    assert(chain.length < forest.size, 'no snapshot is its own ancestor');
    chain.push(parent);
    link = parent.parent;
  }
  return chain;
}
