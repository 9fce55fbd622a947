/**
 * What an index is asked for is a sieve in front of `fitOfRecord`: whatever fits a text must be in
 * it, in each form that it can be asked by. Method: random lives, and all their texts.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import {
  fitOf,
  isLongEnough,
  namesIn,
  withoutSequence,
} from '../../src/inspect/events/event-names.js';
import {
  childText,
  snapshotTexts,
  textForPrefix,
} from '../../src/inspect/archive/indexed-texts.js';
import { eventOf, parentOf } from '../../src/inspect/archive/subject.js';
import type { LogRecord } from '../../src/log/types.js';
import { anyLog } from '../support/record-archive.js';

const toldOf = ({ type, data }: LogRecord): ReadonlySet<string> =>
  new Set(snapshotTexts.types.has(type) ? snapshotTexts.textsIn(type, data) : []);

it('tells every text that an event gives its snapshot, in each form', () => {
  let forms = 0;
  fc.assert(
    fc.property(anyLog(60), (records) => {
      for (const record of records) {
        const told = toldOf(record);
        for (const borne of namesIn(record)) {
          expectAllForms(borne, told);
          forms += 1;
        }
        const parent = parentOf(eventOf(record));
        if (parent !== null) expect(told.has(childText(parent.id))).toBe(true);
      }
    }),
  );
  expect(forms).toBeGreaterThan(100);
});

/** Every piece of the name that fits it must be found by what the index has of the name. */
function expectAllForms(borne: string, told: ReadonlySet<string>): void {
  const key = withoutSequence(borne);
  const starts = [0, borne.length - key.length, borne.lastIndexOf('/') + 1, borne.indexOf(':') + 1];
  for (const from of new Set(starts)) {
    for (let to = from + 1; to <= borne.length; to += 1) {
      const text = borne.slice(from, to);
      const fit = fitOf(text)(borne);
      if (fit === 'whole') expect(told).toContain(text);
      if (fit === 'prefix') {
        expect(isLongEnough(text)).toBe(true);
        expect(told).toContain(textForPrefix(text));
      }
    }
    expect(fitOf(key)(borne)).toBe('whole');
  }
}

const digest = `sha256:${'0123456789ab'.padEnd(64, 'c')}`;

it.each([
  'moby/1/0b370ce164dd2ab1c4cff02c80d1c1caedbdea9a94d6d2dd3584f5ecb36ca4e1-init-key',
  `k8s.io/2/extract-123456789-AbCd ${digest}`,
  `k8s.io/2/${digest}`,
  'a/1/b/2/cdefghijkl/mnopqrstuv',
  `a/1/b/${digest}`,
  `library/${digest}`,
  'sha256:not-hexadecimal-at-all',
  'plain',
  'größe/1/größe "n"-123',
])('tells all that finds %s', (key) => {
  const data = { key, labels: {}, remote: null };
  expectAllForms(key, new Set(snapshotTexts.textsIn('SnapshotPreparing', data)));
});

it('tells nothing of bodies that are none of ours, and fails at none', () => {
  const bodies = fc.dictionary(
    fc.constantFrom('key', 'name', 'labels', 'parent', 'x'),
    fc.jsonValue(),
  );
  fc.assert(
    fc.property(bodies, (body) => {
      for (const type of snapshotTexts.types) {
        for (const text of snapshotTexts.textsIn(type, body)) expect(typeof text).toBe('string');
      }
    }),
  );
});
