/** Goal: moments are parsed exactly or refused, never adjusted silently. */
import { expect, it } from 'vitest';
import { formatTime, unixNanos } from '../../src/base/units.js';
import { parseMoment, quoted, parseTime, parseWholeNumber } from '../../src/cli/args/moment.js';

const now = unixNanos(1_700_000_000_000_000_000n);
const read = (text: string): string => formatTime(parseTime('--at', text, now));

it('parses valid dates and times in any time zone', () => {
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
])('refuses %s, which does not exist', (text) => {
  const message = `--at "${text}": no such date, time of day or time zone`;
  expect(() => parseTime('--at', text, now)).toThrow(message);
  expect(() => parseMoment('--at', text, now)).toThrow(message);
});

it('refuses a leap second with a specific message', () => {
  expect(() => read('2016-12-31T23:59:60Z')).toThrow('leap seconds are not supported');
});

it('distinguishes a number out of range from an invalid one', () => {
  expect(parseWholeNumber('--at', '9007199254740991')).toBe(9007199254740991);
  expect(() => parseWholeNumber('--at', '9007199254740992')).toThrow('out of range');
  expect(() => parseMoment('--at', '9'.repeat(40), now)).toThrow('out of range');
  expect(() => parseWholeNumber('--at', '1.5')).toThrow('not a whole number');
});

it('truncates long texts, and escapes control characters', () => {
  expect(quoted('a"\u202e\u001b')).toBe('"a\\"\\u202e\\u001b"');
  const long = `${'k'.repeat(199)}😀${'k'.repeat(64 * 1024)}`;
  expect(quoted(long)).toBe(`"${'k'.repeat(199)}…" (${long.length} characters)`);
});
