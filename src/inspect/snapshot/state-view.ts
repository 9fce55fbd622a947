/**
 * The snapshots at a position, as rows and as a tree, for tools that print them. Combines what
 * containerd sees (`infoOf`) with what only the log has: the id, the state in the statechart, the
 * origin of a layer.
 */
import { formatTime, type SnapshotId } from '../../base/units.js';
import { metaOf } from '../../machines/transition-table.js';
import type { ParentLink } from '../../machines/events/events.js';
import type { SnapshotState } from '../../machines/fold.js';
import type { Forest } from '../../machines/snapshots/forest.js';
import { infoOf } from '../../machines/snapshots/info.js';
import { namespaceIn } from '../events/event-names.js';

/** The kind that clients see; `-` if it is not visible to clients. */
export type ShownKind = 'active' | 'view' | 'committed' | '-';

export function kindOf({ status }: SnapshotState): ShownKind {
  return metaOf(status).shownAs ?? '-';
}

export interface StateQuery {
  /** Only keys of this containerd namespace. */
  readonly namespace: string | null;
  /** Include snapshots that clients do not see: those being prepared or removed. */
  readonly isAll: boolean;
}

/** In ascending order of id. */
export function* statesIn(forest: Forest, query: StateQuery): Generator<SnapshotState> {
  for (const state of forest.values()) {
    if (!query.isAll && metaOf(state.status).shownAs === null) continue;
    if (query.namespace !== null && namespaceIn(state.name) !== query.namespace) continue;
    yield state;
  }
}

/** All fields of a snapshot, as in JSON output. */
export interface StateFields {
  readonly id: SnapshotId;
  readonly name: string;
  readonly parent: ParentLink | null;
  /** Null if it is not visible to clients. */
  readonly kind: 'active' | 'view' | 'committed' | null;
  readonly status: string;
  /** As reported to containerd, including the label of a remote layer. */
  readonly labels: Readonly<Record<string, string>>;
  readonly createdAt: string;
  readonly updatedAt: string;
  /** Null before Commit. */
  readonly usage: { readonly size: number; readonly inodes: number } | null;
  readonly remote: { readonly ref: string; readonly fileSystem: string } | null;
  readonly unavailability: SnapshotState['unavailability'];
  /** The chain ID that Prepare requested. */
  readonly target: string | null;
  /** The commit in progress. */
  readonly commit: { readonly name: string; readonly parent: ParentLink | null } | null;
}

export function stateFields(state: SnapshotState): StateFields {
  const { id, name, parent, status, usage, remote, unavailability, question, commit } = state;
  const kind = metaOf(status).shownAs;
  return {
    id,
    name,
    parent,
    kind,
    status,
    labels: Object.fromEntries(kind === null ? state.labels : infoOf(state).labels),
    createdAt: formatTime(state.createdAt),
    updatedAt: formatTime(state.updatedAt),
    usage,
    remote: remote === null ? null : { ref: remote.ref, fileSystem: remote.fileSystem },
    unavailability,
    target: question?.ref ?? null,
    commit: commit === null ? null : { name: commit.name, parent: commit.parent },
  };
}

/** A row of a tree. */
export interface TreeRow {
  readonly state: SnapshotState;
  /** Tree lines before the row: ends in `↳ ` for an only child, `├─ ` or `└─ ` else; empty at a root. */
  readonly branch: string;
}

/**
 * Parents before children, siblings in ascending order of id. An only child is not indented: the
 * tree grows to the right only at forks, so that forty layers fit on a terminal. A snapshot whose
 * parent is not among the states is a root. Iterative, because the length of a chain is unbounded.
 */
export function treeRows(states: Iterable<SnapshotState>): readonly TreeRow[] {
  const byId = new Map([...states].map((state) => [state.id, state]));
  const children = new Map<SnapshotId | null, SnapshotState[]>();
  for (const state of byId.values()) {
    const below = state.parent !== null && byId.has(state.parent.id) ? state.parent.id : null;
    const siblings = children.get(below);
    if (siblings === undefined) children.set(below, [state]);
    else siblings.push(state);
  }
  const rows: TreeRow[] = [];
  const waiting: Drawn[] = (children.get(null) ?? [])
    .map((state) => ({ state, branch: '', below: '' }))
    .reverse();
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const { state, branch, below } = next;
    rows.push({ state, branch });
    waiting.push(...drawn(children.get(state.id) ?? [], below).reverse());
  }
  return rows;
}

interface Drawn extends TreeRow {
  /** Tree lines before its descendants. */
  readonly below: string;
}

function drawn(siblings: readonly SnapshotState[], before: string): Drawn[] {
  return siblings.map((state, index) => {
    if (siblings.length === 1) return { state, branch: `${before}↳ `, below: before };
    const isLast = index === siblings.length - 1;
    const [here, further] = isLast ? ['└─ ', '   '] : ['├─ ', '│  '];
    return { state, branch: `${before}${here}`, below: `${before}${further}` };
  });
}
