/** Chooses among the snapshots that a name matches, as seen at one position. Pure. */
import type { SnapshotId } from '../../base/units.js';
import { metaOf } from '../../machines/transition-table.js';
import type { SnapshotState } from '../../machines/fold.js';
import type { Forest } from '../../machines/snapshots/forest.js';
import { TARGET_LABEL } from '../../machines/labels.js';
import { bareName, bestFit, fitOf, type Fit } from '../events/event-names.js';

export type Choice =
  | { readonly kind: 'one'; readonly id: SnapshotId }
  /** Ambiguous: all match equally well. */
  | { readonly kind: 'several'; readonly ids: readonly SnapshotId[] }
  | { readonly kind: 'none' };

export interface Candidate {
  readonly id: SnapshotId;
  /** Keys, names and chain IDs from its retained events. */
  readonly names: readonly string[];
}

/**
 * Prefers snapshots that have the name at the position over those that had it earlier: first an
 * exact name, then any match of a snapshot that holds its name, then of one that is being removed.
 * Among prefix matches, prefers the name that is a prefix of all others: a container over its
 * `-init` layer.
 */
export function chosenFrom(
  candidates: readonly Candidate[],
  text: string,
  forest: Pick<Forest, 'get'> | null,
): Choice {
  const fit = fitOf(text);
  const near = nearest(candidates, ({ id }) => distance(forest?.get(id), text, fit));
  const all = near.map(({ id, names }) => {
    const state = forest?.get(id);
    const known = state === undefined ? names : [...names, ...textsOf(state)];
    return { id, names: known.filter((name) => fit(name) !== null).map(bareName) };
  });
  const [one] = all;
  if (one === undefined) return { kind: 'none' };
  if (all.length === 1) return { kind: 'one', id: one.id };
  const shortest = all.find((each) =>
    all.every((other) => each === other || isLonger(other.names, each.names)),
  );
  if (shortest !== undefined) return { kind: 'one', id: shortest.id };
  return { kind: 'several', ids: all.map(({ id }) => id) };
}

/** Whether all its matching names begin with one of the chosen names: a container's `-init` layer. */
export function isNamedAfter(other: Candidate, chosen: Candidate, text: string): boolean {
  const fit = fitOf(text);
  const namesOf = ({ names }: Candidate) =>
    names.filter((name) => fit(name) !== null).map(bareName);
  return isLonger(namesOf(other), namesOf(chosen));
}

const isLonger = (names: readonly string[], than: readonly string[]): boolean =>
  names.length > 0 &&
  than.some((name) =>
    names.every((longer) => longer.length > name.length && longer.startsWith(name)),
  );

function nearest<One>(all: readonly One[], distanceOf: (one: One) => number): readonly One[] {
  const distances = all.map(distanceOf);
  // Not `Math.min(...distances)`: there may be more matches than a call can have arguments.
  const least = distances.reduce((one, other) => Math.min(one, other), Infinity);
  return all.filter((_, index) => distances[index] === least);
}

function distance(
  state: SnapshotState | undefined,
  text: string,
  fit: (name: string) => Fit | null,
): number {
  if (state === undefined || bestFit(textsOf(state), fit) === null) return 3;
  if (!metaOf(state.status).holdsName) return 2;
  return state.name === text ? 0 : 1;
}

/**
 * The snapshots of a forest that match, in ascending order of id: by a whole name, or by a prefix
 * if no whole name matches. Finds snapshots whose events are retired too.
 */
export function candidatesIn(forest: Pick<Forest, 'values'>, text: string): readonly Candidate[] {
  const fit = fitOf(text);
  const found: { readonly whole: Candidate[]; readonly prefix: Candidate[] } = {
    whole: [],
    prefix: [],
  };
  for (const state of forest.values()) {
    const names = textsOf(state);
    const fits = bestFit(names, fit);
    if (fits !== null) found[fits].push({ id: state.id, names });
  }
  const matches = found.whole.length > 0 ? found.whole : found.prefix;
  return matches.sort((one, other) => one.id - other.id);
}

function textsOf({ name, question, labels, remote }: SnapshotState): readonly string[] {
  const texts = [name, question?.ref, labels.get(TARGET_LABEL), remote?.ref];
  return texts.filter((text) => text !== undefined);
}
