/** Spans of time as people say them. */

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
 * Two digits or so: `0.4 ms`, `12 ms`, `3.4 s`, `2 min 5 s`, `3 h 20 min`, `4 d 2 h`. A span below
 * zero is one during which the clock was set back.
 */
export function durationInWords(nanos: bigint): string {
  if (nanos < 0n) return `-${durationInWords(-nanos)}`;
  const millis = Number(nanos) / NANOS_PER_MILLI;
  if (millis < 9.95) return `${trimmed(millis)} ms`;
  if (millis < MILLIS_PER_SECOND - 0.5) return `${Math.round(millis)} ms`;
  const seconds = millis / MILLIS_PER_SECOND;
  if (seconds < 9.95) return `${trimmed(seconds)} s`;
  return wholes(Math.round(seconds), 2);
}

/** How long after another moment: `+3.4 s`; `-3.4 s` when the clock was set back between them. */
export function sinceInWords(nanos: bigint): string {
  return `${nanos < 0n ? '' : '+'}${durationInWords(nanos)}`;
}

/** An age, in its largest unit: `3 min` for 200 seconds; rounded down, and never less than `0 s`. */
export function spanInWords(nanos: bigint): string {
  const seconds = Number(nanos / BigInt(NANOS_PER_MILLI * MILLIS_PER_SECOND));
  return wholes(Math.max(seconds, 0), 1);
}

function trimmed(value: number): string {
  return value.toFixed(1).replace(/\.0$/, '');
}

/** In so many units at most, the largest that fits and those below it; none that would be zero. */
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
