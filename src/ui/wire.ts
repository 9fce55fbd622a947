/**
 * What the server of the page and the page in the browser say to each other: types only, so that
 * both sides are held to the same words and neither loads the other.
 */

/** Any answer that is not what was asked for. */
export interface Failure {
  /** A sentence for a person. */
  readonly error: string;
  /** Where the log is damaged; null when something else is wrong. */
  readonly position: number | null;
}

export interface BoundsReply {
  /** The root, or the socket of the daemon. */
  readonly source: string;
  readonly release: string;
  readonly uuid: string | null;
  readonly epoch: number | null;
  readonly first: number;
  readonly next: number;
  /** Set where the log cannot be read to its end: `next` is where it stops. */
  readonly failure: Failure | null;
}

/** Something on the time line that is worth a look of its own. */
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
  /** Positions in a bucket. */
  readonly width: number;
  readonly groups: readonly string[];
  /** For each bucket, the events of each group. */
  readonly buckets: readonly (readonly number[])[];
  /** For each bucket, when its first event was, in milliseconds since 1970. */
  readonly millis: readonly number[];
  readonly marks: readonly Mark[];
  /** Marks that were left out, the oldest first. */
  readonly marksOmitted: number;
  readonly failure: Failure | null;
}

/** id, parent's id or 0, index into `statuses`, kind, name, bytes or -1, created in milliseconds. */
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
  /** RFC 3339, of the last event before the position; null where there is none. */
  readonly time: string | null;
  readonly statuses: readonly string[];
  /** `changes`: only what differs from the state at the position that was given with `from`. */
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
  /** Who asked, in words; empty when nobody did. */
  readonly caller: string;
}

export interface FactsReply {
  readonly status: string;
  readonly name: string;
  readonly kind: 'active' | 'view';
  /** What a client is told it is; null when it is told nothing. */
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
  /** As it was at the position asked for; null when it was not there. */
  readonly facts: FactsReply | null;
  /** All steps that are kept, also those behind the position. */
  readonly steps: readonly StepRow[];
  /** Steps that were left out, the oldest first. */
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
  /** The snapshot it is about; null when it is about something else. */
  readonly snapshot: number | null;
}

export interface FindingsReply {
  /** Null where nobody can know: directories and mounts are not looked at through a socket. */
  readonly findings: readonly FindingRow[] | null;
}

/** One message of the live stream. */
export interface LiveMessage {
  /** The position the next event gets. */
  readonly next: number;
  readonly count: number;
  /** The newest of them. */
  readonly events: readonly EventRow[];
}
