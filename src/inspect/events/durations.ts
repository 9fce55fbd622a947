/** Formats durations. */

const NANOS_PER_MILLI = 1_000_000;
const MILLIS_PER_SECOND = 1000;

/** The largest first, in seconds. */
const units = [
  ['d', 86_400],
  ['h', 3_600],
  ['min', 60],
  ['s', 1],
] as const;

/**
 * Two significant digits or units: `0.4 ms`, `12 ms`, `3.4 s`, `2 min 5 s`, `3 h 20 min`, `4 d 2 h`.
 * A negative duration means that the clock was set back, so the duration is unknown.
 */
export function durationInWords(nanos: bigint): string {
  if (nanos < 0n) return 'an unknown time (the clock was set back)';
  const millis = Number(nanos) / NANOS_PER_MILLI;
  if (millis < 9.95) return `${trimmed(millis)} ms`;
  if (millis < MILLIS_PER_SECOND - 0.5) return `${Math.round(millis)} ms`;
  const seconds = millis / MILLIS_PER_SECOND;
  if (seconds < 9.95) return `${trimmed(seconds)} s`;
  return wholes(Math.round(seconds), 2);
}

/** Time since another moment: `+3.4 s`; `set back 3.4 s` if the clock was set back by at least that. */
export function sinceInWords(nanos: bigint): string {
  return nanos < 0n ? `set back ${durationInWords(-nanos)}` : `+${durationInWords(nanos)}`;
}

/** For JSON: null if the clock was set back, so that the duration is unknown. */
export function durationMillis(nanos: bigint): number | null {
  return nanos < 0n ? null : Number(nanos) / NANOS_PER_MILLI;
}

/** Maximum difference between two clocks of one machine. */
const SLACK_NANOS = 1_000_000_000n;

/**
 * An age in its largest unit, rounded down: `3 min` for 200 seconds. `unknown` for a start in the
 * future.
 */
export function spanInWords(nanos: bigint): string {
  if (nanos < -SLACK_NANOS) return 'unknown';
  const seconds = Number(nanos / BigInt(NANOS_PER_MILLI * MILLIS_PER_SECOND));
  return wholes(Math.max(seconds, 0), 1);
}

function trimmed(value: number): string {
  return value.toFixed(1).replace(/\.0$/, '');
}

/** In at most `count` units, from the largest that fits; omits zero units. */
function wholes(seconds: number, count: number): string {
  const largest = units.findIndex(([, size]) => seconds >= size);
  if (largest < 0) return '0 s';
  const parts: string[] = [];
  let rest = seconds;
  for (const [unit, size] of units.slice(largest, largest + count)) {
    const whole = Math.floor(rest / size);
    if (whole > 0) parts.push(`${whole} ${unit}`);
    rest -= whole * size;
  }
  return parts.join(' ');
}
