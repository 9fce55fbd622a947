/** Formats snapshot ids and directory names so that they fit on a line. */
import { parseSnapshotId } from '../../base/units.js';

/** Names that are listed; the rest are counted. */
const NAMED_MAX = 20;

/** `4 to 35`, or a list that is cut after `NAMED_MAX` names. */
export function namesInWords(names: readonly string[]): string {
  const ids = names.map((name) => parseSnapshotId(name));
  if (ids.every((id) => id !== null) && isRow(ids)) return idsInWords(ids);
  const more = names.length - NAMED_MAX;
  return `${names.slice(0, NAMED_MAX).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}

const isRow = (ids: readonly number[]): boolean =>
  (ids.at(-1) ?? 0) - (ids[0] ?? 0) === ids.length - 1;

/** `4 to 35`, or a list if there is a gap. */
export function idsInWords(ids: readonly number[]): string {
  const first = ids[0];
  const last = ids.at(-1);
  if (first === undefined || last === undefined) return 'none';
  return isRow(ids) && ids.length > 2 ? `${first} to ${last}` : ids.join(', ');
}
