/** How long a picture of the past stays before the next event comes. Pure. */
import type { UnixNanos } from '../../base/units.js';

/** `real`: time passes as it passed. `steady`: so many events a second, whenever they were. */
export const PACES = ['real', 'steady'] as const;
export type Pace = (typeof PACES)[number];

/**
 * At the pace of the past nobody waits longer for an event, however long nothing happened. A
 * steady pace is as slow as it is asked to be.
 */
export const WAIT_MAX_MILLIS = 3000;
/** Between two events at a steady pace, at single speed. */
export const STEADY_MILLIS = 500;

const NANOS_PER_MILLI = 1_000_000;

export interface Wait {
  readonly millis: number;
  /** How long it was, where that is shown in less than its share of time; null where not. */
  readonly shortened: bigint | null;
}

export interface Gap {
  readonly pace: Pace;
  readonly speed: number;
  /** Of the event that is shown; null after a jump. */
  readonly from: UnixNanos | null;
  /** Of the next one; null when there is none. */
  readonly to: UnixNanos | null;
}

export function waitFor({ pace, speed, from, to }: Gap): Wait {
  if (pace === 'steady') return { millis: STEADY_MILLIS / speed, shortened: null };
  // Long enough to see where it begins.
  if (from === null || to === null) return { millis: STEADY_MILLIS, shortened: null };
  const gap = to - from;
  const millis = Number(gap) / NANOS_PER_MILLI / speed;
  if (millis > WAIT_MAX_MILLIS) return { millis: WAIT_MAX_MILLIS, shortened: gap };
  // A clock that was set back did not make anybody wait then either.
  return { millis: Math.max(millis, 0), shortened: null };
}
