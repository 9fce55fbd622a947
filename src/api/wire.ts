/** Between our types and the messages of containerd.services.snapshots.v1. */
import { unixNanos, type UnixNanos } from '../base/units.js';
import type { SnapshotInfo } from '../machines/info.js';
import { PackedInfo } from '../machines/packed-info.js';
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

/** A message that is parsed when somebody looks; list-wire.ts sends it without. */
export class PackedWireInfo implements Info {
  readonly packed: PackedInfo;

  constructor(packed: PackedInfo) {
    this.packed = packed;
  }

  get name(): string {
    return this.packed.name;
  }

  get parent(): string {
    return this.packed.parent;
  }

  get kind(): Kind {
    return KINDS[this.packed.kind];
  }

  get createdAt(): Timestamp {
    return toTimestamp(this.packed.createdAt);
  }

  get updatedAt(): Timestamp {
    return toTimestamp(this.packed.updatedAt);
  }

  get labels(): Map<string, string> {
    return new Map(this.packed.labels);
  }
}

/** Both times are always sent: an absent one reads as 1970 in the client. */
export function toInfo(info: SnapshotInfo): Info {
  if (info instanceof PackedInfo) return new PackedWireInfo(info);
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

const nanosPerSecond = 1_000_000_000n;

/** Nanoseconds of a Timestamp count forwards, before 1970 too. */
export function toTimestamp(time: UnixNanos): Timestamp {
  const nanos = ((time % nanosPerSecond) + nanosPerSecond) % nanosPerSecond;
  return { seconds: (time - nanos) / nanosPerSecond, nanos: Number(nanos) };
}

export function fromTimestamp({ seconds, nanos }: Timestamp): UnixNanos {
  return unixNanos(seconds * nanosPerSecond + BigInt(nanos));
}

/** The same for a packed line: it holds all texts, and six bytes around a label become nine at most. */
export const lineBytesMax = (line: Buffer): number => Math.ceil(line.length * 1.5) + 64;

/** An upper bound of the bytes an Info takes in a message; text is at most 3 bytes a unit. */
export function infoBytesMax(info: SnapshotInfo): number {
  if (info instanceof PackedInfo) return lineBytesMax(info.line);
  let units = info.name.length + info.parent.length;
  for (const [key, value] of info.labels) units += key.length + value.length + 8;
  return 64 + units * 3;
}
