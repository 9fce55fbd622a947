/**
 * The texts that an index can be asked for: what snapshots are called, and who stands on whom. A
 * sieve in front of `fitOfRecord` and of the search for children: it may tell too much, and never
 * too little. Reads bodies as they stand, because it is asked of every event of a log.
 */
import type { SnapshotId } from '../../base/units.js';
import type { IndexedTexts } from '../../log/index/text-filter.js';
import type { EventBody } from '../../log/types.js';
import { TARGET_LABEL } from '../../machines/labels.js';
import { bareName, PREFIX_MIN, prefixForms, wholeForms } from '../events/event-names.js';

export const snapshotTexts: IndexedTexts = {
  version: 2,
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

/** What is in an index for each snapshot with a name that begins with the text. */
export const textForPrefix = (text: string): string => prefixText(bareName(text));

/** No name of containerd's ends like this, and one that does is only searched in vain. */
const prefixText = (part: string): string => `${part.slice(0, PREFIX_MIN)}…`;

/** What stands in an index for each child of a snapshot. */
export const childText = (parent: SnapshotId | number): string => `on ${parent}`;

function* borneIn(body: EventBody): Generator<string, void, undefined> {
  const target = fieldsOf(body['labels'])[TARGET_LABEL];
  for (const text of [body['key'], body['name'], body['target'], body['ref'], target]) {
    if (typeof text === 'string') yield text;
  }
}

function* formsOf(borne: string): Generator<string, void, undefined> {
  yield* wholeForms(borne);
  for (const form of prefixForms(borne)) if (form.length >= PREFIX_MIN) yield prefixText(form);
}

type Fields = Readonly<Record<string, unknown>>;

const isFields = (value: unknown): value is Fields => typeof value === 'object' && value !== null;

const fieldsOf = (value: unknown): Fields => (isFields(value) ? value : {});
