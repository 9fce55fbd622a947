/**
 * Queries on the past of a log, for auditors, operators and the page. The results depend only on
 * the log, so they are the same for a running daemon, a stopped root, and a copy on another
 * machine. `root-archive.ts` reads the files; the client of a daemon's socket uses gRPC.
 *
 * Positions are those of the log. *The state at P* is the result of all records before P: the state
 * at 0 is empty, and the state at `next` is the current one.
 */
import type { Position, SnapshotId, UnixNanos } from '../../base/units.js';
import type { LogRecord } from '../../log/types.js';
import type { Forest } from '../../machines/snapshots/forest.js';

export interface LogBounds {
  /** Null if unknown, as for a part of a log without its identity. */
  readonly uuid: string | null;
  readonly epoch: number | null;
  /** The first retained record. */
  readonly first: Position;
  /** Position of the next record. */
  readonly next: Position;
}

export interface ArchiveRange {
  /** First position; default: the first retained record. */
  readonly from?: Position;
  /** Position after the last one; default: the end of the log. */
  readonly to?: Position;
  readonly stream?: string;
  /** From `to` down to `from`. */
  readonly reverse?: boolean;
}

/** Part of a snapshot's history; default: all that is retained. */
export type LifeRange = Pick<ArchiveRange, 'from' | 'to'>;

/** The snapshots at a position. */
export interface PastState {
  readonly position: Position;
  /** Of the last record before the position; null if there is none or it is unknown. */
  readonly time: UnixNanos | null;
  /** Owned by the caller, who may apply later records to it. */
  readonly forest: Forest;
}

/**
 * All methods fail with LogDamaged, LogTooNew, EventNotUnderstood or HostFault. Records before the
 * fault are yielded first.
 */
export interface Archive {
  bounds(): Promise<LogBounds>;

  /** Yields records in order, in batches, up to the current end of the log. */
  read(range?: ArchiveRange): AsyncGenerator<readonly LogRecord[], void, undefined>;

  /** Yields past records, then each new one soon after it is durable, until the signal aborts. */
  follow(
    from: Position,
    signal: AbortSignal,
  ): AsyncGenerator<readonly LogRecord[], void, undefined>;

  /** Fails with MomentUnknown if the position is not retained or is after the end. */
  stateAt(position: Position): Promise<PastState>;

  /**
   * All events of one snapshot, oldest first; empty if the log never had it or its events are
   * retired.
   */
  historyOf(id: SnapshotId, range?: LifeRange): Promise<readonly LogRecord[]>;

  /** The same for several snapshots with one read. Omits those without events. */
  historiesOf(
    ids: readonly SnapshotId[],
    range?: LifeRange,
  ): Promise<ReadonlyMap<SnapshotId, readonly LogRecord[]>>;

  /** All snapshots that ever had this parent, oldest first. `range` must cover its whole life. */
  childrenOf(id: SnapshotId, range: LifeRange): Promise<readonly SnapshotId[]>;

  /**
   * The position after the last record with this time or an earlier one. If the clock was set back,
   * that includes records after ones with later times.
   */
  positionAt(time: UnixNanos): Promise<Position>;

  /** A position at or before the first record with this time or a later one: where to begin to read. */
  noneBefore(time: UnixNanos): Promise<Position>;

  /**
   * Snapshots that ever had this key, name or chain ID, oldest first: whole, without containerd's
   * `<namespace>/<number>/`, or without the algorithm of a digest. If there is none, those with a
   * name that begins with the text (`fitOf`).
   */
  find(text: string): Promise<readonly SnapshotId[]>;
}

/** The log has no state for the requested moment. */
export class MomentUnknown extends Error {
  override readonly name = 'MomentUnknown';
}
