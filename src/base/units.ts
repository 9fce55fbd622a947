/**
 * Numbers and names that must not be mixed up, as branded types. A brand exists only for the
 * compiler; the value is a plain number, bigint or string.
 */
declare const brand: unique symbol;
type Branded<T, Name extends string> = T & { readonly [brand]: Name };

/** The place of a record in the whole log. Counts from 0, never re-used, exact up to 2^53. */
export type Position = Branded<number, 'Position'>;

/** The place of a record within its stream. Counts from 0. */
export type StreamVersion = Branded<number, 'StreamVersion'>;

/** Nanoseconds since 1970-01-01 UTC by the real-time clock. */
export type UnixNanos = Branded<bigint, 'UnixNanos'>;

/** A snapshot's number for life: names its directory and its stream. Never re-used. Counts from 1. */
export type SnapshotId = Branded<number, 'SnapshotId'>;

/**
 * What a client calls a snapshot: a key while it is active or a view, a name once committed.
 * Both live in one key space (containerd, core/snapshots/snapshotter.go).
 */
export type SnapshotName = Branded<string, 'SnapshotName'>;

export const position = (value: number): Position => value as Position;
export const streamVersion = (value: number): StreamVersion => value as StreamVersion;
export const unixNanos = (value: bigint): UnixNanos => value as UnixNanos;
export const snapshotId = (value: number): SnapshotId => value as SnapshotId;
export const snapshotName = (value: string): SnapshotName => value as SnapshotName;

/** The number that a text is. Null for `007`, which is not as we write it, and for what is not exact. */
export function parseSnapshotId(text: string): SnapshotId | null {
  const id = /^[1-9]\d{0,15}$/.test(text) ? Number(text) : NaN;
  return Number.isSafeInteger(id) ? snapshotId(id) : null;
}

/** Labels of a snapshot. A Map, because keys are chosen by strangers and may be `__proto__`. */
export type Labels = ReadonlyMap<string, string>;

/** Disk usage of one snapshot without its parents. */
export interface Usage {
  /** Sum of allocated blocks, in bytes. */
  readonly size: number;
  /** Distinct (device, inode) pairs. */
  readonly inodes: number;
}

/** RFC 3339 in UTC with nine digits, the form containerd's own logs use. */
export function formatTime(time: UnixNanos): string {
  const nanosPerSecond = 1_000_000_000n;
  let seconds = time / nanosPerSecond;
  let nanos = time % nanosPerSecond;
  if (nanos < 0n) {
    seconds -= 1n;
    nanos += nanosPerSecond;
  }
  const whole = new Date(Number(seconds) * 1000).toISOString().slice(0, 19);
  return `${whole}.${nanos.toString().padStart(9, '0')}Z`;
}
