/**
 * `stratalog/audit`: a client for the log of a running daemon, and its types. It needs access to
 * the socket, but no root directory and no native module.
 */
export { AuditArchive, AuditFailed } from './audit/client/remote-archive.js';
export type { AuditRange, Followed, SubscribeOptions } from './audit/client/remote-archive.js';
export { position, snapshotId, unixNanos, formatTime } from '../base/units.js';
export type { Position, SnapshotId, StreamVersion, UnixNanos } from '../base/units.js';
export { MomentUnknown } from '../inspect/archive/archive.js';
export type { Archive, ArchiveRange, LogBounds, PastState } from '../inspect/archive/archive.js';
export { LogDamaged, LogTooNew } from '../log/errors.js';
export type { EventBody, LogRecord } from '../log/types.js';
export { EventNotUnderstood } from '../machines/events/streams.js';
export type { Forest } from '../machines/snapshots/forest.js';
export type { SnapshotState } from '../machines/fold.js';
