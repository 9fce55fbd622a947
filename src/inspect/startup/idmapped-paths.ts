/**
 * Paths of mounts with mapped ids. `<root>/idmapped/<maps>/` has a clone of `snapshots/`, and one
 * clone per layer that is itself a mount. The lowers of a container share a parent directory and
 * have short names, so 128 of them fit in the one page of mount options (containerd,
 * core/mount/mount_linux.go, compactLowerdirOption).
 */
import { createHash } from 'node:crypto';
import { assertNever } from '../../base/assert.js';
import type { IdmappedClone } from '../../base/ports.js';
import { idmappedDirectory, snapshotsDirectory } from '../../log/files.js';
import type { SnapshotState } from '../../machines/fold.js';
import type { Forest } from '../../machines/snapshots/forest.js';
import { hasIdmappedLayers, type IdMaps, type IdMapping } from '../../machines/id-mapping.js';
import { lowerSource } from '../../machines/idmapped-layers.js';

/** Name of the clone of `snapshots/`. */
const DIRECTORIES = 'snapshots';

/** Hexadecimal digits in the directory name of a pair of maps. */
const NAME_LENGTH = 16;

/** The directory of a pair of maps; equal maps have the same directory. */
export function mapsDirectory(root: string, { uids, gids }: IdMaps): string {
  const hash = createHash('sha256').update(`${uids} ${gids}`).digest('hex');
  return `${idmappedDirectory(root)}/${hash.slice(0, NAME_LENGTH)}`;
}

/** Where a layer below a snapshot is mounted with mapped ids; null if it is used directly. */
export function idmappedPath(
  root: string,
  layer: SnapshotState,
  mapping: IdMapping | null,
): string | null {
  const source = lowerSource(layer, mapping);
  if (source === 'plain' || mapping === null) return null;
  const directory = mapsDirectory(root, mapping);
  switch (source) {
    case 'directory':
      return `${directory}/${DIRECTORIES}/${layer.id}/fs`;
    case 'mount':
      return `${directory}/${layer.id}`;
    default:
      return assertNever(source);
  }
}

/** The clones that show these layers with mapped ids. */
export function clonesOf(
  root: string,
  layers: readonly SnapshotState[],
  mapping: IdMapping | null,
): readonly IdmappedClone[] {
  if (mapping === null) return [];
  const directory = mapsDirectory(root, mapping);
  const snapshots = snapshotsDirectory(root);
  const mounts = layers.filter((layer) => lowerSource(layer, mapping) === 'mount');
  const clones = mounts.map(({ id }): IdmappedClone => ({
    source: `${snapshots}/${id}/fs`,
    mountpoint: `${directory}/${id}`,
    isMount: true,
  }));
  if (layers.some((layer) => lowerSource(layer, mapping) === 'directory')) {
    const mountpoint = `${directory}/${DIRECTORIES}`;
    clones.push({ source: snapshots, mountpoint, isMount: false });
  }
  return clones;
}

/** The clones that a snapshot needs while it exists. */
export function clonesBelow(
  root: string,
  forest: Forest,
  state: SnapshotState,
): readonly IdmappedClone[] {
  if (!hasIdmappedLayers(state)) return [];
  return clonesOf(root, forest.ancestorsOf(state), state.idMapping);
}
