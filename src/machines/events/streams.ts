/**
 * Which stream an event belongs to, and the way from a record of the log back to an event of
 * ours. A record that this release does not understand stops the reader: guessing would replay
 * to a wrong state.
 */
import {
  snapshotId,
  type SnapshotId,
  type StreamVersion,
  type UnixNanos,
} from '../../base/units.js';
import {
  DAEMON_EVENTS,
  decodeDaemonEvent,
  isDaemonEventType,
  type DaemonEvent,
} from './daemon-events.js';
import {
  isSnapshotEventType,
  SNAPSHOT_EVENTS,
  snapshotEventSchemas,
  type SnapshotEvent,
  type SnapshotEventType,
} from './events.js';
import { EventNotUnderstood } from './event-not-understood.js';
import { quickDecode } from './quick-decode.js';
import { upcast } from './upcasters.js';

export { EventNotUnderstood } from './event-not-understood.js';

const SNAPSHOT_STREAM = /^snapshot-([1-9]\d*)$/;

export function streamOf(id: SnapshotId): string {
  return `snapshot-${id}`;
}

export function idOfStream(stream: string): SnapshotId | null {
  const match = SNAPSHOT_STREAM.exec(stream);
  return match?.[1] === undefined ? null : snapshotId(Number(match[1]));
}

/** A record as far as this layer needs to know it. */
export interface RecordLike {
  readonly stream: string;
  readonly streamVersion: StreamVersion;
  readonly time: UnixNanos;
  readonly type: string;
  readonly schemaVersion: number;
  readonly data: unknown;
}

export type Understood =
  | { readonly about: 'snapshot'; readonly id: SnapshotId; readonly event: SnapshotEvent }
  | { readonly about: 'daemon'; readonly event: DaemonEvent };

/**
 * The event in a record's type and body. Throws a ZodError that names the field when the body
 * is not of the schema.
 */
export function decodeSnapshotEvent(type: SnapshotEventType, body: unknown): SnapshotEvent {
  const quick = quickDecode(type, body);
  if (quick !== null) return quick;
  // The schema is looked up by the same type, which the compiler cannot follow through a union.
  return { type, data: snapshotEventSchemas[type]().parse(body) } as SnapshotEvent;
}

/** Throws EventNotUnderstood. */
export function understand(record: RecordLike): Understood {
  const { type, schemaVersion, stream } = record;
  const isSnapshotEvent = isSnapshotEventType(type);
  if (!isSnapshotEvent && !isDaemonEventType(type)) {
    throw new EventNotUnderstood(`event type ${type} is not known to this release`, true);
  }
  const known = isSnapshotEvent ? SNAPSHOT_EVENTS[type].version : DAEMON_EVENTS[type].version;
  if (schemaVersion > known) {
    throw new EventNotUnderstood(
      `${type} has schema version ${schemaVersion}; this release knows up to ${known}`,
      true,
    );
  }
  const body = upcast(type, schemaVersion, known, record.data);
  try {
    if (!isSnapshotEvent) return { about: 'daemon', event: decodeDaemonEvent(type, body) };
    const id = idOfStream(stream);
    if (id === null) throw new Error(`stream ${JSON.stringify(stream)} is not a snapshot's`);
    return { about: 'snapshot', id, event: decodeSnapshotEvent(type, body) };
  } catch (cause) {
    throw new EventNotUnderstood(`${type} in stream ${stream} is malformed`, false, { cause });
  }
}
