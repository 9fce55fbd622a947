/** Converts between our types and the messages of containerd.services.snapshots.v1. */
import type { SnapshotInfo } from '../../machines/snapshots/info.js';
import { PackedInfo } from '../../machines/snapshots/packed-info.js';
import type { MountSpec } from '../../snapshotter/mounts.js';
import { Kind, type Info } from '../generated/containerd/services/snapshots/v1/snapshots.js';
import type { Mount } from '../generated/containerd/types/mount.js';
import type { Timestamp } from '../generated/google/protobuf/timestamp.js';
import { lineBytesMax, type PackedLine } from './list-wire.js';
import { toTimestamp } from '../grpc/timestamps.js';

/** Never UNKNOWN: clients treat every kind except ACTIVE and VIEW as committed. */
const KINDS: Readonly<Record<SnapshotInfo['kind'], Kind>> = {
  active: Kind.ACTIVE,
  view: Kind.VIEW,
  committed: Kind.COMMITTED,
};

/** An Info that is parsed on access; list-wire.ts sends it without parsing. */
export class PackedWireInfo implements Info, PackedLine {
  readonly packed: PackedInfo;

  constructor(packed: PackedInfo) {
    this.packed = packed;
  }

  get packedLine(): Buffer {
    return this.packed.line;
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

/** Always sets both times: a client reads an absent one as 1970. */
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

/** An upper bound of the encoded size. A UTF-16 code unit takes at most 3 bytes in UTF-8. */
export function infoBytesMax(info: SnapshotInfo): number {
  if (info instanceof PackedInfo) return lineBytesMax(info.line);
  let units = info.name.length + info.parent.length;
  for (const [key, value] of info.labels) units += key.length + value.length + 8;
  return 64 + units * 3;
}
