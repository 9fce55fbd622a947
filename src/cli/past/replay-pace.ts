/** How long a frame is shown before the next event. Pure. */
import type { UnixNanos } from '../../base/units.js';

/** `real`: with the recorded delays. `steady`: with a fixed delay. */
export const PACES = ['real', 'steady'] as const;
export type Pace = (typeof PACES)[number];

/** Limits the delay at the real pace. The steady pace has no limit. */
export const WAIT_MAX_MILLIS = 3000;
/** The delay between two events at the steady pace and speed 1. */
export const STEADY_MILLIS = 500;

const NANOS_PER_MILLI = 1_000_000;

export interface Wait {
  readonly millis: number;
  /** The recorded delay if it was shortened to the limit; else null. */
  readonly shortened: bigint | null;
}

export interface Gap {
  readonly pace: Pace;
  readonly speed: number;
  /** The time of the current event; null after a jump. */
  readonly from: UnixNanos | null;
  /** The time of the next event; null at the end. */
  readonly to: UnixNanos | null;
}

export function waitFor({ pace, speed, from, to }: Gap): Wait {
  if (pace === 'steady') return { millis: STEADY_MILLIS / speed, shortened: null };
  // Long enough to see the first frame.
  if (from === null || to === null) return { millis: STEADY_MILLIS, shortened: null };
  const gap = to - from;
  const millis = Number(gap) / NANOS_PER_MILLI / speed;
  if (millis > WAIT_MAX_MILLIS) return { millis: WAIT_MAX_MILLIS, shortened: gap };
  // The delay is negative if the clock was set back.
  return { millis: Math.max(millis, 0), shortened: null };
}
