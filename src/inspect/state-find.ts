/** Which of the snapshots of one moment a word means, and what stood round it. */
import { assert } from '../base/assert.js';
import { parseSnapshotId, type SnapshotId } from '../base/units.js';
import { metaOf } from '../machines/chart.js';
import type { ParentLink } from '../machines/events.js';
import type { SnapshotState } from '../machines/fold.js';
import { standsOn, type Forest } from '../machines/forest.js';
import { TARGET_LABEL } from '../machines/labels.js';
import { matcherOf } from './bears-text.js';

/**
 * A number is an id before it is a name; a name that is borne whole goes before all that it is
 * only a part of.
 */
export function findStates(forest: Forest, text: string): readonly SnapshotState[] {
  const id = parseSnapshotId(text);
  const byId = id === null ? undefined : forest.get(id);
  if (byId !== undefined) return [byId];
  const matches = matcherOf(text);
  const found: SnapshotState[] = [];
  for (const state of forest.values()) {
    if (state.name === text && metaOf(state.status).holdsName) return [state];
    if (textsOf(state).some(matches)) found.push(state);
  }
  return found;
}

function textsOf({ name, target, labels, remote }: SnapshotState): readonly string[] {
  const label = labels.get(TARGET_LABEL);
  return [name, target, label, remote?.ref].filter((text) => text !== null && text !== undefined);
}

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
