/** The groups of events that the page colours, and the events that it marks. */
import { formatTime } from '../base/units.js';
import { summaryOf } from '../inspect/events/summary.js';
import { isWarning, type OrdinaryEventType } from '../inspect/events/warning-events.js';
import type { LogRecord } from '../log/types.js';
import type { DaemonEventType } from '../machines/events/daemon-events.js';
import type { EventRow } from './wire.js';

export const GROUPS = ['prepared', 'committed', 'remote', 'removed', 'warning', 'daemon'] as const;
type Group = (typeof GROUPS)[number];

const groupOfOrdinaryEvent: Readonly<Record<OrdinaryEventType, Group>> = {
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

/** Events that mark the start and the end of a process. */
const daemonMarks: ReadonlySet<string> = new Set<DaemonEventType>([
  'DaemonStarted',
  'DaemonStopped',
]);

export function groupOf(record: LogRecord): number {
  return GROUPS.indexOf(groupNameOf(record));
}

function groupNameOf(record: LogRecord): Group {
  if (isWarning(record)) return 'warning';
  const { type } = record;
  return Object.hasOwn(groupOfOrdinaryEvent, type)
    ? groupOfOrdinaryEvent[type as OrdinaryEventType]
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
