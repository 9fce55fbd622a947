/**
 * Builds the rows of the snapshot tree: children below their parents, and no descendants of
 * collapsed rows. With a filter, only matches and their ancestors. Does not use the DOM.
 */
import type { SnapshotRow } from '../wire.js';

export interface Snapshot {
  readonly id: number;
  readonly parent: number;
  readonly status: string;
  readonly kind: 'active' | 'view';
  readonly name: string;
  /** -1 if unknown. */
  readonly bytes: number;
  readonly createdMillis: number;
}

export interface TreeRow {
  readonly snapshot: Snapshot;
  /** 1 for a root, as in aria-level. */
  readonly level: number;
  readonly place: number;
  readonly siblings: number;
  /** Null without children. */
  readonly isOpen: boolean | null;
  /** False if only a descendant matches the filter. */
  readonly isMatch: boolean;
}

export function snapshotOf(row: SnapshotRow, statuses: readonly string[]): Snapshot {
  const [id, parent, status, kind, name, bytes, createdMillis] = row;
  return { id, parent, status: statuses[status] ?? '', kind, name, bytes, createdMillis };
}

/** A snapshot whose parent does not exist is a root. */
export function treeRows(
  snapshots: ReadonlyMap<number, Snapshot>,
  closed: ReadonlySet<number>,
  filter: string,
): readonly TreeRow[] {
  const included = filter === '' ? null : matchesAndAncestors(snapshots, filter.toLowerCase());
  const children = childrenOf(snapshots, included);
  const rows: TreeRow[] = [];
  // A stack instead of recursion, because the depth is unbounded.
  const open: { readonly ids: readonly number[]; next: number; readonly level: number }[] = [
    { ids: children.get(0) ?? [], next: 0, level: 1 },
  ];
  for (let top = open.at(-1); top !== undefined; top = open.at(-1)) {
    const id = top.ids[top.next];
    if (id === undefined) {
      open.pop();
      continue;
    }
    top.next += 1;
    const snapshot = snapshots.get(id);
    if (snapshot === undefined) continue;
    const below = children.get(id);
    // With a filter all rows are expanded, to show the matches.
    const isOpen = below === undefined ? null : included !== null || !closed.has(id);
    rows.push({
      snapshot,
      level: top.level,
      place: top.next,
      siblings: top.ids.length,
      isOpen,
      isMatch: included?.get(id) ?? true,
    });
    if (below !== undefined && isOpen === true) {
      open.push({ ids: below, next: 0, level: top.level + 1 });
    }
  }
  return rows;
}

/** Children by parent id, 0 for roots, in ascending order of id. */
function childrenOf(
  snapshots: ReadonlyMap<number, Snapshot>,
  included: ReadonlyMap<number, boolean> | null,
): ReadonlyMap<number, readonly number[]> {
  const children = new Map<number, number[]>();
  for (const { id, parent } of snapshots.values()) {
    if (included !== null && !included.has(id)) continue;
    const above = snapshots.has(parent) ? parent : 0;
    const siblings = children.get(above);
    if (siblings === undefined) children.set(above, [id]);
    else siblings.push(id);
  }
  for (const siblings of children.values()) siblings.sort((one, other) => one - other);
  return children;
}

/** True for matches, false for their ancestors. */
function matchesAndAncestors(
  snapshots: ReadonlyMap<number, Snapshot>,
  filter: string,
): ReadonlyMap<number, boolean> {
  const included = new Map<number, boolean>();
  for (const snapshot of snapshots.values()) {
    if (!matches(snapshot, filter)) continue;
    included.set(snapshot.id, true);
    let above = snapshots.get(snapshot.parent);
    while (above !== undefined && !included.has(above.id)) {
      included.set(above.id, false);
      above = snapshots.get(above.parent);
    }
  }
  return included;
}

function matches({ id, name, status }: Snapshot, filter: string): boolean {
  return name.toLowerCase().includes(filter) || status === filter || String(id) === filter;
}
