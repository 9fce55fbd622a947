/**
 * The texts in a segment index: names of snapshots, and parent links. A prefilter for `fitOfRecord`
 * and the search for children: it may have false positives, but no false negatives. Reads bodies
 * without validation, because it runs for every event of a log.
 */
import type { SnapshotId } from '../../base/units.js';
import type { IndexedTexts } from '../../log/index/text-filter.js';
import {
  bareName,
  fieldsOf,
  NAMING_EVENTS,
  namesIn,
  PREFIX_MIN,
  prefixForms,
  wholeForms,
} from '../events/event-names.js';

export const snapshotTexts: IndexedTexts = {
  version: 3,
  types: NAMING_EVENTS,
  *textsIn(type, body) {
    for (const name of namesIn({ type, data: body })) yield* formsOf(name);
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

function* formsOf(name: string): Generator<string, void, undefined> {
  yield* wholeForms(name);
  for (const form of prefixForms(name)) if (form.length >= PREFIX_MIN) yield prefixText(form);
}
