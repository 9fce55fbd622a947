/**
 * What the owner of a root writes: events of the daemon's own stream and of snapshots as appends,
 * and a checkpoint's lines. The daemon writes them, and so does whoever holds the root of a daemon
 * that is stopped.
 */
import { streamVersion } from '../../base/units.js';
import type { CutTail } from '../../log/types.js';
import type { FileSystemChange } from '../../log/root/file-systems.js';
import type { EventToAppend } from '../../log/types.js';
import {
  DAEMON_EVENTS,
  DAEMON_STREAM,
  type DaemonEvent,
} from '../../machines/events/daemon-events.js';
import {
  encodeSnapshotEvent,
  endsLife,
  SNAPSHOT_EVENTS,
  type SnapshotEvent,
} from '../../machines/events/events.js';
import type { SnapshotState } from '../../machines/fold.js';
import type { ForestCut } from '../../machines/snapshots/forest-checkpoint.js';
import { encodeHead, type CheckpointHead } from '../../machines/snapshots/state-json.js';
import { streamOf } from '../../machines/events/streams.js';

/** Events of the daemon's stream; `version` is the one that the first of them gets. */
export function daemonDrafts(
  events: readonly DaemonEvent[],
  version: number,
): readonly EventToAppend[] {
  return events.map((event, index) => ({
    stream: DAEMON_STREAM,
    expectedVersion: streamVersion(version + index),
    type: event.type,
    schemaVersion: DAEMON_EVENTS[event.type].version,
    data: event.data,
  }));
}

/** The next event of a snapshot, as an append. */
export function snapshotDraft(state: SnapshotState, event: SnapshotEvent): EventToAppend {
  return {
    stream: streamOf(state.id),
    expectedVersion: streamVersion(state.streamVersion + 1),
    type: event.type,
    schemaVersion: SNAPSHOT_EVENTS[event.type].version,
    data: encodeSnapshotEvent(event),
    closesStream: endsLife(event),
  };
}

/** A torn tail that an open has cut must stand in the log for ever. */
export function tailCutEvent({ segment, offset, bytes, savedAs }: CutTail): DaemonEvent {
  return { type: 'TailCut', data: { segment, offset, bytes, savedAs } };
}

/** What an open found to be different about the file systems of a root. */
export function fileSystemEvents(changes: readonly FileSystemChange[]): readonly DaemonEvent[] {
  return changes.map((change) => ({ type: 'RootFileSystemChanged', data: change }));
}

/** A checkpoint's lines: the head, then a snapshot each. */
export function* checkpointLines(head: CheckpointHead, cut: ForestCut): Iterable<string> {
  yield encodeHead(head);
  yield* cut.lines();
}
