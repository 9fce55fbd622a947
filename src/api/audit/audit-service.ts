/**
 * stratalog.audit.v1: read-only access to the log of this daemon, from the files of its root up to
 * the durable position and from memory for the newest events. Requests are validated in
 * audit-requests.ts, subscriptions are in audit-feed.ts, flow control is in audit-sending.ts, and
 * CPU-bound queries are in audit-queries.ts.
 */
import { orLate } from '../../base/abort.js';
import { position, type Position, type SnapshotId } from '../../base/units.js';
import { streamOf } from '../../machines/events/streams.js';
import { CHECKPOINT_SCHEMA } from '../../machines/snapshots/state-json.js';
import { feedOf } from './audit-feed.js';
import { Slots } from './audit-slots.js';
import type { SlowQueries, StateText } from './audit-queries.js';
import { durableBatches } from './audit-reading.js';
import { RecentEvents, type DurableLog } from './audit-recent.js';
import {
  findQuery,
  historyQuery,
  positionAtQuery,
  readQuery,
  stateAtQuery,
  subscribeQuery,
  type Checked,
  type ReadOptions,
} from './audit-requests.js';
import { streamAudit, unaryAudit } from './audit-sending.js';
import { inTurns, type ReadableLog } from './audit-turns.js';
import { inMessages } from './audit-wire.js';
import {
  type AuditServer,
  type Event,
  type StateAtResponse,
} from '../generated/stratalog/audit/v1/audit.js';
import { BudgetExceeded } from '../grpc/status.js';
import { toTimestamp } from '../grpc/timestamps.js';

export interface AuditedLog extends DurableLog {
  readonly identity: { readonly uuid: string; readonly epoch: number };
}

export interface AuditOptions {
  readonly log: AuditedLog;
  /** Of the same root. It may read records that are not durable yet; the service drops them. */
  readonly archive: ReadableLog;
  readonly queries: SlowQueries;
  /** Concurrent streams, and concurrent unary calls; a quarter of each for one client. */
  readonly callsMax: number;
  /** Milliseconds for a unary call, and for the replay of StateAt. */
  readonly budgetMillis: number;
  /** Ends StateAt if the client reads nothing for this long; 60 s by default. */
  readonly stallMillis?: number;
  /** Idle time after which a subscriber gets a heartbeat; 15 s by default. */
  readonly heartbeatMillis?: number;
  /** Called with the number of events in each message sent. */
  readonly onSent?: (events: number) => void;
}

export interface Audit {
  readonly service: AuditServer;
  /** The number of open streams. */
  streams(): number;
  /** The cache for subscribers near the end of the log. */
  readonly recent: RecentEvents;
}

const HEARTBEAT_MILLIS = 15_000;
const STALL_MILLIS = 60_000;
/** One client gets at most one of these shares of the slots, so that it cannot block the others. */
const SHARES = 4;
/** A state can be tens of megabytes, held until its reader has received it. */
const STATES_MAX = 2;
const STATE_TEXT_BYTES = 128 * 1024;
const NEWLINE = 0x0a;

export function auditService(given: AuditOptions): Audit {
  const options = { ...given, archive: inTurns(given.archive) };
  const recent = new RecentEvents(options.log);
  const { callsMax } = options;
  const shareMax = Math.ceil(callsMax / SHARES);
  const streams = new Slots(callsMax, 'streams of the audit service', shareMax);
  const queries = new Slots(callsMax, 'queries of the audit service', shareMax);
  const service: AuditServer = {
    ...streamMethods(options, recent, streams),
    ...unaryMethods(options, queries),
  };
  return { service, streams: () => streams.taken, recent };
}

