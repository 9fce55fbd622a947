/**
 * The user namespace a snapshot is prepared for, from its mapping labels:
 * `<container id>:<host id>:<size>`, comma-separated (containerd, internal/userns/idmap.go).
 */
import { ok, refuse, type Result } from '../base/result.js';
import type { Labels, SnapshotName } from '../base/units.js';
import { GID_MAPPING_LABEL, UID_MAPPING_LABEL } from './labels.js';
import { refusals, type Refusal } from './refusals.js';

/** The host's ids of the container's root. */
export interface MappedRoot {
  readonly uid: number;
  readonly gid: number;
}

/** Largest id: 2^32 - 1 is the kernel's "no id". */
const ID_MAX = 2 ** 32 - 2;

/** Keys under which containerd unpacks layers: `extract-<nanoseconds>-<random> <chain id>`. */
const UNPACK_KEY = /(^|\/)extract-\d+-\S+ /;

/**
 * Whether mapping labels on this key may have effects. On a key made for unpacking they come
 * from the image's annotations, and an image has no say in who owns files (containerd #13855).
 */
export function mapsAreTrusted(key: SnapshotName): boolean {
  return !UNPACK_KEY.test(key);
}

/** Null without mapping labels; a missing one of the two maps 1:1. */
export function checkMappings(labels: Labels): Result<MappedRoot | null, Refusal> {
  const uidMapping = labels.get(UID_MAPPING_LABEL) ?? '';
  const gidMapping = labels.get(GID_MAPPING_LABEL) ?? '';
  if (uidMapping === '' && gidMapping === '') return ok(null);
  const uid = hostIdOfRoot(UID_MAPPING_LABEL, uidMapping);
  if (!uid.ok) return uid;
  const gid = hostIdOfRoot(GID_MAPPING_LABEL, gidMapping);
  if (!gid.ok) return gid;
  return ok({ uid: uid.value, gid: gid.value });
}

function hostIdOfRoot(label: string, mapping: string): Result<number, Refusal> {
  if (mapping === '') return ok(0);
  let root: number | null = null;
  const ranges: Range[] = [];
  for (const range of mapping.split(',')) {
    const match = /^(\d{1,10}):(\d{1,10}):(\d{1,10})$/.exec(range);
    const [container, host, size] = (match ?? []).slice(1).map(Number);
    if (container === undefined || host === undefined || size === undefined || size === 0) {
      return refuse(
        refusals.invalidMapping(
          label,
          `${JSON.stringify(mapping.slice(0, 64))} is not <container>:<host>:<size>`,
        ),
      );
    }
    if (container + size - 1 > ID_MAX || host + size - 1 > ID_MAX) {
      return refuse(refusals.invalidMapping(label, `ids reach beyond ${ID_MAX}`));
    }
    if (container === 0) root ??= host;
    ranges.push({ container, host, size });
  }
  if (overlap(ranges, 'container') || overlap(ranges, 'host')) {
    return refuse(refusals.invalidMapping(label, 'its ranges overlap'));
  }
  return root === null
    ? refuse(refusals.invalidMapping(label, 'id 0 of the container is not mapped'))
    : ok(root);
}

interface Range {
  readonly container: number;
  readonly host: number;
  readonly size: number;
}

/** Whether an id is mapped twice on one side, which the kernel refuses too (user_namespaces(7)). */
function overlap(ranges: readonly Range[], side: 'container' | 'host'): boolean {
  const sorted = ranges.toSorted((one, other) => one[side] - other[side]);
  return sorted.some((range, index) => {
    const next = sorted[index + 1];
    return next !== undefined && range[side] + range.size > next[side];
  });
}
