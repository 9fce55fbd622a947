/** The snapshot as Stat, List and Update return it. */
import { assert } from '../../base/assert.js';
import type { Labels, SnapshotName, UnixNanos } from '../../base/units.js';
import { metaOf } from '../transition-table.js';
import type { SnapshotState } from '../fold.js';
import { REMOTE_LABEL, REMOTE_LABEL_VALUE } from '../labels.js';

export interface SnapshotInfo {
  readonly name: SnapshotName;
  /** Empty when there is none. */
  readonly parent: string;
  readonly kind: 'active' | 'view' | 'committed';
  readonly labels: Labels;
  readonly createdAt: UnixNanos;
  readonly updatedAt: UnixNanos;
}

/** The remote mark is put on here, from the log's word alone: a stored label would be forgeable. */
export function infoOf(state: SnapshotState): SnapshotInfo {
  const kind = metaOf(state.status).shownAs;
  assert(kind !== null, 'only a snapshot that is shown has an info', () => state.status);
  const isRemote = kind === 'committed' && state.remote !== null;
  return {
    name: state.name,
    parent: state.parent?.name ?? '',
    kind,
    labels: isRemote ? new Map(state.labels).set(REMOTE_LABEL, REMOTE_LABEL_VALUE) : state.labels,
    createdAt: state.createdAt,
    updatedAt: state.updatedAt,
  };
}
