/** Goal: what is said of moments is taken as it was said, or refused; never moved on silently. */
import { expect, it } from 'vitest';
import { formatTime, unixNanos } from '../../src/base/units.js';
import { parseMoment, quoted, timeOf, wholeNumber } from '../../src/cli/args/moment.js';

const now = unixNanos(1_700_000_000_000_000_000n);
const read = (text: string): string => formatTime(timeOf('--at', text, now));

it('reads days and hours that exist, in any zone', () => {
  expect(read('2024-02-29T23:59:59Z')).toBe('2024-02-29T23:59:59.000000000Z');
  expect(read('2026-01-31 00:30:00.123456789+01:00')).toBe('2026-01-30T23:30:00.123456789Z');
  expect(read('1969-12-31t23:59:59.5z')).toBe('1969-12-31T23:59:59.500000000Z');
});

it.each([
  '2026-02-30T00:00:00Z',
  '2025-02-29T12:00:00+02:00',
  '2026-04-31T00:00:00Z',
  '2026-13-01T00:00:00Z',
  '2026-00-10T00:00:00Z',
  '2026-01-31T24:00:00Z',
  '2026-01-31T12:60:00Z',
  '2026-01-31T12:00:00+25:00',
])('refuses %s, which is in no calendar', (text) => {
  const said = `--at "${text}": there is no such day, time of day or zone`;
  expect(() => timeOf('--at', text, now)).toThrow(said);
  expect(() => parseMoment('--at', text, now)).toThrow(said);
});

it('refuses a leap second with a sentence of its own', () => {
  expect(() => read('2016-12-31T23:59:60Z')).toThrow('no clock of a log counts leap seconds');
});

it('tells a number that is too great from what is none', () => {
  expect(wholeNumber('--at', '9007199254740991')).toBe(9007199254740991);
  expect(() => wholeNumber('--at', '9007199254740992')).toThrow('too great');
  expect(() => parseMoment('--at', '9'.repeat(40), now)).toThrow('too great');
  expect(() => wholeNumber('--at', '1.5')).toThrow('not a whole number');
});

it('quotes the beginning of what is long, and nothing that a terminal would act on', () => {
  expect(quoted('a"\u202e\u001b')).toBe('"a\\"\\u202e\\u001b"');
  const long = `${'k'.repeat(199)}😀${'k'.repeat(64 * 1024)}`;
  expect(quoted(long)).toBe(`"${'k'.repeat(199)}…" (${long.length} characters)`);
});
