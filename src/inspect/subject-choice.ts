/** Which of the snapshots that a word fits is meant, seen from one moment. Pure. */
import type { SnapshotId } from '../base/units.js';
import { metaOf } from '../machines/chart.js';
import type { SnapshotState } from '../machines/fold.js';
import type { Forest } from '../machines/forest.js';
import { TARGET_LABEL } from '../machines/labels.js';
import { matcherOf } from './bears-text.js';

export type Choice =
  | { readonly kind: 'one'; readonly id: SnapshotId }
  /** As near as one another: whoever chose could mislead. */
  | { readonly kind: 'several'; readonly ids: readonly SnapshotId[] }
  | { readonly kind: 'none' };

/**
 * The one that bears the word at the moment goes before those that bore it before: first a name
 * that is the word as a whole, then any text of a snapshot that holds its name, then of one that
 * is on its way out.
 */
export function chosenFrom(
  ids: readonly SnapshotId[],
  text: string,
  forest: Pick<Forest, 'get'> | null,
): Choice {
  const matches = matcherOf(text);
  const distanceOf = (id: SnapshotId) => distance(forest?.get(id), text, matches);
  const distances = new Map(ids.map((id) => [id, distanceOf(id)]));
  // Not `Math.min` of them all: a word may fit more than can be arguments.
  const nearest = [...distances.values()].reduce((one, other) => Math.min(one, other), Infinity);
  const [id, ...others] = ids.filter((one) => distances.get(one) === nearest);
  if (id === undefined) return { kind: 'none' };
  return others.length === 0 ? { kind: 'one', id } : { kind: 'several', ids: [id, ...others] };
}

function distance(
  state: SnapshotState | undefined,
  text: string,
  matches: (borne: string) => boolean,
): number {
  if (state === undefined || !textsOf(state).some(matches)) return 3;
  if (!metaOf(state.status).holdsName) return 2;
  return state.name === text ? 0 : 1;
}

/** All that bear it, by rising id. A snapshot is found here also when its events are retired. */
export function bearersIn(forest: Pick<Forest, 'values'>, text: string): readonly SnapshotId[] {
  const matches = matcherOf(text);
  const found: SnapshotId[] = [];
  for (const state of forest.values()) if (textsOf(state).some(matches)) found.push(state.id);
  return found.sort((one, other) => one - other);
}

function textsOf({ name, target, labels, remote }: SnapshotState): readonly string[] {
  const label = labels.get(TARGET_LABEL);
  return [name, target, label, remote?.ref].filter((text) => text !== null && text !== undefined);
}
