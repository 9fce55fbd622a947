/** Parses moments and numbers of a command line. */
import { parseDuration } from '../../daemon/config/config-values.js';
import { UsageError } from '../../base/errors.js';
import { position, unixNanos, type Position, type UnixNanos } from '../../base/units.js';
import { MomentUnknown, type Archive } from '../../inspect/archive/archive.js';
import { visibleJson } from '../terminal/print.js';

/** @throws UsageError */
export function parseWholeNumber(flag: string, text: string | undefined): number | null {
  if (text === undefined) return null;
  if (!/^\d+$/.test(text)) {
    throw new UsageError(
      `${flag} ${quoted(text)}: not a whole number; use for example ${flag} 120`,
    );
  }
  const value = Number(text);
  if (Number.isSafeInteger(value)) return value;
  throw new UsageError(
    `${flag} ${quoted(text)}: out of range; the maximum is ${Number.MAX_SAFE_INTEGER}`,
  );
}

const timeForms = '2026-01-31T23:59:59Z or a duration before now: 90s, 10m, 1h30m, 3d';

/**
 * RFC 3339 with up to nine fractional digits, or a duration before now: `90s`, `1h30m`, `3d`.
 *
 * @throws UsageError
 */
export function parseTime(flag: string, text: string, now: UnixNanos): UnixNanos {
  const ago = parseDuration(text);
  if (ago !== null) return unixNanos(now - BigInt(ago) * 1_000_000n);
  const form = /^(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)$/.exec(
    text,
  );
  const invalid = (why: string): UsageError => new UsageError(`${flag} ${quoted(text)}: ${why}`);
  if (form === null) throw invalid(`not a time; use ${timeForms}`);
  const [, date = '', time = '', fraction = '', zone = ''] = form;
  if (time.endsWith(':60')) {
    throw invalid('leap seconds are not supported; use second 59 or the next minute');
  }
  const millis = Date.parse(`${date}T${time}${zone.toUpperCase()}`);
  if (!isInCalendar(date, time) || Number.isNaN(millis)) {
    throw invalid('no such date, time of day or time zone');
  }
  return unixNanos(BigInt(millis) * 1_000_000n + BigInt(fraction.padEnd(9, '0')));
}

/** Date.parse accepts 30 February as 2 March, and hour 24 as the next day. */
function isInCalendar(date: string, time: string): boolean {
  const read = new Date(`${date}T${time}Z`);
  return !Number.isNaN(read.getTime()) && read.toISOString().startsWith(`${date}T${time}`);
}

/**
 * The position of a moment in a log. A time resolves to the position after the last event up to that
 * time. Without a text, the end of the log.
 *
 * @throws UsageError
 */
export async function resolveMoment(
  archive: Archive,
  flag: string,
  text: string | undefined,
  now: UnixNanos,
): Promise<Position> {
  if (text === undefined) return (await archive.bounds()).next;
  return resolvePosition(archive, parseMoment(flag, text, now));
}

/** A position, or a time that an archive resolves to a position. */
export type Moment = Position | UnixNanos;

/** @throws UsageError */
export function parseMoment(flag: string, text: string, now: UnixNanos): Moment {
  if (/^\d+$/.test(text)) return position(parseWholeNumber(flag, text) ?? 0);
  if (parseDuration(text) !== null || /^\d{4}-/.test(text)) return parseTime(flag, text, now);
  throw new UsageError(
    `${flag} ${quoted(text)}: neither a position nor a time; use 120, ${timeForms}`,
  );
}

export async function resolvePosition(archive: Archive, moment: Moment): Promise<Position> {
  return typeof moment === 'bigint' ? archive.positionAt(moment) : moment;
}

/**
 * For commands that would otherwise treat a position past the end as the end.
 *
 * @throws MomentUnknown
 */
export function requireWithinLog(at: number, end: number): void {
  if (at <= end) return;
  throw new MomentUnknown(`the log ends at position ${end}: ${at} does not exist yet`);
}

/** The length of a quoted text in an error, in UTF-16 units: a key may have 64 KiB. */
const QUOTED_MAX = 200;

/** Quotes a text for a message: truncated if long, with unprintable characters escaped. */
export function quoted(text: string): string {
  if (text.length <= QUOTED_MAX) return visibleJson(JSON.stringify(text));
  const begin = text.slice(0, QUOTED_MAX).replace(/[\ud800-\udbff]$/, '');
  return `${visibleJson(JSON.stringify(`${begin}…`))} (${text.length} characters)`;
}
