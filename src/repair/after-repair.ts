/** After a repair: what is still wrong, and the release of what it took in unverified. */
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

/** Everything that `stratalog verify` would call more than information. */
export async function findingsLeft(disk: Disk, root: string): Promise<readonly FindingLeft[]> {
  const left: FindingLeft[] = [];
  for await (const item of verifyLog({ root, disk })) {
    if (item.kind === 'summary' || item.severity === 'info') continue;
    left.push({ kind: item.kind, detail: item.detail });
  }
  for await (const { kind, detail } of checkEvents(disk, root)) left.push({ kind, detail });
  return left;
}

/** Unverified snapshots among these ids, null for all. */
export function unverifiedIn(
  forest: Forest,
  ids: readonly number[] | null,
): readonly SnapshotState[] {
  return [...forest.values()].filter(
    ({ id, labels }) => labels.has(UNVERIFIED_LABEL) && (ids?.includes(id) ?? true),
  );
}

/**
 * Unverified snapshots become ordinary ones, which containerd may remove. Answers their ids. Fails
 * as the log does.
 */
export async function release(
  held: HeldRoot,
  ids: readonly number[] | null,
): Promise<readonly SnapshotId[]> {
  const unverified = unverifiedIn(held.replay.forest, ids);
  if (unverified.length > 0) await held.append(unverified.map(withoutMark));
  return unverified.map(({ id }) => id);
}

function withoutMark(state: SnapshotState): EventToAppend {
  const labels = new Map(state.labels);
  labels.delete(UNVERIFIED_LABEL);
  return snapshotDraft(state, { type: 'LabelsUpdated', data: { labels, caller: {} } });
}
