/** Kinds of events as the page colours them, and which it marks. */
import { formatTime } from '../base/units.js';
import { summaryOf } from '../inspect/events/summary.js';
import { isWarning, type SmoothEventType } from '../inspect/events/warning-events.js';
import type { LogRecord } from '../log/types.js';
import type { DaemonEventType } from '../machines/events/daemon-events.js';
import type { EventRow } from './wire.js';

export const GROUPS = ['prepared', 'committed', 'remote', 'removed', 'trouble', 'daemon'] as const;
type Group = (typeof GROUPS)[number];

const groupOfSmoothEvent: Readonly<Record<SmoothEventType, Group>> = {
  SnapshotPreparing: 'prepared',
  IdMappingStarted: 'prepared',
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
};

/** Events of the daemon that are told of everywhere: where a process began or ended. */
const daemonMarks: ReadonlySet<string> = new Set<DaemonEventType>([
  'DaemonStarted',
  'DaemonStopped',
]);

export function groupOf(record: LogRecord): number {
  return GROUPS.indexOf(groupNameOf(record));
}

function groupNameOf(record: LogRecord): Group {
  if (isWarning(record)) return 'trouble';
  const { type } = record;
  return Object.hasOwn(groupOfSmoothEvent, type)
    ? groupOfSmoothEvent[type as SmoothEventType]
    : 'daemon';
}

export function isMarked(record: LogRecord): boolean {
  if (isWarning(record) || daemonMarks.has(record.type)) return true;
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
    isWarning: isWarning(record),
  };
}
