/** A filter never says no to a text that was given for a record, and seldom yes to another. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { STRETCHES, stretchRecords } from '../../src/log/index/index-format.js';
import { stretchesThatMayHold, TextFilterBuilder } from '../../src/log/index/text-filter.js';

const RECORDS = 9_999;
const stretchOf = (record: number): number => Math.floor(record / stretchRecords(RECORDS));

type Given = readonly (readonly [text: string, record: number])[];

function filterOf(given: Given): Buffer {
  const builder = new TextFilterBuilder();
  for (const [text, record] of given) builder.add(text, record);
  return builder.finish(RECORDS);
}

it('has every text that was given, in the stretch of the record that has it', () => {
  const text = fc.string({ unit: 'binary', maxLength: 200 });
  const given = fc.array(fc.tuple(text, fc.nat(RECORDS - 1)));
  fc.assert(
    fc.property(given, (texts) => {
      const filter = filterOf(texts);
      for (const [one, record] of texts) {
        expect(stretchesThatMayHold(filter, [one])).toContain(stretchOf(record));
        expect(stretchesThatMayHold(filter, ['?', one])).toContain(stretchOf(record));
      }
    }),
  );
});

it('has few of those that were not, and nothing when it is empty', () => {
  const given = Array.from({ length: RECORDS }, (_, at) => [`k8s.io/${at}/key`, at] as const);
  const filter = filterOf(given);
  // Sixteen bits for each text of the fullest stretch, in each of them.
  expect(filter.length).toBe((16 * stretchRecords(RECORDS) * STRETCHES) / 8);
  const wrong = (suffix: string): number =>
    given.flatMap(([text]) => stretchesThatMayHold(filter, [`${text}${suffix}`])).length;
  // Each has its own, and 31 chances of one in two thousand.
  expect(wrong('') - given.length).toBeLessThan(400);
  expect(wrong(', another')).toBeLessThan(400);
  expect(stretchesThatMayHold(filterOf([]), [''])).toEqual([]);
});

it('stays small where all texts are of one stretch', () => {
  const filter = filterOf(Array.from({ length: 1000 }, (_, at) => [`key ${at}`, 0] as const));
  expect(filter.length).toBe((2 * 16 * 1000) / 8);
  expect(stretchesThatMayHold(filter, ['key 7'])).toEqual([0]);
});

it('tells what is not there also of a segment that has records in one stretch only', () => {
  const builder = new TextFilterBuilder();
  for (let at = 0; at < 60; at += 1) builder.add(`key ${at}`, at);
  const filter = builder.finish(60);
  const absent = Array.from({ length: 1000 }, (_, at) => `absent ${at}`);
  const mistaken = absent.filter((text) => stretchesThatMayHold(filter, [text]).length > 0);
  expect(mistaken.length).toBeLessThan(10);
  expect(stretchesThatMayHold(filter, ['key 59'])).toEqual([0]);
});
