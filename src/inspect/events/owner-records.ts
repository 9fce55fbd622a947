/**
 * Encodes what the owner of a root writes: events of the daemon's stream and of snapshots, and the
 * lines of a checkpoint. The owner is the daemon, or a tool that holds the root of a stopped one.
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

/** Events of the daemon's stream; `version` is the stream version of the first. */
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

/** Records in the log that opening it has cut a torn tail. */
export function tailCutEvent({ segment, offset, bytes, savedAs }: CutTail): DaemonEvent {
  return { type: 'TailCut', data: { segment, offset, bytes, savedAs } };
}

/** The changes to the file systems of a root that opening the log has found. */
export function fileSystemEvents(changes: readonly FileSystemChange[]): readonly DaemonEvent[] {
  return changes.map((change) => ({ type: 'RootFileSystemChanged', data: change }));
}

/** The lines of a checkpoint: the head, then one line per snapshot. */
export function* checkpointLines(head: CheckpointHead, cut: ForestCut): Iterable<string> {
  yield encodeHead(head);
  yield* cut.lines();
}
