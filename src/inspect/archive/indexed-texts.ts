/**
 * The texts in a segment index: names of snapshots, and parent links. A prefilter for `fitOfRecord`
 * and the search for children: it may have false positives, but no false negatives. Reads bodies
 * without validation, because it runs for every event of a log.
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
    for (const name of namesIn(body)) yield* formsOf(name);
    const parent = fieldsOf(body['parent'])['id'];
    if (typeof parent === 'number') yield childText(parent);
  },
};

/** The index text of all names that begin with `text`. */
export const textForPrefix = (text: string): string => prefixText(bareName(text));

/** A name that ends like this only causes a false positive. */
const prefixText = (part: string): string => `${part.slice(0, PREFIX_MIN)}…`;

/** The index text of all children of a snapshot. */
export const childText = (parent: SnapshotId | number): string => `on ${parent}`;

function* namesIn(body: EventBody): Generator<string, void, undefined> {
  const target = fieldsOf(body['labels'])[TARGET_LABEL];
  for (const text of [body['key'], body['name'], body['target'], body['ref'], target]) {
    if (typeof text === 'string') yield text;
  }
}

function* formsOf(name: string): Generator<string, void, undefined> {
  yield* wholeForms(name);
  for (const form of prefixForms(name)) if (form.length >= PREFIX_MIN) yield prefixText(form);
}

type Fields = Readonly<Record<string, unknown>>;

const isFields = (value: unknown): value is Fields => typeof value === 'object' && value !== null;

const fieldsOf = (value: unknown): Fields => (isFields(value) ? value : {});
