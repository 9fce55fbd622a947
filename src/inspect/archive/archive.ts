/**
 * What can be asked of a log by those who look at the past: auditors, operators, the page. The
 * answers come from the log alone, so they are the same beside a daemon, of a stopped root, and
 * of a copy on another machine. `root-archive.ts` answers from files; a client of a daemon's
 * socket answers the same questions over gRPC.
 *
 * Positions are those of the log. *The state at P* is what all records before P lead to; so the
 * state at 0 is empty, and the state at `next` is what the log says now.
 */
import type { Position, SnapshotId, UnixNanos } from '../../base/units.js';
import type { LogRecord } from '../../log/types.js';
import type { Forest } from '../../machines/snapshots/forest.js';

export interface LogBounds {
  /** Null where nobody knows, as in a piece of a log without its identity. */
  readonly uuid: string | null;
  readonly epoch: number | null;
  /** The first record that is kept. */
  readonly first: Position;
  /** The position the next record gets. */
  readonly next: Position;
}

export interface ArchiveRange {
  /** First position; the first record that is kept by default. */
  readonly from?: Position;
  /** First position that is not read; the end of the log by default. */
  readonly to?: Position;
  readonly stream?: string;
  /** From `to` down to `from`. */
  readonly reverse?: boolean;
}

/** Which part of a life is asked for; all that is kept of it by default. */
export type LifeRange = Pick<ArchiveRange, 'from' | 'to'>;

/** The snapshots as they were at a position. */
export interface PastState {
  readonly position: Position;
  /** Of the last record before the position; null where that is not known, or where none is. */
  readonly time: UnixNanos | null;
  /** Nobody else's: it may be moved on by later records. */
  readonly forest: Forest;
}

/**
 * All methods fail with LogDamaged, LogTooNew, EventNotUnderstood or HostFault; records before
 * the place that is wrong were handed out.
 */
export interface Archive {
  bounds(): Promise<LogBounds>;

  /** Records in order, a batch at a time. Ends at the end of what is there. */
  read(range?: ArchiveRange): AsyncGenerator<readonly LogRecord[], void, undefined>;

  /** Past records, then each new one soon after it is durable, until the signal. */
  follow(
    from: Position,
    signal: AbortSignal,
  ): AsyncGenerator<readonly LogRecord[], void, undefined>;

  /** Fails with MomentUnknown when the position is not within what is kept, or beyond the end. */
  stateAt(position: Position): Promise<PastState>;

  /**
   * All events of one snapshot, oldest first; none when the log never had it, or when they are
   * retired.
   */
  historyOf(id: SnapshotId, range?: LifeRange): Promise<readonly LogRecord[]>;

  /** The same of several, for which one reading may do. Those without any event are left out. */
  historiesOf(
    ids: readonly SnapshotId[],
    range?: LifeRange,
  ): Promise<ReadonlyMap<SnapshotId, readonly LogRecord[]>>;

  /** Snapshots that ever stood on this one, oldest first. `range` has all of its life. */
  childrenOf(id: SnapshotId, range: LifeRange): Promise<readonly SnapshotId[]>;

  /**
   * The position behind the last record that is not younger. The clock of a machine may have
   * stepped back: then later records with earlier times are before it too.
   */
  positionAt(time: UnixNanos): Promise<Position>;

  /** A position at or before the first record that is not older; a hint where to begin to read. */
  noneBefore(time: UnixNanos): Promise<Position>;

  /**
   * Snapshots that ever had this key, name or chain id, oldest first: whole, without containerd's
   * `<namespace>/<number>/`, or without the algorithm of a digest. Where there is none, those whose
   * name begins so (`fitOf`).
   */
  find(text: string): Promise<readonly SnapshotId[]>;
}

/** A moment that the log cannot tell of. */
export class MomentUnknown extends Error {
  override readonly name = 'MomentUnknown';
}
