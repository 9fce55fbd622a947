/** Spans in words: by a table, and by a property about their size. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import {
  durationInWords,
  durationMillis,
  sinceInWords,
  spanInWords,
} from '../../src/inspect/events/durations.js';

it.each([
  [0n, '0 ms'],
  [400_000n, '0.4 ms'],
  [9_949_999n, '9.9 ms'],
  [12_400_000n, '12 ms'],
  [999_400_000n, '999 ms'],
  [999_600_000n, '1 s'],
  [3_440_000_000n, '3.4 s'],
  [59_400_000_000n, '59 s'],
  [59_600_000_000n, '1 min'],
  [86_460_000_000_000n, '1 d'],
  [125_000_000_000n, '2 min 5 s'],
  [12_000_000_000_000n, '3 h 20 min'],
  [352_800_000_000_000n, '4 d 2 h'],
  [-12_000_000n, 'an unknown time (the clock was set back)'],
])('says %s nanoseconds as %s', (nanos, words) => {
  expect(durationInWords(nanos)).toBe(words);
});

it('has a sign for what is since another moment', () => {
  expect([-12_000_000n, 0n, 3_440_000_000n].map(sinceInWords)).toEqual([
    ...['set back 12 ms', '+0 ms', '+3.4 s'],
  ]);
});

it.each([
  [-5_000_000_000n, 'unknown'],
  [-900_000_000n, '0 s'],
  [999_999_999n, '0 s'],
  [59_999_999_999n, '59 s'],
  [200_000_000_000n, '3 min'],
  [7_199_000_000_000n, '1 h'],
  [352_800_000_000_000n, '4 d'],
])('says of an age of %s nanoseconds %s', (nanos, words) => {
  expect(spanInWords(nanos)).toBe(words);
});

it('has no milliseconds for a span during which the clock was set back', () => {
  expect([-1n, 0n, 1_500_000n].map(durationMillis)).toEqual([null, 0, 1.5]);
});

it('is right to one in ten, whatever the span', () => {
  const units = { ms: 1e6, s: 1e9, min: 60e9, h: 3600e9, d: 86_400e9 };
  fc.assert(
    fc.property(fc.bigInt({ min: 1_000_000n, max: 10n ** 18n }), (nanos) => {
      const parts = durationInWords(nanos).matchAll(/([\d.]+) (\w+)/g);
      let told = 0;
      for (const [, number, unit] of parts)
        told += Number(number) * units[unit as keyof typeof units];
      expect(Math.abs(told - Number(nanos)) / Number(nanos)).toBeLessThan(0.1);
    }),
  );
});
