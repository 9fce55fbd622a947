/**
 * The words of the log: what is appended, what is read back, and what a log promises.
 * Bytes are in format.ts and codec.ts; this file knows no bytes, and nothing here knows snapshots.
 */
import type { Observable } from 'rxjs';
import type { Position, StreamVersion, UnixNanos } from '../base/units.js';

/** The JSON body of an event. Keys are owned by the event's type, see docs/reference/events.md. */
export type EventBody = Readonly<Record<string, unknown>>;

export interface EventToAppend {
  readonly stream: string;
  /** The version this event must get; 0 begins a stream. A mismatch is WrongExpectedVersion. */
  readonly expectedVersion: StreamVersion;
  readonly type: string;
  readonly schemaVersion: number;
  readonly data: EventBody;
  /** When it happened; the moment of the append when not given. */
  readonly time?: UnixNanos;
  /** The last event of its stream: its version need not be remembered any longer. */
  readonly closesStream?: boolean;
}

export interface LogRecord {
  readonly position: Position;
  readonly time: UnixNanos;
  readonly stream: string;
  readonly streamVersion: StreamVersion;
  readonly type: string;
  readonly schemaVersion: number;
  readonly data: EventBody;
  readonly closesStream: boolean;
}

export interface Appended {
  /** The records as they are, or will be, in the log: position and time are final. */
  readonly records: readonly LogRecord[];
  /** Resolves when all of them are durable; rejects with LogReadOnly when they never will be. */
  readonly durable: Promise<void>;
}

/** Where a batch of records was read. */
export interface RecordOrigin {
  /** File name within the log directory. */
  readonly segment: string;
  /** The release that wrote the segment, for example `stratalog 0.1.0`. */
  readonly writtenBy: string;
}

/** Who this log is. Kept in `identity.json` and repeated in every segment's header. */
export interface LogIdentity {
  readonly uuid: string;
  readonly created: UnixNanos;
  readonly formatVersion: number;
  /** Rises with every cut or repair, so that a truncation stays visible for ever. */
  readonly epoch: number;
}

/** A projection as it was after all records before `position`. Lines are owned by the writer of it. */
export interface CheckpointToWrite {
  /** The first position that is *not* contained. Must not be beyond what is durable. */
  readonly position: Position;
  /** JSON texts, one a line, without newlines. Consumed in slices so that the event loop breathes. */
  readonly lines: Iterable<string>;
}

/** One write and sync: how many records it made durable, and how long it took. */
export interface SyncGroup {
  readonly events: number;
  readonly seconds: number;
}

/** Which segments are old: those to which nothing was written since. */
export interface RetiredAge {
  readonly writtenBefore: UnixNanos;
  /** What is later than this in the log is known to be wrong (segment-age.ts). */
  readonly now: UnixNanos;
}

export interface EventLog {
  readonly identity: LogIdentity;
  /** The position the next appended record gets. */
  readonly nextPosition: Position;
  /** All records before this position are durable. */
  readonly durablePosition: Position;

  /**
   * Appends all events as one unit, in order, or none.
   *
   * `sync: true` starts (or joins) a sync group; `sync: false` only queues: the records are
   * written, in order, with the next group (used for intents that no client has seen).
   * Throws WrongExpectedVersion, or LogReadOnly once a write or sync has failed.
   */
  append(events: readonly EventToAppend[], options: { readonly sync: boolean }): Appended;

  /** Makes durable what is queued. Rejects with LogReadOnly. */
  flush(): Promise<void>;

  /**
   * Null while there is room for whatever may come. Once the next segment could not be prepared,
   * it is tried again, and the promise rejects with LogShortOfRoom when that fails too: what is
   * left of this segment is then for those who make room, and everybody else should not append.
   * Throws LogReadOnly once a write or sync has failed.
   */
  roomToGrow(): Promise<void> | null;

  /** Durable records in order, one batch a sync group, emitted before `durable` resolves. */
  readonly durableBatches: Observable<readonly LogRecord[]>;

  /** Tells of each sync group after it; for metrics. */
  readonly syncGroups: Observable<SyncGroup>;

  /** A segment was filled, and will not change any more. */
  readonly sealed: Observable<void>;

  /** Emits once, when a write or sync has failed and the log is read-only from now on. */
  readonly failures: Observable<Error>;

  /** Writes a checkpoint aside, renames it, and drops those that are not kept for history. */
  writeCheckpoint(checkpoint: CheckpointToWrite): Promise<void>;

  /** Positions of the checkpoints that are kept, oldest first. */
  checkpoints(): Promise<readonly Position[]>;

  /**
   * Drops sealed segments that lie wholly below `position`, which must itself be covered by a
   * checkpoint; with `age`, only those that are old enough. Answers the file names that were dropped.
   */
  retire(before: Position, age?: RetiredAge): Promise<readonly string[]>;

  /** When the segments that begin below a position were begun, as their headers have it, newest first. */
  begunTimes(below: Position): AsyncGenerator<UnixNanos, void, undefined>;

  /** Writes and syncs what is queued, then releases the lock. */
  close(): Promise<void>;
}

/** What a startup cut from the log's torn end. */
export interface CutTail {
  readonly segment: string;
  readonly offset: number;
  /** The first position that was cut; the next append gets it. */
  readonly position: Position;
  readonly bytes: number;
  /** File name, within the log directory, of the copy of what was cut. */
  readonly savedAs: string;
}
