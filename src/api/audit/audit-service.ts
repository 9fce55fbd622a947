/**
 * stratalog.audit.v1: the log of this daemon for those who look at the past. It only reads: the
 * files of its own root, up to what is durable, and the newest events from memory. What is asked
 * is checked in audit-requests.ts, a subscriber's way through the log is audit-feed.ts, the pace
 * of sending audit-sending.ts; what needs the processor for long goes to audit-questions.ts.
 */
import { orLate } from '../../base/abort.js';
import { position, type Position, type SnapshotId } from '../../base/units.js';
import { streamOf } from '../../machines/events/streams.js';
import { CHECKPOINT_SCHEMA } from '../../machines/snapshots/state-json.js';
import { feedOf } from './audit-feed.js';
import { Slots } from './audit-slots.js';
import type { SlowQuestions, StateText } from './audit-queries.js';
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
import { BudgetSpent } from '../grpc/status.js';
import { toTimestamp } from '../grpc/timestamps.js';

export interface AuditedLog extends DurableLog {
  readonly identity: { readonly uuid: string; readonly epoch: number };
}

export interface AuditOptions {
  readonly log: AuditedLog;
  /** Of the same root. What it reads may be written and not durable yet; that is cut off here. */
  readonly archive: ReadableLog;
  readonly questions: SlowQuestions;
  /** Calls at one time; of one client a quarter. */
  readonly callsMax: number;
  /** Milliseconds until a call with one answer, or the first state, is given up. */
  readonly budgetMillis: number;
  /** Without a sign of the reader for so long, a state is kept for it no longer; 60 s by default. */
  readonly stallMillis?: number;
  /** Silence after which a subscriber is told where the log stands; 15 s by default. */
  readonly heartbeatMillis?: number;
  /** So many events have left for a reader. */
  readonly onSent?: (events: number) => void;
}

export interface Audit {
  readonly service: AuditServer;
  /** Streams that are open now. */
  streams(): number;
  /** What is kept in memory for subscribers who are near the end. */
  readonly recent: RecentEvents;
}

const HEARTBEAT_MILLIS = 15_000;
const STALL_MILLIS = 60_000;
/** No client has more than this part of the places: what it leaves lying shuts out nobody else. */
const SHARES = 4;
/** A state may be tens of megabytes, kept until its reader has it. */
const STATES_MAX = 2;
const STATE_TEXT_BYTES = 128 * 1024;
const NEWLINE = 0x0a;

export function auditService(given: AuditOptions): Audit {
  const options = { ...given, archive: inTurns(given.archive) };
  const recent = new RecentEvents(options.log);
  const { callsMax } = options;
  const shareMax = Math.ceil(callsMax / SHARES);
  const streams = new Slots(callsMax, 'streams of the audit service', shareMax);
  const questions = new Slots(callsMax, 'questions to the audit service', shareMax);
  const service: AuditServer = {
    ...streamMethods(options, recent, streams),
    ...unaryMethods(options, questions),
  };
  return { service, streams: () => streams.taken, recent };
}

function streamMethods(
  options: AuditOptions,
  recent: RecentEvents,
  places: Slots,
): Pick<AuditServer, 'read' | 'subscribe' | 'history' | 'stateAt'> {
  const { log, archive, onSent, heartbeatMillis = HEARTBEAT_MILLIS } = options;
  const rules = { places, budgetMillis: null, stallMillis: null };
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
        const giveBack = states.take(context.client);
        try {
          yield* inStateMessages(await stateWithin(options, at, context.signal));
        } finally {
          giveBack();
        }
      },
      () => undefined,
    ),
  };
}

function unaryMethods(
  { log, archive, questions, budgetMillis }: AuditOptions,
  places: Slots,
): Pick<AuditServer, 'getLog' | 'positionAt' | 'find'> {
  const rules = { places, budgetMillis };
  const whatever = (): Checked<null> => ({ ok: true, value: null });
  return {
    getLog: unaryAudit('GetLog', rules, whatever, async () => {
      const { uuid, epoch } = log.identity;
      const { first } = await archive.bounds();
      const next = BigInt(log.durablePosition);
      return { uuid, epoch: BigInt(epoch), first: BigInt(first), next };
    }),
    positionAt: unaryAudit('PositionAt', rules, positionAtQuery, async (time, { signal }) => {
      const found = await questions.positionAt(time, log.durablePosition, signal);
      return { position: BigInt(found) };
    }),
    find: unaryAudit('Find', rules, findQuery, async (text, { signal }) => {
      const found = await questions.find(text, log.durablePosition, signal);
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
    const wanted = types === null ? batch : batch.filter(({ type }) => types.has(type));
    for (const events of inMessages(wanted)) yield { events };
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

/** The replay has a budget; the sending has the reader's time, as long as it reads. */
function stateWithin(
  { questions, budgetMillis }: AuditOptions,
  at: Position,
  caller: AbortSignal,
): Promise<StateText> {
  return orLate((signal) => questions.stateAt(at, signal), {
    signal: caller,
    millis: budgetMillis,
    late: () => new BudgetSpent('StateAt', budgetMillis),
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
    // Whole lines, and one at least, however long it is.
    const within = text.lastIndexOf(NEWLINE, full - 1) + 1;
    const end = within > start ? within : text.indexOf(NEWLINE, full) + 1;
    yield { head: undefined, states: text.toString('utf8', start, end) };
    start = end;
  }
}
