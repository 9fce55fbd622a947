/** Between our types and the messages of containerd.services.snapshots.v1. */
import type { UnixNanos } from '../base/units.js';
import type { SnapshotInfo } from '../machines/info.js';
import type { MountSpec } from '../snapshotter/mounts.js';
import { Kind, type Info } from './generated/containerd/services/snapshots/v1/snapshots.js';
import type { Mount } from './generated/containerd/types/mount.js';
import type { Timestamp } from './generated/google/protobuf/timestamp.js';

/** Never UNKNOWN: a client takes everything but ACTIVE and VIEW for committed. */
const KINDS: Readonly<Record<SnapshotInfo['kind'], Kind>> = {
  active: Kind.ACTIVE,
  view: Kind.VIEW,
  committed: Kind.COMMITTED,
};

/** Both times are always sent: an absent one reads as 1970 in the client. */
export function toInfo(info: SnapshotInfo): Info {
  return {
    name: info.name,
    parent: info.parent,
    kind: KINDS[info.kind],
    createdAt: toTimestamp(info.createdAt),
    updatedAt: toTimestamp(info.updatedAt),
    labels: new Map(info.labels),
  };
}

export function toMounts(mounts: readonly MountSpec[]): Mount[] {
  return mounts.map(({ type, source, options }) => ({
    type,
    source,
    target: '',
    options: [...options],
  }));
}

function toTimestamp(time: UnixNanos): Timestamp {
  const nanosPerSecond = 1_000_000_000n;
  return { seconds: time / nanosPerSecond, nanos: Number(time % nanosPerSecond) };
}

/** An upper bound of the bytes an Info takes in a message; text is at most 3 bytes a unit. */
export function infoBytesMax(info: SnapshotInfo): number {
  let units = info.name.length + info.parent.length;
  for (const [key, value] of info.labels) units += key.length + value.length + 8;
  return 64 + units * 3;
}
