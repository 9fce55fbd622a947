/** Between the times of the log and those of protobuf messages. */
import { unixNanos, type UnixNanos } from '../../base/units.js';
import type { Timestamp } from '../generated/google/protobuf/timestamp.js';

const nanosPerSecond = 1_000_000_000n;

/** Nanoseconds of a Timestamp count forwards, before 1970 too. */
export function toTimestamp(time: UnixNanos): Timestamp {
  const nanos = ((time % nanosPerSecond) + nanosPerSecond) % nanosPerSecond;
  return { seconds: (time - nanos) / nanosPerSecond, nanos: Number(nanos) };
}

export function fromTimestamp({ seconds, nanos }: Timestamp): UnixNanos {
  return unixNanos(seconds * nanosPerSecond + BigInt(nanos));
}
