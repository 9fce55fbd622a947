/**
 * Validates the requests of stratalog.audit.v1 against the end of the log and converts them to
 * queries. Pure. An error names the field.
 */
import { status } from '@grpc/grpc-js';
import { refuse, type Result } from '../../base/result.js';
import {
  position,
  snapshotId,
  type Position,
  type SnapshotId,
  type UnixNanos,
} from '../../base/units.js';
import {
  AuditService,
  type FindRequest,
  type HistoryRequest,
  type PositionAtRequest,
  type ReadRequest,
  type StateAtRequest,
  type SubscribeRequest,
} from '../generated/stratalog/audit/v1/audit.js';
import type { CallStatus } from '../grpc/status.js';
import { shape, strictService, text, type MessageShape } from '../grpc/strict-requests.js';
import { fromTimestamp } from '../grpc/timestamps.js';

/** By method, for strict-requests.ts. */
export const auditShapes: Readonly<Record<keyof typeof AuditService, MessageShape>> = {
  getLog: shape(),
  read: shape([3, text('stream')], [4, text('types')]),
  subscribe: shape([2, text('stream')], [3, text('types')], [4, text('uuid')]),
  history: shape(),
  stateAt: shape(),
  positionAt: shape([1, { name: 'time', fields: shape() }]),
  find: shape([1, text('text')]),
};

/** Handlers must check each request with `unreadable`. */
export const strictAuditService = strictService(AuditService, auditShapes);

/**
 * A drain does not wait for streams, because their readers may be slow. A client can resume each
 * where it stopped.
 */
export const auditSubscriptions: readonly string[] = [
  AuditService.subscribe.path,
  AuditService.read.path,
  AuditService.history.path,
  AuditService.stateAt.path,
];

/** Whether a method of the service returns a stream. */
export function isAuditStream(method: string): boolean {
  return auditSubscriptions.includes(AuditService[method as keyof typeof AuditService].path);
}

export interface EventFilter {
  readonly stream?: string;
  /** Null: all. */
  readonly types: ReadonlySet<string> | null;
}

export interface ReadOptions extends EventFilter {
  readonly from: Position;
  readonly to: Position;
  readonly reverse: boolean;
}

export interface SubscribeQuery extends EventFilter {
  readonly from: Position;
}

export type Checked<Query> = Result<Query, CallStatus>;

const TYPES_MAX = 64;
/** As long as the names of snapshots. */
const FIND_BYTES_MAX = 32_768;
/** The log's rule for names of streams and types. */
const NAME = /^[\x21-\x7e]{1,255}$/;

export function readQuery(request: ReadRequest, end: Position): Checked<ReadOptions> {
  const from = positionOf('from', request.from ?? 0n);
  if (!from.ok) return from;
  const to = positionOf('to', request.to ?? BigInt(end));
  if (!to.ok) return to;
  if (from.value > end) return beyond('from', from.value, end);
  if (to.value < from.value) {
    return invalid(`to: ${to.value} is less than from (${from.value})`);
  }
  const filter = filterOf(request);
  if (!filter.ok) return filter;
  const { reverse } = request;
  const last = position(Math.min(to.value, end));
  return { ok: true, value: { ...filter.value, from: from.value, to: last, reverse } };
}

/** @param uuid of the log that is served */
export function subscribeQuery(
  request: SubscribeRequest,
  end: Position,
  uuid: string,
): Checked<SubscribeQuery> {
  const from = positionOf('from', request.from);
  if (!from.ok) return from;
  if (request.uuid !== '' && request.uuid !== uuid) {
    const why = `uuid: this is log ${uuid}, not ${quoted(request.uuid)}, so positions differ; subscribe from 0`;
    return refuse({ code: status.FAILED_PRECONDITION, details: why });
  }
  if (from.value > end) return beyond('from', from.value, end);
  const filter = filterOf(request);
  if (!filter.ok) return filter;
  return { ok: true, value: { ...filter.value, from: from.value } };
}

export function historyQuery(request: HistoryRequest): Checked<SnapshotId> {
  const id = positionOf('snapshot_id', request.snapshotId);
  if (!id.ok) return id;
  if (id.value === 0) return invalid('snapshot_id: must be at least 1');
  return { ok: true, value: snapshotId(id.value) };
}

export function stateAtQuery(request: StateAtRequest, end: Position): Checked<Position> {
  const at = positionOf('position', request.position ?? BigInt(end));
  if (at.ok && at.value > end) return beyond('position', at.value, end);
  return at;
}

export function positionAtQuery({ time }: PositionAtRequest): Checked<UnixNanos> {
  if (time === undefined) return invalid('time: required');
  if (time.nanos < 0 || time.nanos > 999_999_999) {
    return invalid(`time: nanos must be from 0 to 999999999, got ${time.nanos}`);
  }
  return { ok: true, value: fromTimestamp(time) };
}

export function findQuery({ text: query }: FindRequest): Checked<string> {
  if (query === '') return invalid('text: must not be empty');
  const bytes = Buffer.byteLength(query);
  if (bytes > FIND_BYTES_MAX) {
    return invalid(`text: ${bytes} bytes (limit ${FIND_BYTES_MAX})`);
  }
  return { ok: true, value: query };
}

function filterOf(request: {
  readonly stream: string;
  readonly types: readonly string[];
}): Checked<EventFilter> {
  const { stream, types } = request;
  if (stream !== '' && !NAME.test(stream)) {
    return invalid(
      `stream: ${quoted(stream)} is not a stream name; use daemon or snapshot-ID, such as snapshot-42`,
    );
  }
  if (types.length > TYPES_MAX) {
    return invalid(`types: ${types.length} names (limit ${TYPES_MAX})`);
  }
  const wrong = types.find((type) => !NAME.test(type));
  if (wrong !== undefined) return invalid(`types: ${quoted(wrong)} is not an event type`);
  return {
    ok: true,
    value: {
      ...(stream === '' ? {} : { stream }),
      types: types.length === 0 ? null : new Set(types),
    },
  };
}

/** A client's negative number arrives as a very large one. */
function positionOf(field: string, value: bigint): Checked<Position> {
  if (value <= BigInt(Number.MAX_SAFE_INTEGER)) return { ok: true, value: position(Number(value)) };
  return invalid(`${field}: ${value} exceeds the maximum of 2^53 - 1`);
}

const invalid = (why: string) =>
  refuse<CallStatus>({ code: status.INVALID_ARGUMENT, details: `${why}: invalid argument` });

const beyond = (field: string, at: number, end: number) =>
  refuse<CallStatus>({
    code: status.OUT_OF_RANGE,
    details: `${field}: the log ends at position ${end}: ${at} does not exist yet`,
  });

/** Untrusted text for a message, quoted and shortened. */
const quoted = (given: string): string =>
  JSON.stringify(given.length > 80 ? `${given.slice(0, 80)}…` : given);
