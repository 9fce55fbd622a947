/**
 * Which directories show a snapshot as it was at a moment of the log, the uppermost first, and why
 * they cannot. Pure. Unlike the mounts that a client gets, nothing here is writable: an active
 * snapshot's own directory is just the uppermost.
 */
import type { SnapshotId } from '../../base/units.js';
import type { LogRecord } from '../../log/types.js';
import { metaOf } from '../../machines/transition-table.js';
import type { SnapshotState } from '../../machines/fold.js';
import type { Forest } from '../../machines/snapshots/forest.js';

export interface MountChain {
  readonly state: SnapshotState;
  /** At least one. */
  readonly layers: readonly SnapshotState[];
}

/** Null when a client would not have been told of the snapshot at that moment. */
export function mountChain(forest: Forest, id: SnapshotId): MountChain | null {
  const state = forest.get(id);
  if (state === undefined || metaOf(state.status).shownAs === null) return null;
  const ancestors = forest.ancestorsOf(state);
  // The directory of a view stays empty; without a parent there is nothing else to show.
  const isHidden = state.preparedAs === 'view' && ancestors.length > 0;
  return { state, layers: isHidden ? ancestors : [state, ...ancestors] };
}

/** The event that had a snapshot removed; null when the history has none. */
export function removalIn(history: readonly LogRecord[]): LogRecord | null {
  const isRemoval = ({ type }: LogRecord): boolean =>
    type === 'SnapshotRemoving' || type === 'SnapshotAbandoned';
  return history.findLast(isRemoval) ?? null;
}
