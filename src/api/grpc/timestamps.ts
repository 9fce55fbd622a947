/** Converts between times of the log and protobuf timestamps. */
import { unixNanos, type UnixNanos } from '../../base/units.js';
import type { Timestamp } from '../generated/google/protobuf/timestamp.js';

const nanosPerSecond = 1_000_000_000n;

/** The nanoseconds of a Timestamp are never negative, even before 1970. */
export function toTimestamp(time: UnixNanos): Timestamp {
  const nanos = ((time % nanosPerSecond) + nanosPerSecond) % nanosPerSecond;
  return { seconds: (time - nanos) / nanosPerSecond, nanos: Number(nanos) };
}

export function fromTimestamp({ seconds, nanos }: Timestamp): UnixNanos {
  return unixNanos(seconds * nanosPerSecond + BigInt(nanos));
}
