/** The events that are shown as warnings. */
import type { DaemonEventType } from '../../machines/events/daemon-events.js';
import type { SnapshotEventType } from '../../machines/events/events.js';

const ofSnapshots = [
  'RemoteMountFailed',
  'SnapshotCommitFailed',
  'SnapshotAbandoned',
  'SnapshotSalvaged',
  'LayerUnavailable',
  'SnapshotRemovalFailed',
] as const satisfies readonly SnapshotEventType[];

const ofDaemon = [
  'TailCut',
  'LogRepaired',
  'DirectoryRecreated',
  'OrphanFound',
  'DirectoriesSetAside',
] as const satisfies readonly DaemonEventType[];

/** Events of snapshots that are not warnings. */
export type OrdinaryEventType = Exclude<SnapshotEventType, (typeof ofSnapshots)[number]>;

const warnings: ReadonlySet<string> = new Set<string>([...ofSnapshots, ...ofDaemon]);

export function isWarning({ type }: { readonly type: string }): boolean {
  return warnings.has(type);
}
