/**
 * The snapshots as the rows of a tree: children under their parents, closed ones without what is
 * under them, and with a filter only what matches and the way down to it. Knows no browser.
 */
import type { SnapshotRow } from '../wire.js';

export interface Snapshot {
  readonly id: number;
  readonly parent: number;
  readonly status: string;
  readonly kind: 'active' | 'view';
  readonly name: string;
  /** -1 when it is not known. */
  readonly bytes: number;
  readonly createdMillis: number;
}

export interface TreeRow {
  readonly snapshot: Snapshot;
  /** From 1, as aria-level counts. */
  readonly level: number;
  readonly place: number;
  readonly siblings: number;
  /** Null without children. */
  readonly isOpen: boolean | null;
  /** False for what is there only because something under it matches the filter. */
  readonly isMatch: boolean;
}

export function snapshotOf(row: SnapshotRow, statuses: readonly string[]): Snapshot {
  const [id, parent, status, kind, name, bytes, createdMillis] = row;
  return { id, parent, status: statuses[status] ?? '', kind, name, bytes, createdMillis };
}

/** Parents of shown snapshots are shown: a snapshot whose parent is gone stands at the top. */
export function treeRows(
  snapshots: ReadonlyMap<number, Snapshot>,
  closed: ReadonlySet<number>,
  filter: string,
): readonly TreeRow[] {
  const wanted = filter === '' ? null : wantedBy(snapshots, filter.toLowerCase());
  const children = childrenOf(snapshots, wanted);
  const rows: TreeRow[] = [];
  // A stack, not a recursion: nothing bounds how deep a chain of strangers' layers is.
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
    // With a filter everything is open: the matches are what was asked for.
    const isOpen = below === undefined ? null : wanted !== null || !closed.has(id);
    rows.push({
      snapshot,
      level: top.level,
      place: top.next,
      siblings: top.ids.length,
      isOpen,
      isMatch: wanted?.get(id) ?? true,
    });
    if (below !== undefined && isOpen === true) {
      open.push({ ids: below, next: 0, level: top.level + 1 });
    }
  }
  return rows;
}

/** By parent, 0 for those at the top, each by rising id. */
function childrenOf(
  snapshots: ReadonlyMap<number, Snapshot>,
  wanted: ReadonlyMap<number, boolean> | null,
): ReadonlyMap<number, readonly number[]> {
  const children = new Map<number, number[]>();
  for (const { id, parent } of snapshots.values()) {
    if (wanted !== null && !wanted.has(id)) continue;
    const above = snapshots.has(parent) ? parent : 0;
    const siblings = children.get(above);
    if (siblings === undefined) children.set(above, [id]);
    else siblings.push(id);
  }
  for (const siblings of children.values()) siblings.sort((one, other) => one - other);
  return children;
}

/** Those that match, and false for those above them. */
function wantedBy(
  snapshots: ReadonlyMap<number, Snapshot>,
  filter: string,
): ReadonlyMap<number, boolean> {
  const wanted = new Map<number, boolean>();
  for (const snapshot of snapshots.values()) {
    if (!matches(snapshot, filter)) continue;
    wanted.set(snapshot.id, true);
    let above = snapshots.get(snapshot.parent);
    while (above !== undefined && !wanted.has(above.id)) {
      wanted.set(above.id, false);
      above = snapshots.get(above.parent);
    }
  }
  return wanted;
}

function matches({ id, name, status }: Snapshot, filter: string): boolean {
  return name.toLowerCase().includes(filter) || status === filter || String(id) === filter;
}
