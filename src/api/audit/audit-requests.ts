/**
 * What an auditor may ask: the requests of stratalog.audit.v1 checked against the end of the log,
 * and made into wishes in our own types. Pure; a request that cannot be meant is refused with the
 * field's name and what is wrong with it.
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

/** What cannot be read comes out as a request that `unreadable` knows. */
export const strictAuditService = strictService(AuditService, auditShapes);

/**
 * Streams go at the pace of their readers, which may be none: a drain does not wait for them. All
 * can be asked for again from where they stopped.
 */
export const auditSubscriptions: readonly string[] = [
  AuditService.subscribe.path,
  AuditService.read.path,
  AuditService.history.path,
  AuditService.stateAt.path,
];

/** Whether a method of the service answers with such a stream. */
export function isAuditStream(method: string): boolean {
  return auditSubscriptions.includes(AuditService[method as keyof typeof AuditService].path);
}

/** Which events are wanted, of those in a range. */
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
/** The log's own rule for streams and types. */
const NAME = /^[\x21-\x7e]{1,255}$/;

export function readQuery(request: ReadRequest, end: Position): Checked<ReadOptions> {
  const from = positionOf('from', request.from ?? 0n);
  if (!from.ok) return from;
  const to = positionOf('to', request.to ?? BigInt(end));
  if (!to.ok) return to;
  if (from.value > end) return beyond('from', from.value, end);
  if (to.value < from.value) {
    return invalid(`to: ${to.value} comes before from, which is ${from.value}`);
  }
  const filter = filterOf(request);
  if (!filter.ok) return filter;
  const { reverse } = request;
  const last = position(Math.min(to.value, end));
  return { ok: true, value: { ...filter.value, from: from.value, to: last, reverse } };
}

/** `uuid` is that of the log that is served. */
export function subscribeQuery(
  request: SubscribeRequest,
  end: Position,
  uuid: string,
): Checked<SubscribeQuery> {
  const from = positionOf('from', request.from);
  if (!from.ok) return from;
  if (request.uuid !== '' && request.uuid !== uuid) {
    const why = `uuid: this is the log ${uuid}, not ${shown(request.uuid)}: its positions are others. Begin at 0`;
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
  if (id.value === 0) return invalid('snapshot_id: ids of snapshots begin at 1');
  return { ok: true, value: snapshotId(id.value) };
}

export function stateAtQuery(request: StateAtRequest, end: Position): Checked<Position> {
  const at = positionOf('position', request.position ?? BigInt(end));
  if (at.ok && at.value > end) return beyond('position', at.value, end);
  return at;
}

export function positionAtQuery({ time }: PositionAtRequest): Checked<UnixNanos> {
  if (time === undefined) return invalid('time: it is missing');
  if (time.nanos < 0 || time.nanos > 999_999_999) {
    return invalid(`time: nanos must be from 0 to 999999999, and are ${time.nanos}`);
  }
  return { ok: true, value: fromTimestamp(time) };
}

export function findQuery({ text: wanted }: FindRequest): Checked<string> {
  if (wanted === '') return invalid('text: it is empty');
  const bytes = Buffer.byteLength(wanted);
  if (bytes > FIND_BYTES_MAX) {
    return invalid(`text: it has ${bytes} bytes (limit ${FIND_BYTES_MAX})`);
  }
  return { ok: true, value: wanted };
}

function filterOf(request: {
  readonly stream: string;
  readonly types: readonly string[];
}): Checked<EventFilter> {
  const { stream, types } = request;
  if (stream !== '' && !NAME.test(stream)) {
    return invalid(`stream: ${shown(stream)} is no stream's name; they are daemon and snapshot-ID`);
  }
  if (types.length > TYPES_MAX) {
    return invalid(`types: ${types.length} of them (limit ${TYPES_MAX})`);
  }
  const wrong = types.find((type) => !NAME.test(type));
  if (wrong !== undefined) return invalid(`types: ${shown(wrong)} is no event's name`);
  return {
    ok: true,
    value: {
      ...(stream === '' ? {} : { stream }),
      types: types.length === 0 ? null : new Set(types),
    },
  };
}

/** Negative numbers of a client arrive as very great ones. */
function positionOf(field: string, value: bigint): Checked<Position> {
  if (value <= BigInt(Number.MAX_SAFE_INTEGER)) return { ok: true, value: position(Number(value)) };
  return invalid(`${field}: ${value} is beyond 2^53 - 1, the greatest that there can be`);
}

const invalid = (why: string) =>
  refuse<CallStatus>({ code: status.INVALID_ARGUMENT, details: `${why}: invalid argument` });

const beyond = (field: string, at: number, end: number) =>
  refuse<CallStatus>({
    code: status.OUT_OF_RANGE,
    details: `${field}: the log ends at position ${end}: ${at} does not exist yet`,
  });

/** A stranger's text in a message: short, and in quotes. */
const shown = (given: string): string =>
  JSON.stringify(given.length > 80 ? `${given.slice(0, 80)}…` : given);
