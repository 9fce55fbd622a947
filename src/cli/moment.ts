/** Moments and numbers as they are written on a command line. */
import { parseDuration } from '../api/config-values.js';
import { UsageError } from '../base/errors.js';
import { position, unixNanos, type Position, type UnixNanos } from '../base/units.js';
import type { Archive } from '../inspect/archive.js';

/** @throws UsageError */
export function wholeNumber(flag: string, text: string | undefined): number | null {
  if (text === undefined) return null;
  const value = Number(text);
  if (/^\d{1,16}$/.test(text) && Number.isSafeInteger(value)) return value;
  throw new UsageError(`${flag} ${quoted(text)}: not a whole number; say for example ${flag} 120`);
}

const timeForms = '2026-01-31T23:59:59Z, or as so long ago: 90s, 10m, 1h30m, 3d';

/**
 * RFC 3339 with up to nine digits of a second, or so long ago: `90s`, `1h30m`, `3d`.
 *
 * @throws UsageError
 */
export function timeOf(flag: string, text: string, now: UnixNanos): UnixNanos {
  const ago = parseDuration(text);
  if (ago !== null) return unixNanos(now - BigInt(ago) * 1_000_000n);
  const form = /^(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)$/.exec(
    text,
  );
  const [, date = '', time = '', fraction = '', zone = ''] = form ?? [];
  const millis = form ? Date.parse(`${date}T${time}${zone.toUpperCase()}`) : NaN;
  if (Number.isNaN(millis)) {
    throw new UsageError(`${flag} ${quoted(text)}: not a time; say it as ${timeForms}`);
  }
  return unixNanos(BigInt(millis) * 1_000_000n + BigInt(fraction.padEnd(9, '0')));
}

/**
 * A moment in a log: a position, or a time, which means the position behind all that had happened
 * by then; the end of the log when none is given.
 *
 * @throws UsageError
 */
export async function momentOf(
  archive: Archive,
  flag: string,
  text: string | undefined,
  now: UnixNanos,
): Promise<Position> {
  if (text === undefined) return (await archive.bounds()).next;
  return positionOf(archive, parseMoment(flag, text, now));
}

/** A position, or a time that an archive turns into one. */
export type Moment = Position | UnixNanos;

/** @throws UsageError */
export function parseMoment(flag: string, text: string, now: UnixNanos): Moment {
  if (/^\d+$/.test(text)) return position(wholeNumber(flag, text) ?? 0);
  if (parseDuration(text) !== null || /^\d{4}-/.test(text)) return timeOf(flag, text, now);
  throw new UsageError(
    `${flag} ${quoted(text)}: neither a position nor a time; say it as 120, ${timeForms}`,
  );
}

export async function positionOf(archive: Archive, moment: Moment): Promise<Position> {
  return typeof moment === 'bigint' ? archive.positionAt(moment) : moment;
}

export const quoted = (text: string): string => JSON.stringify(text);
