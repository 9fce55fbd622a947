/** The events that are shown as warnings. */
import type { DaemonEventType } from '../../machines/events/daemon-events.js';
import type { SnapshotEventType } from '../../machines/events/events.js';
import type { RecordLike } from '../../machines/events/streams.js';

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

/** Also a Prepare for which no remote layer was requested, with a reason. */
export function isWarning({ type, data }: Pick<RecordLike, 'type' | 'data'>): boolean {
  return warnings.has(type) || (type === 'SnapshotPreparing' && hasDeclined(data));
}

function hasDeclined(data: unknown): boolean {
  if (typeof data !== 'object' || data === null || !('remote' in data)) return false;
  const { remote } = data;
  return typeof remote === 'object' && remote !== null && 'declined' in remote;
}
