/** After a repair: what is still wrong, and letting go what was set aside. */
import type { Disk } from '../base/ports.js';
import type { SnapshotId } from '../base/units.js';
import { checkEvents } from '../inspect/check-events.js';
import { daemonDrafts, snapshotDraft } from '../inspect/owner-records.js';
import type { EventToAppend } from '../log/types.js';
import { verifyLog } from '../log/verify.js';
import type { DaemonEvent } from '../machines/daemon-events.js';
import type { SnapshotState } from '../machines/fold.js';
import type { Forest } from '../machines/forest.js';
import { UNVERIFIED_LABEL } from '../machines/labels.js';
import type { HeldRoot } from './hold-root.js';

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

/** What is let go, or would be. */
export interface Release {
  readonly directories: readonly SnapshotId[];
  readonly snapshots: readonly SnapshotId[];
}

/**
 * What of these a release would let go, null for all: directories that were set aside, and
 * snapshots that nobody has verified.
 */
export function releaseOf(forest: Forest, wanted: readonly number[] | null): Release {
  const isWanted = (id: number): boolean => wanted?.includes(id) ?? true;
  const unverified = [...forest.values()].filter(({ labels }) => labels.has(UNVERIFIED_LABEL));
  return {
    directories: [...forest.kept].filter(isWanted),
    snapshots: unverified.map(({ id }) => id).filter(isWanted),
  };
}

/**
 * Directories that were set aside become orphans, which the next start deletes; unverified
 * snapshots become ordinary ones, which containerd may remove. Fails as the log does.
 */
export async function release(held: HeldRoot, wanted: readonly number[] | null): Promise<Release> {
  const { forest, daemonStreamVersion } = held.replay;
  const released = releaseOf(forest, wanted);
  const verified = released.snapshots.flatMap((id) => {
    const state = forest.get(id);
    return state === undefined ? [] : [withoutMark(state)];
  });
  const ids = [...released.directories];
  const free: DaemonEvent[] =
    ids.length === 0 ? [] : [{ type: 'DirectoriesReleased', data: { ids } }];
  const events = [...verified, ...daemonDrafts(free, daemonStreamVersion)];
  if (events.length > 0) await held.append(events);
  return released;
}

function withoutMark(state: SnapshotState): EventToAppend {
  const labels = new Map(state.labels);
  labels.delete(UNVERIFIED_LABEL);
  return snapshotDraft(state, { type: 'LabelsUpdated', data: { labels, caller: {} } });
}
