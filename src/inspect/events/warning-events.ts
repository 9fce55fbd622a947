/** Events that tell of something that did not go well, wherever they are shown. */
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

/** Events of snapshots that went as they should. */
export type SmoothEventType = Exclude<SnapshotEventType, (typeof ofSnapshots)[number]>;

const troubles: ReadonlySet<string> = new Set<string>([...ofSnapshots, ...ofDaemon]);

export function isWarning({ type }: { readonly type: string }): boolean {
  return troubles.has(type);
}
