/**
 * Compares the snapshots at two moments: added, removed and changed ones. Compares by id, which is
 * never reused, so a key that now belongs to a new snapshot counts as removed and added.
 */
import type { SnapshotId } from '../../base/units.js';
import type { SnapshotState } from '../../machines/fold.js';
import { stateFields, type StateFields } from './state-view.js';

export type Difference =
  | { readonly change: 'added'; readonly after: SnapshotState }
  | { readonly change: 'removed'; readonly before: SnapshotState }
  | {
      readonly change: 'changed';
      readonly before: SnapshotState;
      readonly after: SnapshotState;
      /** The changed fields, in the order of StateFields; never empty. */
      readonly fields: readonly FieldChange[];
    };

export interface FieldChange {
  readonly field: keyof StateFields;
  readonly before: unknown;
  readonly after: unknown;
}

export interface DiffTotals {
  readonly added: number;
  readonly removed: number;
  readonly changed: number;
  readonly same: number;
  /** Bytes of committed layers, after minus before. */
  readonly bytes: number;
}

export interface Diff {
  /** In ascending order of id. */
  readonly differences: readonly Difference[];
  readonly totals: DiffTotals;
}

export function diffOf(before: Iterable<SnapshotState>, after: Iterable<SnapshotState>): Diff {
  const left = new Map<SnapshotId, SnapshotState>();
  let bytes = 0;
  for (const state of before) {
    left.set(state.id, state);
    bytes -= state.usage?.size ?? 0;
  }
  const differences: Difference[] = [];
  let same = 0;
  for (const state of after) {
    bytes += state.usage?.size ?? 0;
    const previous = left.get(state.id);
    left.delete(state.id);
    if (previous === undefined) {
      differences.push({ change: 'added', after: state });
      continue;
    }
    const fields = previous === state ? [] : changedFields(previous, state);
    if (fields.length === 0) same += 1;
    else differences.push({ change: 'changed', before: previous, after: state, fields });
  }
  for (const state of left.values()) differences.push({ change: 'removed', before: state });
  differences.sort((one, other) => idOf(one) - idOf(other));
  const count = (change: Difference['change']): number =>
    differences.filter((difference) => difference.change === change).length;
  const totals = { added: count('added'), removed: count('removed'), changed: count('changed') };
  return { differences, totals: { ...totals, same, bytes } };
}

export function idOf(difference: Difference): SnapshotId {
  return difference.change === 'removed' ? difference.before.id : difference.after.id;
}

function changedFields(before: SnapshotState, after: SnapshotState): readonly FieldChange[] {
  const [left, right] = [stateFields(before), stateFields(after)];
  const names = Object.keys(left) as (keyof StateFields)[];
  return names.flatMap((field): readonly FieldChange[] =>
    // These also change with a commit or new labels, which are reported themselves.
    field === 'createdAt' || field === 'updatedAt' || areSame(left[field], right[field])
      ? []
      : [{ field, before: left[field], after: right[field] }],
  );
}

/** Ignores the order of labels. */
function areSame(one: unknown, other: unknown): boolean {
  return JSON.stringify(sorted(one)) === JSON.stringify(sorted(other));
}

function sorted(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1));
}

/** A changed entry of an object, such as a label. */
export interface EntryChange {
  readonly key: string;
  /** Null if the entry does not exist. */
  readonly before: string | null;
  readonly after: string | null;
}

export function labelChanges({ before, after }: FieldChange): readonly EntryChange[] {
  const [left, right] = [entriesOf(before), entriesOf(after)];
  const keys = new Set([...left.keys(), ...right.keys()]);
  return [...keys].flatMap((key): readonly EntryChange[] => {
    const change = { key, before: left.get(key) ?? null, after: right.get(key) ?? null };
    return change.before === change.after ? [] : [change];
  });
}

function entriesOf(value: unknown): ReadonlyMap<string, string> {
  if (typeof value !== 'object' || value === null) return new Map();
  return new Map(Object.entries(value).map(([key, text]) => [key, String(text)]));
}
