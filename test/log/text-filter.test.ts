/** A filter never says no to a text that was given, and seldom yes to another. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { mayHold, TextFilterBuilder } from '../../src/log/text-filter.js';

function filterOf(texts: Iterable<string>): Buffer {
  const builder = new TextFilterBuilder();
  for (const text of texts) builder.add(text);
  return builder.finish();
}

it('has every text that was given', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: 'binary', maxLength: 200 })), (texts) => {
      const filter = filterOf(texts);
      expect(texts.every((text) => mayHold(filter, text))).toBe(true);
    }),
  );
});

it('has few of those that were not, and nothing when it is empty', () => {
  const given = Array.from({ length: 10_000 }, (_, index) => `k8s.io/${index}/key`);
  const filter = filterOf(given);
  expect(filter.length).toBe(17_500);
  const others = given.filter((text) => mayHold(filter, `${text}, another`));
  expect(others.length).toBeLessThan(40);
  expect(mayHold(filterOf([]), '')).toBe(false);
});
