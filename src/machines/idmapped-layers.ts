/**
 * Which layers are shown with mapped ids below a snapshot that was prepared for a user namespace,
 * and who has to map them.
 */
import { ok, refuse, type Result } from '../base/result.js';
import type { ParentLink } from './events/events.js';
import type { SnapshotState } from './fold.js';
import type { Forest } from './snapshots/forest.js';
import { isSameMaps, rootOf, type IdMapping, type IdMaps } from './id-mapping.js';
import { refusals, type Refusal } from './refusals.js';

/**
 * Who maps the ids of a snapshot on this parent, decided when it is prepared and kept in the log:
 * labels and the parent's owner may change later. containerd sends the labels also when it has
 * chowned a copy of the image, whose ids must not be shifted a second time.
 *
 * @param whyNot why this host cannot mount layers with mapped ids; null when it can
 */
export function decideIdMapping(
  forest: Forest,
  parent: ParentLink | null,
  maps: IdMaps,
  whyNot: string | null,
): Result<IdMapping, Refusal> {
  const mapping = { ...maps, appliedBy: 'snapshotter' } as const;
  const layer = parent === null ? undefined : forest.get(parent.id);
  if (layer === undefined) return ok(mapping);
  if (isShiftedFor(layer, maps)) return ok({ ...maps, appliedBy: 'client' });
  const layers = [layer, ...forest.ancestorsOf(layer)];
  const other = layers.find((each) => each.idMapping && !isSameMaps(each.idMapping, maps));
  if (other !== undefined) return refuse(refusals.mappedOtherwise(other.name, other.id));
  if (whyNot !== null && needsIdmappedMounts(layers, mapping)) {
    return refuse(refusals.cannotMapIds(whyNot));
  }
  return ok(mapping);
}

/** Whether any of the layers below must be mounted with mapped ids. */
export function needsIdmappedMounts(
  layers: readonly SnapshotState[],
  mapping: IdMapping | null,
): boolean {
  return layers.some((layer) => lowerSource(layer, mapping) !== 'plain');
}

/** Whether all that a layer and those below it show has the host's ids already. */
function isShiftedFor({ idMapping, owner, isChownedCopy }: SnapshotState, maps: IdMaps): boolean {
  if (idMapping !== null) return idMapping.appliedBy === 'client' && isSameMaps(idMapping, maps);
  if (isChownedCopy) return true;
  const root = rootOf(maps);
  const isMapped = owner !== null && owner.uid === root.uid && owner.gid === root.gid;
  // Before any mapping, a layer's root belongs to 0:0 as well.
  return isMapped && (root.uid !== 0 || root.gid !== 0);
}

/** What shows a layer below a snapshot whose ids are mapped. */
export type LowerSource =
  /** The layer's own directory: the ids in it are the host's already. */
  | 'plain'
  /** Its directory in a mapped clone of the directory of all snapshots. */
  | 'directory'
  /** A mapped clone of the layer's mount. */
  | 'mount';

export function lowerSource(layer: SnapshotState, mapping: IdMapping | null): LowerSource {
  if (mapping?.appliedBy !== 'snapshotter') return 'plain';
  // Written through the same maps: its files have the host's ids.
  if (layer.idMapping !== null) return 'plain';
  return layer.remote === null ? 'directory' : 'mount';
}
