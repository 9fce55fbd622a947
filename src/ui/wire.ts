/**
 * The messages between the server and the page in the browser. Types only, so that both sides share
 * them and neither loads the other.
 */

/** The body of every error response. */
export interface Failure {
  /** For the user. */
  readonly error: string;
  /** Position of the damage; null for other errors. */
  readonly position: number | null;
}

export interface BoundsReply {
  /** The root or the socket of the daemon. */
  readonly source: string;
  readonly release: string;
  readonly uuid: string | null;
  readonly epoch: number | null;
  readonly first: number;
  readonly next: number;
  /** Set if the log cannot be read to its end: `next` is then the end of the readable part. */
  readonly failure: Failure | null;
}

/** An event that is marked on the time line. */
export interface Mark {
  readonly position: number;
  /** Milliseconds since 1970. */
  readonly millis: number;
  readonly type: string;
  readonly summary: string;
  readonly isWarning: boolean;
}

export interface TimeLineReply {
  /** First position of the first bucket. */
  readonly first: number;
  /** First position that is not counted yet. */
  readonly scannedTo: number;
  readonly isDone: boolean;
  /** Positions per bucket. */
  readonly width: number;
  readonly groups: readonly string[];
  /** Events per bucket and group. */
  readonly buckets: readonly (readonly number[])[];
  /** Time of the first event per bucket, in milliseconds since 1970. */
  readonly millis: readonly number[];
  readonly marks: readonly Mark[];
  /** Number of omitted marks, which are the oldest. */
  readonly marksOmitted: number;
  readonly failure: Failure | null;
}

/** Id, parent id or 0, index into `statuses`, kind, name, bytes or -1, creation time in ms. */
export type SnapshotRow = readonly [
  id: number,
  parent: number,
  status: number,
  kind: 'active' | 'view',
  name: string,
  bytes: number,
  createdMillis: number,
];

export interface StateReply {
  readonly position: number;
  /** Time of the last event before the position, RFC 3339; null if there is none. */
  readonly time: string | null;
  readonly statuses: readonly string[];
  /** `changes`: only the differences from the state at the requested `from`. */
  readonly extent: 'all' | 'changes';
  readonly rows: readonly SnapshotRow[];
  readonly gone: readonly number[];
}

export interface EventRow {
  readonly position: number;
  readonly time: string;
  readonly stream: string;
  readonly type: string;
  readonly summary: string;
  readonly isWarning: boolean;
}

export interface StepRow extends EventRow {
  readonly from: string;
  readonly to: string;
  /** Id of the arrow in the chart. */
  readonly arrow: string | null;
  /** The caller as text; empty if there is none. */
  readonly caller: string;
}

export interface FactsReply {
  readonly status: string;
  readonly name: string;
  readonly kind: 'active' | 'view';
  /** The kind that clients see; null if it is not visible. */
  readonly shownAs: string | null;
  readonly parent: { readonly id: number; readonly name: string } | null;
  readonly target: string | null;
  readonly remote: string | null;
  readonly bytes: number | null;
  readonly inodes: number | null;
  readonly created: string;
  readonly updated: string;
  readonly unavailable: string | null;
  readonly labels: readonly (readonly [string, string])[];
}

export interface LifeReply {
  readonly id: number;
  /** The snapshot at the requested position; null if it did not exist. */
  readonly facts: FactsReply | null;
  /** All retained steps, including those after the position. */
  readonly steps: readonly StepRow[];
  /** Number of omitted steps, which are the oldest. */
  readonly omitted: number;
}

export interface EventsReply {
  readonly events: readonly EventRow[];
}

export interface FindingRow {
  readonly kind: string;
  readonly subject: string;
  readonly evidence: string;
  readonly action: string;
  readonly isOrdinary: boolean;
  /** Id of the snapshot concerned; null for none. */
  readonly snapshot: number | null;
}

export interface FindingsReply {
  /** Null if not available: the socket gives no access to directories and mounts. */
  readonly findings: readonly FindingRow[] | null;
}

/** One message of the live stream. */
export interface LiveMessage {
  /** Position of the next event. */
  readonly next: number;
  readonly count: number;
  /** The newest ones. */
  readonly events: readonly EventRow[];
}
