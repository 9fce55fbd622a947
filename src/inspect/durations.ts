/** Spans of time as people say them. */

const NANOS_PER_MILLI = 1_000_000;
const MILLIS_PER_SECOND = 1000;
const SECONDS_PER_MINUTE = 60;
const MINUTES_PER_HOUR = 60;
const HOURS_PER_DAY = 24;

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
  return wholes(Math.round(seconds));
}

function trimmed(value: number): string {
  return value.toFixed(1).replace(/\.0$/, '');
}

function wholes(seconds: number): string {
  if (seconds < SECONDS_PER_MINUTE) return `${seconds} s`;
  const minutes = Math.floor(seconds / SECONDS_PER_MINUTE);
  if (minutes < MINUTES_PER_HOUR) {
    return pair(`${minutes} min`, seconds % SECONDS_PER_MINUTE, 's');
  }
  const hours = Math.floor(minutes / MINUTES_PER_HOUR);
  if (hours < HOURS_PER_DAY) return pair(`${hours} h`, minutes % MINUTES_PER_HOUR, 'min');
  return pair(`${Math.floor(hours / HOURS_PER_DAY)} d`, hours % HOURS_PER_DAY, 'h');
}

const pair = (large: string, rest: number, unit: string): string =>
  rest === 0 ? large : `${large} ${rest} ${unit}`;
