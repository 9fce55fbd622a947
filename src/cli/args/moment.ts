/** Moments and numbers as they are written on a command line. */
import { parseDuration } from '../../daemon/config/config-values.js';
import { UsageError } from '../../base/errors.js';
import { position, unixNanos, type Position, type UnixNanos } from '../../base/units.js';
import { MomentUnknown, type Archive } from '../../inspect/archive/archive.js';
import { visibleJson } from '../terminal/print.js';

/** @throws UsageError */
export function wholeNumber(flag: string, text: string | undefined): number | null {
  if (text === undefined) return null;
  if (!/^\d+$/.test(text)) {
    throw new UsageError(
      `${flag} ${quoted(text)}: not a whole number; say for example ${flag} 120`,
    );
  }
  const value = Number(text);
  if (Number.isSafeInteger(value)) return value;
  throw new UsageError(
    `${flag} ${quoted(text)}: too great; a number is at most ${Number.MAX_SAFE_INTEGER}`,
  );
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
  const refused = (why: string): UsageError => new UsageError(`${flag} ${quoted(text)}: ${why}`);
  if (form === null) throw refused(`not a time; say it as ${timeForms}`);
  const [, date = '', time = '', fraction = '', zone = ''] = form;
  if (time.endsWith(':60')) {
    throw refused('no clock of a log counts leap seconds; say second 59, or the next minute');
  }
  const millis = Date.parse(`${date}T${time}${zone.toUpperCase()}`);
  if (!isInCalendar(date, time) || Number.isNaN(millis)) {
    throw refused('there is no such day, time of day or zone; look at it again');
  }
  return unixNanos(BigInt(millis) * 1_000_000n + BigInt(fraction.padEnd(9, '0')));
}

/** Date.parse takes 30 February for 2 March, and hour 24 for the next day. */
function isInCalendar(date: string, time: string): boolean {
  const read = new Date(`${date}T${time}Z`);
  return !Number.isNaN(read.getTime()) && read.toISOString().startsWith(`${date}T${time}`);
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

/**
 * For commands that do something at a position, and would take one behind the end for the end.
 *
 * @throws MomentUnknown
 */
export function requireReached(at: number, end: number): void {
  if (at <= end) return;
  throw new MomentUnknown(`the log ends at position ${end}: ${at} does not exist yet`);
}

/** What is quoted of a text in an error, in UTF-16 units: a key may have 64 KiB. */
const QUOTED_MAX = 200;

/** The text for a message: in quotes, its beginning when it is long, and without strange characters. */
export function quoted(text: string): string {
  if (text.length <= QUOTED_MAX) return visibleJson(JSON.stringify(text));
  const begin = text.slice(0, QUOTED_MAX).replace(/[\ud800-\udbff]$/, '');
  return `${visibleJson(JSON.stringify(`${begin}…`))} (${text.length} characters)`;
}
