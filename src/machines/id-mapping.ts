/**
 * The user namespace a snapshot is prepared for, from its mapping labels:
 * `<container id>:<host id>:<size>`, comma-separated (containerd, internal/userns/idmap.go).
 */
import type { FileOwner } from '../base/ports.js';
import { ok, refuse, type Result } from '../base/result.js';
import type { Labels, SnapshotName } from '../base/units.js';
import { GID_MAPPING_LABEL, UID_MAPPING_LABEL } from './labels.js';
import { refusals, type Refusal } from './refusals.js';

/**
 * The maps of a user namespace in one canonical form: ranges by rising container id, joined where
 * they continue each other. Equal texts are equal maps.
 */
export interface IdMaps {
  readonly uids: string;
  readonly gids: string;
}

/** How the maps that were requested come to be seen in the snapshot's files. */
export interface IdMapping extends IdMaps {
  /**
   * `client`: the layers below were chowned by the client, so their mounts are plain.
   * `snapshotter`: the layers below are mounted with mapped ids.
   */
  readonly appliedBy: 'client' | 'snapshotter';
}

/** Largest id: 2^32 - 1 is the kernel's "no id". */
const ID_MAX = 2 ** 32 - 2;
/** A map that was not requested maps each id to itself. */
const IDENTITY = `0:0:${ID_MAX + 1}`;
/** The most that the kernel takes for one map (user_namespaces(7)). */
const RANGES_MAX = 340;

/** Keys under which containerd unpacks layers: `extract-<nanoseconds>-<random> <chain id>`. */
const UNPACK_KEY = /(^|\/)extract-\d+-\S+ /;

/**
 * Whether mapping labels on this key may have effects. On a key made for unpacking they come
 * from the image's annotations, and an image has no say in who owns files (containerd #13855).
 */
function mapsAreTrusted(key: SnapshotName): boolean {
  return !UNPACK_KEY.test(key);
}

/** The maps in the labels; null when they request no change of ids. */
export function requestedMaps(key: SnapshotName, labels: Labels): Result<IdMaps | null, Refusal> {
  return mapsAreTrusted(key) ? checkMappings(labels) : ok(null);
}

/** Null without mapping labels and for maps to the same ids; a missing one of the two maps 1:1. */
export function checkMappings(labels: Labels): Result<IdMaps | null, Refusal> {
  const uidLabel = labels.get(UID_MAPPING_LABEL) ?? '';
  const gidLabel = labels.get(GID_MAPPING_LABEL) ?? '';
  if (uidLabel === '' && gidLabel === '') return ok(null);
  const uids = canonicalMap(UID_MAPPING_LABEL, uidLabel);
  if (!uids.ok) return uids;
  const gids = canonicalMap(GID_MAPPING_LABEL, gidLabel);
  if (!gids.ok) return gids;
  const maps = { uids: uids.value, gids: gids.value };
  return ok(rangesOf(maps.uids).concat(rangesOf(maps.gids)).every(isIdentity) ? null : maps);
}

/** The owner on the host of what the container's root owns. */
export function rootOf({ uids, gids }: IdMaps): FileOwner {
  return { uid: hostIdOf(uids, 0), gid: hostIdOf(gids, 0) };
}

export function isSameMaps(one: IdMaps, other: IdMaps): boolean {
  return one.uids === other.uids && one.gids === other.gids;
}

/** Whether the layers below a snapshot are, or are about to be, mounted with mapped ids. */
export function hasIdmappedLayers<State extends { readonly idMapping: IdMapping | null }>(
  state: State,
): state is State & { readonly idMapping: IdMapping } {
  return state.idMapping?.appliedBy === 'snapshotter';
}

/** How containerd names the copy of an image that it chowns: after the key it prepares it under. */
const COPY_SUFFIX = '-remap';

/**
 * Whether a commit makes the chowned copy of an image by which containerd serves user namespaces
 * without the capability "remap-ids": prepared as `<name>-remap`, all its files chowned, committed
 * as `<name>` (containerd, client/snapshotter_opts_unix.go; container_opts_unix.go before 1.7).
 */
export function makesChownedCopy(key: SnapshotName, name: SnapshotName): boolean {
  return unprefixed(key) === `${unprefixed(name)}${COPY_SUFFIX}`;
}

/** Without the `<namespace>/<sequence>/` that containerd's metadata store puts before a name. */
function unprefixed(name: SnapshotName): string {
  return name.replace(/^[^/]+\/\d+\//, '');
}

interface Range {
  readonly container: number;
  readonly host: number;
  readonly size: number;
}

function canonicalMap(label: string, mapping: string): Result<string, Refusal> {
  if (mapping === '') return ok(IDENTITY);
  const ranges: Range[] = [];
  for (const text of mapping.split(',')) {
    const range = rangeIn(text);
    if (range === null) {
      const shown = JSON.stringify(mapping.slice(0, 64));
      return refuse(refusals.invalidMapping(label, `${shown} is not <container>:<host>:<size>`));
    }
    if (range.container + range.size - 1 > ID_MAX || range.host + range.size - 1 > ID_MAX) {
      return refuse(refusals.invalidMapping(label, `ids reach beyond ${ID_MAX}`));
    }
    ranges.push(range);
  }
  if (overlap(ranges, 'container') || overlap(ranges, 'host')) {
    return refuse(refusals.invalidMapping(label, 'its ranges overlap'));
  }
  const joined = joinedRanges(ranges);
  if (joined[0]?.container !== 0) {
    return refuse(refusals.invalidMapping(label, 'id 0 of the container is not mapped'));
  }
  if (joined.length > RANGES_MAX) {
    return refuse(refusals.invalidMapping(label, `it has more than ${RANGES_MAX} ranges`));
  }
  return ok(joined.map(({ container, host, size }) => `${container}:${host}:${size}`).join(','));
}

function rangeIn(text: string): Range | null {
  const match = /^(\d{1,10}):(\d{1,10}):(\d{1,10})$/.exec(text);
  const [container, host, size] = (match ?? []).slice(1).map(Number);
  if (container === undefined || host === undefined || size === undefined) return null;
  return size === 0 ? null : { container, host, size };
}

/** The ranges of a canonical map. */
function rangesOf(map: string): readonly Range[] {
  return map.split(',').flatMap((text) => rangeIn(text) ?? []);
}

function joinedRanges(ranges: readonly Range[]): readonly Range[] {
  const joined: Range[] = [];
  for (const range of ranges.toSorted((one, other) => one.container - other.container)) {
    const last = joined.at(-1);
    const continues =
      last !== undefined &&
      last.container + last.size === range.container &&
      last.host + last.size === range.host;
    if (continues) joined[joined.length - 1] = { ...last, size: last.size + range.size };
    else joined.push(range);
  }
  return joined;
}

function hostIdOf(map: string, id: number): number {
  const range = rangesOf(map).find(
    ({ container, size }) => id >= container && id < container + size,
  );
  // Canonical maps map id 0, and no other is looked up.
  return range === undefined ? id : range.host + id - range.container;
}

function isIdentity({ container, host }: Range): boolean {
  return container === host;
}

/** Whether an id is mapped twice on one side, which the kernel refuses too (user_namespaces(7)). */
function overlap(ranges: readonly Range[], side: 'container' | 'host'): boolean {
  const sorted = ranges.toSorted((one, other) => one[side] - other[side]);
  return sorted.some((range, index) => {
    const next = sorted[index + 1];
    return next !== undefined && range[side] + range.size > next[side];
  });
}
