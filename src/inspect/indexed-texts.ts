/**
 * The texts that an index can be asked for: what snapshots are called, and who stands on whom. A
 * sieve in front of `bearsText` and of the search for children: it may tell too much, and never
 * too little. Reads bodies as they stand, because it is asked of every event of a log.
 */
import type { SnapshotId } from '../base/units.js';
import type { IndexedTexts } from '../log/text-filter.js';
import type { EventBody } from '../log/types.js';
import { TARGET_LABEL } from '../machines/labels.js';
import { digestPrefix, withoutSequence } from './bears-text.js';

/** Enough digits to tell layers apart, and the fewest that a digest can be asked for by. */
const DIGITS = 12;

export const snapshotTexts: IndexedTexts = {
  version: 1,
  types: new Set([
    'SnapshotPreparing',
    'SnapshotCommitting',
    'SnapshotCommitted',
    'SnapshotSalvaged',
    'RemoteMountStarted',
    'LabelsUpdated',
  ]),
  *textsIn(_type, body) {
    for (const borne of borneIn(body)) yield* formsOf(borne);
    const parent = fieldsOf(body['parent'])['id'];
    if (typeof parent === 'number') yield childText(parent);
  },
};

/** What stands in an index for those who bear the text, in one of these ways. */
export function textsFor(text: string): readonly string[] {
  const prefix = digestPrefix(text);
  return prefix === null ? [text] : [text, prefix.slice(0, 'sha256:'.length + DIGITS)];
}

/** What stands in an index for each child of a snapshot. */
export const childText = (parent: SnapshotId | number): string => `on ${parent}`;

function* borneIn(body: EventBody): Generator<string, void, undefined> {
  const target = fieldsOf(body['labels'])[TARGET_LABEL];
  for (const text of [body['key'], body['name'], body['target'], body['ref'], target]) {
    if (typeof text === 'string') yield text;
  }
}

function* formsOf(borne: string): Generator<string, void, undefined> {
  yield borne;
  const name = withoutSequence(borne);
  if (name !== borne) yield name;
  const [digest] = /^sha256:[0-9a-f]{12}/.exec(name) ?? [];
  if (digest !== undefined && digest !== name) yield digest;
}

type Fields = Readonly<Record<string, unknown>>;

const isFields = (value: unknown): value is Fields => typeof value === 'object' && value !== null;

const fieldsOf = (value: unknown): Fields => (isFields(value) ? value : {});
