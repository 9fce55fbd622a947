/** What verifying a log can find. Values only, for tools to print or to send on. */
import type { Position } from '../../base/units.js';
import type { HeaderFaultKind } from '../read/segment-list.js';

export type LogFindingKind =
  | HeaderFaultKind
  /** Bytes that are no whole record, in place of acknowledged records. */
  | 'record-damaged'
  /** A whole record with another position than its place asks for. */
  | 'position-wrong'
  /** A whole record, or a segment, that does not continue the hash chain: it was changed. */
  | 'chain-broken'
  /**
   * The records of a sealed segment fit together and are not those that the log, later on, says
   * were checked: the segment was rewritten, hash chain and all, up to the end of the log.
   */
  | 'sum-disagrees'
  /** A record's body or flags cannot be understood though its checksum holds. */
  | 'body-unusable'
  /** A stream's versions have a gap or a double. */
  | 'stream-version-wrong'
  /** A sealed segment ends before the next one begins. */
  | 'segment-short'
  /** Bytes after the last record of a sealed segment. No record is concerned. */
  | 'stray-bytes'
  /** The end of the newest segment is not whole; a start cuts it and keeps it aside. */
  | 'torn-tail'
  | 'checkpoint-unusable'
  /** A segment's index that cannot be used: the segment is read instead, and a start makes it anew. */
  | 'index-unusable'
  /** A sound checkpoint of records that the log does not have. */
  | 'checkpoint-disagrees'
  /** Early segments were retired, and no checkpoint covers them: the log cannot be started. */
  | 'checkpoint-missing'
  | 'identity-missing'
  /** Snapshots have directories, and there is not one segment. */
  | 'log-missing'
  /** `identity.json` exists and cannot be understood. */
  | 'identity-damaged'
  /** What an earlier cut kept aside, or an interrupted preparation left; for information. */
  | 'left-over'
  /** A name in the log directory that this program never gives; for information. */
  | 'strange-file'
  /** A record's time is before that of the one before it; for information. */
  | 'time-stepped-back';

export type LogFindingSeverity =
  /** Something acknowledged is lost or changed; the log does not open for writing. */
  | 'damage'
  /** Not as it should be, but nothing acknowledged is concerned: the log opens. */
  | 'warning'
  | 'info';

export interface LogFinding {
  readonly kind: LogFindingKind;
  readonly severity: LogFindingSeverity;
  /** File name within the log directory, or `identity.json`. */
  readonly segment: string;
  /** Bytes from the start of that file. */
  readonly offset: number;
  /** The first position that is concerned. */
  readonly position: Position;
  readonly detail: string;
}

export interface VerifySummary {
  readonly kind: 'summary';
  /** First position that is kept. */
  readonly from: Position;
  /** Everything from `from` up to here, exclusive, is sound and continues one chain. */
  readonly verifiedTo: Position;
  /** Chain hash of the record before `verifiedTo`, in hex; zeros at position 0. */
  readonly chain: string;
  /** Whole records that were read, also those after damage. */
  readonly records: number;
  /** Bytes of these records and of the segment headers. */
  readonly bytes: number;
  readonly segments: number;
  /** Of these, sealed segments that were not checked record by record: their sums vouch for them. */
  readonly vouched: number;
  readonly damage: number;
  readonly warnings: number;
}

export type VerifyItem = LogFinding | VerifySummary;

/** How grave each kind is; a name for each, so that a new kind cannot be forgotten here. */
export const SEVERITY: Readonly<Record<LogFindingKind, LogFindingSeverity>> = {
  'header-damaged': 'damage',
  'segment-misnamed': 'damage',
  'segment-foreign': 'damage',
  'segment-missing': 'damage',
  'epoch-wrong': 'damage',
  'record-damaged': 'damage',
  'position-wrong': 'damage',
  'chain-broken': 'damage',
  'sum-disagrees': 'damage',
  'body-unusable': 'damage',
  'stream-version-wrong': 'damage',
  'segment-short': 'damage',
  'stray-bytes': 'warning',
  'torn-tail': 'warning',
  'checkpoint-unusable': 'warning',
  'index-unusable': 'warning',
  'checkpoint-disagrees': 'damage',
  'checkpoint-missing': 'damage',
  'identity-missing': 'warning',
  'log-missing': 'damage',
  'identity-damaged': 'damage',
  'left-over': 'info',
  'strange-file': 'info',
  'time-stepped-back': 'info',
};