function streamMethods(
  options: AuditOptions,
  recent: RecentEvents,
  slots: Slots,
): Pick<AuditServer, 'read' | 'subscribe' | 'history' | 'stateAt'> {
  const { log, archive, onSent, heartbeatMillis = HEARTBEAT_MILLIS } = options;
  const rules = { slots, budgetMillis: null, stallMillis: null };
  const { stallMillis = STALL_MILLIS } = options;
  const states = new Slots(STATES_MAX, 'calls of StateAt');
  const count = ({ events }: { readonly events: readonly Event[] }): void =>
    onSent?.(events.length);
  const feed = { archive, log, recent, heartbeatMillis };
  return {
    read: streamAudit(
      'Read',
      rules,
      (request) => readQuery(request, log.durablePosition),
      (query) => eventsIn(archive, query),
      count,
    ),
    subscribe: streamAudit(
      'Subscribe',
      rules,
      (request) => subscribeQuery(request, log.durablePosition, log.identity.uuid),
      async function* (query, { signal }) {
        for await (const { events, next, live } of feedOf(feed, query, signal)) {
          yield { events, next: BigInt(next), live };
        }
      },
      count,
    ),
    history: streamAudit(
      'History',
      rules,
      historyQuery,
      (id) => historyOf(archive, id, log.durablePosition),
      count,
    ),
    stateAt: streamAudit(
      'StateAt',
      { ...rules, stallMillis },
      (request) => stateAtQuery(request, log.durablePosition),
      async function* (at, context) {
        const release = states.take(context.client);
        try {
          yield* inStateMessages(await stateWithin(options, at, context.signal));
        } finally {
          release();
        }
      },
      () => undefined,
    ),
  };
}

function unaryMethods(
  { log, archive, queries, budgetMillis }: AuditOptions,
  slots: Slots,
): Pick<AuditServer, 'getLog' | 'positionAt' | 'find'> {
  const rules = { slots, budgetMillis };
  const acceptAny = (): Checked<null> => ({ ok: true, value: null });
  return {
    getLog: unaryAudit('GetLog', rules, acceptAny, async () => {
      const { uuid, epoch } = log.identity;
      const { first } = await archive.bounds();
      const next = BigInt(log.durablePosition);
      return { uuid, epoch: BigInt(epoch), first: BigInt(first), next };
    }),
    positionAt: unaryAudit('PositionAt', rules, positionAtQuery, async (time, { signal }) => {
      const found = await queries.positionAt(time, log.durablePosition, signal);
      return { position: BigInt(found) };
    }),
    find: unaryAudit('Find', rules, findQuery, async (text, { signal }) => {
      const found = await queries.find(text, log.durablePosition, signal);
      return { snapshotIds: found.map(BigInt) };
    }),
  };
}

async function* eventsIn(
  archive: ReadableLog,
  { from, to, stream, types, reverse }: ReadOptions,
): AsyncIterable<{ events: Event[] }> {
  const range = { from, to, reverse, ...(stream === undefined ? {} : { stream }) };
  for await (const batch of durableBatches(archive, range)) {
    const matching = types === null ? batch : batch.filter(({ type }) => types.has(type));
    for (const events of inMessages(matching)) yield { events };
  }
}

async function* historyOf(
  archive: ReadableLog,
  id: SnapshotId,
  durable: Position,
): AsyncIterable<{ events: Event[] }> {
  const range = { from: position(0), to: durable, stream: streamOf(id), types: null };
  yield* eventsIn(archive, { ...range, reverse: false });
}

/** The budget covers the replay only; sending takes as long as the client keeps reading. */
function stateWithin(
  { queries, budgetMillis }: AuditOptions,
  at: Position,
  caller: AbortSignal,
): Promise<StateText> {
  return orLate((signal) => queries.stateAt(at, signal), {
    signal: caller,
    millis: budgetMillis,
    late: () => new BudgetExceeded('StateAt', budgetMillis),
  });
}

function* inStateMessages(state: StateText): Iterable<StateAtResponse> {
  const { position: at, time, snapshots, nextId, preallocated, lines } = state;
  const head = {
    position: BigInt(at),
    time: time === null ? undefined : toTimestamp(time),
    snapshots: BigInt(snapshots),
    stateSchema: CHECKPOINT_SCHEMA,
    nextId: BigInt(nextId),
    preallocated: preallocated.map(BigInt),
  };
  yield { head, states: '' };
  const text = Buffer.from(lines.buffer, lines.byteOffset, lines.byteLength);
  for (let start = 0; start < text.length;) {
    const full = Math.min(start + STATE_TEXT_BYTES, text.length);
    // Whole lines, and at least one, whatever its length.
    const within = text.lastIndexOf(NEWLINE, full - 1) + 1;
    const end = within > start ? within : text.indexOf(NEWLINE, full) + 1;
    yield { head: undefined, states: text.toString('utf8', start, end) };
    start = end;
  }
}
