/**
 * What an index is asked for is a sieve in front of `bearsText`: whatever a record bears must be in
 * it, in each form that it can be asked by. Method: random lives, and all their texts.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { matcherOf, textsOf, withoutSequence } from '../../src/inspect/bears-text.js';
import { childText, snapshotTexts, textsFor } from '../../src/inspect/indexed-texts.js';
import { eventOf, parentOf } from '../../src/inspect/subject.js';
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
        for (const borne of textsOf(record)) {
          for (const form of [borne, withoutSequence(borne), ...prefixesOf(borne)]) {
            expect(matcherOf(form)(borne)).toBe(true);
            expect(textsFor(form).some((text) => told.has(text))).toBe(true);
            forms += 1;
          }
        }
        const parent = parentOf(eventOf(record));
        if (parent !== null) expect(told.has(childText(parent.id))).toBe(true);
      }
    }),
  );
  expect(forms).toBeGreaterThan(100);
});

function prefixesOf(borne: string): string[] {
  const digest = /^sha256:[0-9a-f]{12,64}/.exec(withoutSequence(borne))?.[0];
  return digest === undefined ? [] : [digest.slice(0, 19), digest.slice(7, 19), digest];
}

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
