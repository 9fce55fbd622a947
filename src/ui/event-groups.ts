/** Kinds of events as the page colours them, and which events tell of trouble. */
import { formatTime } from '../base/units.js';
import { summaryOf } from '../inspect/summary.js';
import type { LogRecord } from '../log/types.js';
import { DAEMON_STREAM, type DaemonEventType } from '../machines/daemon-events.js';
import type { SnapshotEventType } from '../machines/events.js';
import type { EventRow } from './wire.js';

export const GROUPS = ['prepared', 'committed', 'remote', 'removed', 'trouble', 'daemon'] as const;
type Group = (typeof GROUPS)[number];

const groupOfSnapshotEvent: Readonly<Record<SnapshotEventType, Group>> = {
  SnapshotPreparing: 'prepared',
  SnapshotPrepared: 'prepared',
  LabelsUpdated: 'prepared',
  SnapshotCommitting: 'committed',
  SnapshotCommitted: 'committed',
  RemoteMountStarted: 'remote',
  RemoteMounted: 'remote',
  LayerAvailable: 'remote',
  SnapshotRemoving: 'removed',
  SnapshotCollecting: 'removed',
  SnapshotRemoved: 'removed',
  RemoteMountFailed: 'trouble',
  SnapshotCommitFailed: 'trouble',
  LayerUnavailable: 'trouble',
  SnapshotAbandoned: 'trouble',
  SnapshotSalvaged: 'trouble',
};

const daemonTroubles: ReadonlySet<string> = new Set<DaemonEventType>([
  'TailCut',
  'LogRepaired',
  'DirectoryRecreated',
  'OrphanFound',
]);

/** Events of the daemon that are told of everywhere: where a process began or ended. */
const daemonMarks: ReadonlySet<string> = new Set<DaemonEventType>([
  'DaemonStarted',
  'DaemonStopped',
]);

export function groupOf(record: LogRecord): number {
  return GROUPS.indexOf(groupNameOf(record));
}

function groupNameOf({ stream, type }: LogRecord): Group {
  if (stream === DAEMON_STREAM) return daemonTroubles.has(type) ? 'trouble' : 'daemon';
  return Object.hasOwn(groupOfSnapshotEvent, type)
    ? groupOfSnapshotEvent[type as SnapshotEventType]
    : 'daemon';
}

export function isTrouble(record: LogRecord): boolean {
  return groupNameOf(record) === 'trouble';
}

export function isMarked(record: LogRecord): boolean {
  if (isTrouble(record) || daemonMarks.has(record.type)) return true;
  if (record.type !== 'RecoveryPlanned') return false;
  const { findings } = record.data;
  return Array.isArray(findings) && findings.length > 0;
}

export function eventRow(record: LogRecord): EventRow {
  const { position, stream, type } = record;
  return {
    position,
    time: formatTime(record.time),
    stream,
    type,
    summary: summaryOf(record),
    isTrouble: isTrouble(record),
  };
}
