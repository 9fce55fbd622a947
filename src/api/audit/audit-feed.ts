/**
 * A subscription: past events, then each new one, without gaps or duplicates. Each batch is pulled
 * by the subscriber, from the shared cache near the end of the log (audit-recent.ts), otherwise
 * from disk up to the durable position. A subscriber that does not pull costs no memory.
 */
import { position, type Position } from '../../base/units.js';
import { MomentUnknown } from '../../inspect/archive/archive.js';
import { durableBatches } from './audit-reading.js';
import type { DurableLog, RecentEvents } from './audit-recent.js';
import type { EventFilter, SubscribeQuery } from './audit-requests.js';
import type { ReadableLog } from './audit-turns.js';
import { inMessages } from './audit-wire.js';
import type { Event } from '../generated/stratalog/audit/v1/audit.js';

export interface FeedPiece {
  /** Empty in a heartbeat. */
  readonly events: Event[];
  /** Everything before it was sent or does not match the filter. */
  readonly next: Position;
  /** The subscription has caught up. */
  readonly live: boolean;
}

export interface FeedParts {
  readonly archive: ReadableLog;
  readonly log: DurableLog;
  readonly recent: RecentEvents;
  readonly heartbeatMillis: number;
}

/** The events of one message. */
const PIECE_EVENTS = 256;

/** Ends with the signal or when the log is closed. @throws as the archive */
export async function* feedOf(
  parts: FeedParts,
  query: SubscribeQuery,
  signal: AbortSignal,
): AsyncGenerator<FeedPiece, void, undefined> {
  const { recent } = parts;
  const release = recent.use();
  try {
    let next = query.from;
    let reportedLive = false;
    let sentAt = performance.now();
    while (!signal.aborted) {
      const found = recent.from(next, PIECE_EVENTS);
      if (found === null) {
        const until = parts.log.durablePosition;
        yield* past(parts, { ...query, from: next }, until, signal);
        next = until;
        reportedLive = false;
        sentAt = performance.now();
        continue;
      }
      next = position(next + found.length);
      const live = next >= recent.end;
      const events = found.filter((event) => matches(event, query));
      const isBeat = performance.now() - sentAt >= parts.heartbeatMillis;
      if (events.length > 0 || (live && (!reportedLive || isBeat))) {
        reportedLive = live;
        yield { events, next, live };
        sentAt = performance.now();
      }
      if (!live) continue;
      if (recent.isOver) return;
      await movedWithin(recent, next, sentAt + parts.heartbeatMillis, signal);
    }
  } finally {
    release();
  }
}

/** From disk, up to the durable position. */
async function* past(
  { archive }: FeedParts,
  query: SubscribeQuery,
  until: Position,
  signal: AbortSignal,
): AsyncGenerator<FeedPiece, void, undefined> {
  const { from, stream, types } = query;
  const { first } = await archive.bounds();
  // 0 means the first retained event. Any other position was reached before, so this is a gap.
  if (from > 0 && from < first) {
    throw new MomentUnknown(`the log begins at position ${first}: ${from} is no longer retained`);
  }
  const range = { from, to: until, ...(stream === undefined ? {} : { stream }) };
  for await (const batch of durableBatches(archive, range)) {
    if (signal.aborted) return;
    const matching = types === null ? batch : batch.filter(({ type }) => types.has(type));
    for (const events of inMessages(matching)) {
      const last = events.at(-1);
      if (last !== undefined) {
        yield { events, next: position(Number(last.position) + 1), live: false };
      }
    }
  }
}

function matches(event: Event, { stream, types }: EventFilter): boolean {
  return (
    (stream === undefined || event.stream === stream) && (types === null || types.has(event.type))
  );
}

/** Waits for a new event, the next heartbeat or the signal. */
async function movedWithin(
  recent: RecentEvents,
  next: Position,
  until: number,
  signal: AbortSignal,
): Promise<void> {
  const wait = new AbortController();
  const stop = (): void => wait.abort();
  signal.addEventListener('abort', stop);
  const timer = setTimeout(stop, Math.max(0, until - performance.now()));
  try {
    await recent.moved(next, wait.signal);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', stop);
  }
}
