/**
 * The directories to mount for a snapshot at a position of the log, uppermost first. Pure. Unlike
 * the mounts that a client gets, none is writable: the directory of an active snapshot is just the
 * uppermost layer.
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

/** Null if the snapshot was not visible to clients at that position. */
export function mountChain(forest: Forest, id: SnapshotId): MountChain | null {
  const state = forest.get(id);
  if (state === undefined || metaOf(state.status).shownAs === null) return null;
  const ancestors = forest.ancestorsOf(state);
  // The directory of a view is empty, so omit it unless there is no other layer.
  const isHidden = state.preparedAs === 'view' && ancestors.length > 0;
  return { state, layers: isHidden ? ancestors : [state, ...ancestors] };
}

/** The event that removed a snapshot; null if the history has none. */
export function removalIn(history: readonly LogRecord[]): LogRecord | null {
  const isRemoval = ({ type }: LogRecord): boolean =>
    type === 'SnapshotRemoving' || type === 'SnapshotAbandoned';
  return history.findLast(isRemoval) ?? null;
}
