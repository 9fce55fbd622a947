/** After a repair: the remaining findings, and the release of unverified snapshots. */
import type { Disk } from '../base/ports.js';
import type { SnapshotId } from '../base/units.js';
import { checkEvents } from '../inspect/archive/check-events.js';
import { snapshotDraft } from '../inspect/events/owner-records.js';
import type { EventToAppend } from '../log/types.js';
import { verifyLog } from '../log/verify/verify.js';
import type { SnapshotState } from '../machines/fold.js';
import type { Forest } from '../machines/snapshots/forest.js';
import { UNVERIFIED_LABEL } from '../machines/labels.js';
import type { HeldRoot } from '../maintenance/hold-root.js';

export interface FindingLeft {
  readonly kind: string;
  readonly detail: string;
}

/** All findings of `stratalog verify` above severity `info`. */
export async function findingsLeft(disk: Disk, root: string): Promise<readonly FindingLeft[]> {
  const left: FindingLeft[] = [];
  for await (const item of verifyLog({ root, disk })) {
    if (item.kind === 'summary' || item.severity === 'info') continue;
    left.push({ kind: item.kind, detail: item.detail });
  }
  for await (const { kind, detail } of checkEvents(disk, root)) left.push({ kind, detail });
  return left;
}

/** The unverified snapshots with these ids, or all if `ids` is null. */
export function unverifiedIn(
  forest: Forest,
  ids: readonly number[] | null,
): readonly SnapshotState[] {
  return [...forest.values()].filter(
    ({ id, labels }) => labels.has(UNVERIFIED_LABEL) && (ids?.includes(id) ?? true),
  );
}

/**
 * Makes unverified snapshots ordinary ones, which containerd may remove. Returns their ids. Fails
 * as `append` does.
 */
export async function release(
  held: HeldRoot,
  ids: readonly number[] | null,
): Promise<readonly SnapshotId[]> {
  const unverified = unverifiedIn(held.replay.forest, ids);
  if (unverified.length > 0) await held.append(unverified.map(withoutUnverifiedLabel));
  return unverified.map(({ id }) => id);
}

function withoutUnverifiedLabel(state: SnapshotState): EventToAppend {
  const labels = new Map(state.labels);
  labels.delete(UNVERIFIED_LABEL);
  return snapshotDraft(state, { type: 'LabelsUpdated', data: { labels, caller: {} } });
}
