/**
 * Which clones with mapped ids a forest calls for; written a second time, from the rule alone: each
 * remote layer below a snapshot with mapped ids has one, and all ordinary layers have one together.
 */
import { createHash } from 'node:crypto';
import type { SnapshotName } from '../../src/base/units.js';
import { metaOf } from '../../src/machines/transition-table.js';
import type { SnapshotState } from '../../src/machines/fold.js';
import type { Forest } from '../../src/machines/snapshots/forest.js';

/** The directory of a snapshot's maps; null when its layers are shown as they are. */
export function mapsDirectoryOf(root: string, { idMapping }: SnapshotState): string | null {
  if (idMapping?.appliedBy !== 'snapshotter') return null;
  const text = `${idMapping.uids} ${idMapping.gids}`;
  const name = createHash('sha256').update(text).digest('hex').slice(0, 16);
  return `${root}/idmapped/${name}`;
}

/** What shows a layer below a snapshot, with mapped ids or as it is. */
export function lowerOf(root: string, state: SnapshotState, layer: SnapshotState): string {
  const directory = mapsDirectoryOf(root, state);
  const own = `snapshots/${layer.id}/fs`;
  if (directory === null || layer.idMapping !== null) return `${root}/${own}`;
  return layer.remote === null ? `${directory}/${own}` : `${directory}/${layer.id}`;
}

/** The clones below a snapshot. */
export function clonesUnder(
  root: string,
  forest: Forest,
  state: SnapshotState,
): ReadonlySet<string> {
  const directory = mapsDirectoryOf(root, state);
  const layers = directory === null ? [] : forest.ancestorsOf(state);
  const shown = layers.filter(({ idMapping }) => idMapping === null);
  return new Set(
    shown.map(({ id, remote }) => `${directory}/${remote === null ? 'snapshots' : id}`),
  );
}

/** Active snapshots and views whose layers are shown with mapped ids. */
export function mappedNames(forest: Forest): readonly SnapshotName[] {
  return [...forest.values()].flatMap(({ name, status, idMapping }) => {
    const { shownAs } = metaOf(status);
    const isMapped = idMapping?.appliedBy === 'snapshotter';
    return isMapped && (shownAs === 'active' || shownAs === 'view') ? [name] : [];
  });
}

/** The clones below all snapshots that are not being removed. */
export function neededClones(root: string, forest: Forest): ReadonlySet<string> {
  const needed = new Set<string>();
  for (const state of forest.values()) {
    if (state.idMapping === null || !metaOf(state.status).holdsName) continue;
    for (const clone of clonesUnder(root, forest, state)) needed.add(clone);
  }
  return needed;
}
