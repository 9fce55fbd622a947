/**
 * What can be wrong with a log or its root. All of these stop an open before anything is changed.
 * Each message says what was found, where, and what to do next.
 */
import type { Position } from '../base/units.js';

/** Where in the log something is wrong. */
export interface LogPlace {
  /** File name within the log directory. */
  readonly segment: string;
  /** Bytes from the start of that file. */
  readonly offset: number;
  /** The first position that cannot be read, or the one the finding is about. */
  readonly position: Position;
}

/** Acknowledged records are missing, changed, or not ours. Never cut, never skipped. */
export class LogDamaged extends Error {
  override readonly name = 'LogDamaged';
  readonly segment: string;
  readonly offset: number;
  readonly position: Position;
  readonly found: string;

  constructor(place: LogPlace, found: string, options?: ErrorOptions) {
    super(
      `the log is damaged at position ${place.position} (${place.segment}, offset ${place.offset}): ` +
        `${found}. Nothing was changed. Run \`stratalog verify\` for the extent, and see docs/recovery.md`,
      options,
    );
    this.segment = place.segment;
    this.offset = place.offset;
    this.position = place.position;
    this.found = found;
  }
}

/** The log was written by a release that this program is too old to read. */
export class LogTooNew extends Error {
  override readonly name = 'LogTooNew';
  readonly what: string;
  /** The release string of the writer, for example `stratalog 2.0.0`. */
  readonly writtenBy: string;

  constructor(what: string, writtenBy: string) {
    super(
      `${what} was written by ${writtenBy} and cannot be read by this release. ` +
        `Run ${writtenBy} or a later release`,
    );
    this.what = what;
    this.writtenBy = writtenBy;
  }
}

/** The root is not one that this program may write to. */
export class RootRefused extends Error {
  override readonly name = 'RootRefused';
  readonly root: string;
  readonly reason: RootRefusal;

  constructor(root: string, reason: RootRefusal, message: string, options?: ErrorOptions) {
    super(`${root}: ${message}`, options);
    this.root = root;
    this.reason = reason;
  }
}

export type RootRefusal =
  /** An identity was expected (`expectExisting`), and there is none. */
  | 'not-initialised'
  /** Segments or snapshot directories without an identity, or snapshots without a log. */
  | 'log-missing'
  /** The root, or its `log/` or `snapshots/`, is on another file system than before. */
  | 'file-system-changed'
  /** `log/` or `snapshots/` was a mount of its own, and nothing is mounted there. */
  | 'file-system-missing'
  /** `identity.json` cannot be read, or is older than the log. */
  | 'identity-damaged'
  /** Something that is no regular file has the name of the lock. */
  | 'lock-unusable'
  /** Early segments were retired, and no checkpoint that covers them is usable. */
  | 'no-usable-checkpoint';

/** Another process has the root open for writing. */
export class RootLocked extends Error {
  override readonly name = 'RootLocked';
  readonly root: string;
  /** Null when the holder has not yet written who it is. */
  readonly pid: number | null;
  readonly startedAt: string | null;

  constructor(root: string, holder: { readonly pid: number; readonly startedAt: string } | null) {
    const who = holder
      ? `process ${holder.pid}, started ${holder.startedAt}`
      : 'another process (it has not yet written its number)';
    super(
      `${root} is in use by ${who}. Only one writer may have it open; ` +
        'stop that one first, or use the commands that only read',
    );
    this.root = root;
    this.pid = holder?.pid ?? null;
    this.startedAt = holder?.startedAt ?? null;
  }
}

/** Another append to the stream came first. Nothing was appended. */
export class WrongExpectedVersion extends Error {
  override readonly name = 'WrongExpectedVersion';
  readonly stream: string;
  readonly expected: number;
  readonly actual: number;

  constructor(stream: string, expected: number, actual: number) {
    super(`stream ${stream}: expected to write version ${expected}, but the next is ${actual}`);
    this.stream = stream;
    this.expected = expected;
    this.actual = actual;
  }
}

/**
 * Thrown by an `onCheckpoint` callback that cannot use this checkpoint (its own lines are of an
 * older shape). The open then goes on with an older checkpoint, or replays from the start; the
 * callback must have left its own state empty.
 */
export class CheckpointUnusable extends Error {
  override readonly name = 'CheckpointUnusable';
}
