/** What stood round a snapshot at a moment: on it, and below it. */
import { assert } from '../../base/assert.js';
import type { SnapshotId } from '../../base/units.js';
import { metaOf } from '../../machines/transition-table.js';
import type { ParentLink } from '../../machines/events/events.js';
import type { SnapshotState } from '../../machines/fold.js';
import { standsOn, type Forest } from '../../machines/snapshots/forest.js';

/** Those that stand on it, by rising id. */
export function childrenIn(forest: Forest, id: SnapshotId): readonly ParentLink[] {
  const children: ParentLink[] = [];
  for (const state of forest.values()) {
    if (metaOf(state.status).holdsName && standsOn(state)?.id === id) {
      children.push({ id: state.id, name: state.name });
    }
  }
  return children;
}

/** Parents, nearest first; null when one of them is gone, as under what is being removed. */
export function ancestorsIn(forest: Forest, state: SnapshotState): readonly SnapshotState[] | null {
  const chain: SnapshotState[] = [];
  for (let link = state.parent; link !== null;) {
    const parent = forest.get(link.id);
    if (parent === undefined) return null;
    assert(chain.length < forest.size, 'a snapshot is its own ancestor');
    chain.push(parent);
    link = parent.parent;
  }
  return chain;
}
