/**
 * The snapshots at one moment, as rows and as a tree, for tools that print them. What containerd
 * would have been told is `infoOf`'s business; here it is laid beside what only the log knows:
 * the id, the place in the statechart, where a layer comes from.
 */
import { formatTime, type SnapshotId } from '../../base/units.js';
import { metaOf } from '../../machines/transition-table.js';
import type { ParentLink } from '../../machines/events/events.js';
import type { SnapshotState } from '../../machines/fold.js';
import type { Forest } from '../../machines/snapshots/forest.js';
import { infoOf } from '../../machines/snapshots/info.js';
import { namespaceIn } from '../events/event-names.js';

/** What a snapshot is shown as; `-` while, or once, no client sees it. */
export type ShownKind = 'active' | 'view' | 'committed' | '-';

export function kindOf({ status }: SnapshotState): ShownKind {
  return metaOf(status).shownAs ?? '-';
}

export interface StateQuery {
  /** Only keys of this containerd namespace. */
  readonly namespace: string | null;
  /** Those too that no client is shown: being prepared, or on their way out. */
  readonly isAll: boolean;
}

/** By rising id. */
export function* statesIn(forest: Forest, query: StateQuery): Generator<SnapshotState> {
  for (const state of forest.values()) {
    if (!query.isAll && metaOf(state.status).shownAs === null) continue;
    if (query.namespace !== null && namespaceIn(state.name) !== query.namespace) continue;
    yield state;
  }
}

/** All that is known of a snapshot, as JSON has it. */
export interface StateFields {
  readonly id: SnapshotId;
  readonly name: string;
  readonly parent: ParentLink | null;
  /** Null while, or once, no client is shown it. */
  readonly kind: 'active' | 'view' | 'committed' | null;
  readonly status: string;
  /** As containerd is told them, the mark of a remote layer included. */
  readonly labels: Readonly<Record<string, string>>;
  readonly createdAt: string;
  readonly updatedAt: string;
  /** Null before Commit. */
  readonly usage: { readonly size: number; readonly inodes: number } | null;
  readonly remote: { readonly ref: string; readonly fileSystem: string } | null;
  readonly unavailability: SnapshotState['unavailability'];
  /** The chain id that was asked for with Prepare. */
  readonly target: string | null;
  /** The commit that is under way. */
  readonly commit: { readonly name: string; readonly parent: ParentLink | null } | null;
}

export function stateFields(state: SnapshotState): StateFields {
  const { id, name, parent, status, usage, remote, unavailability, target, commit } = state;
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
    target,
    commit: commit === null ? null : { name: commit.name, parent: commit.parent },
  };
}

/** A snapshot in a tree, with what is drawn before it. */
export interface TreeRow {
  readonly state: SnapshotState;
  /** `↳ ` on the line above, `├─ ` or `└─ ` among others, behind the lines further up; empty at a root. */
  readonly branch: string;
}

/**
 * Parents before their children, by rising id. A layer that nothing else stands beside is drawn
 * straight below: only where a chain forks does the tree grow to the right, so that forty layers
 * fit a terminal. What stands on a snapshot that is not among the states is drawn as a root.
 * Without recursion, since chains are as long as clients make them.
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
  /** What is drawn before all that stands on it. */
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
