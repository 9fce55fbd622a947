/**
 * A subscriber's way through the log: past events, then each new one, without a gap or a double.
 * It is asked for each piece, and looks then where it stands: near the end it takes from what all
 * share (audit-recent.ts), behind that it reads from disk, up to what is durable and no further.
 * Nothing is kept for a subscriber who does not ask.
 */
import { position, type Position } from '../../base/units.js';
import { MomentUnknown } from '../../inspect/archive/archive.js';
import { durableBatches } from './audit-reading.js';
import type { DurableLog, RecentEvents } from './audit-recent.js';
import type { EventFilter, SubscribeQuery } from './audit-requests.js';
import type { ReadableLog } from './audit-turns.js';
import { inMessages } from './audit-wire.js';
import type { Event } from '../generated/stratalog/audit/v1/audit.js';

/** A piece of a subscription. */
export interface FeedPiece {
  /** None in a heartbeat. */
  readonly events: Event[];
  /** Everything before it was handed out or is not wanted. */
  readonly next: Position;
  /** The end was reached. */
  readonly live: boolean;
}

export interface FeedParts {
  readonly archive: ReadableLog;
  readonly log: DurableLog;
  readonly recent: RecentEvents;
  readonly heartbeatMillis: number;
}

/** As many as make a message. */
const PIECE_EVENTS = 256;

/** Ends with the signal, or with the log. Fails as the archive does. */
export async function* feedOf(
  parts: FeedParts,
  query: SubscribeQuery,
  signal: AbortSignal,
): AsyncGenerator<FeedPiece, void, undefined> {
  const { recent } = parts;
  const release = recent.use();
  try {
    let next = query.from;
    let isToldLive = false;
    let saidAt = performance.now();
    while (!signal.aborted) {
      const found = recent.from(next, PIECE_EVENTS);
      if (found === null) {
        const until = parts.log.durablePosition;
        yield* past(parts, { ...query, from: next }, until, signal);
        next = until;
        isToldLive = false;
        saidAt = performance.now();
        continue;
      }
      next = position(next + found.length);
      const live = next >= recent.end;
      const events = found.filter((event) => isWanted(event, query));
      const isBeat = performance.now() - saidAt >= parts.heartbeatMillis;
      if (events.length > 0 || (live && (!isToldLive || isBeat))) {
        isToldLive = live;
        yield { events, next, live };
        saidAt = performance.now();
      }
      if (!live) continue;
      if (recent.isOver) return;
      await movedWithin(recent, next, saidAt + parts.heartbeatMillis, signal);
    }
  } finally {
    release();
  }
}

/** From disk, up to what is durable. */
async function* past(
  { archive }: FeedParts,
  query: SubscribeQuery,
  until: Position,
  signal: AbortSignal,
): AsyncGenerator<FeedPiece, void, undefined> {
  const { from, stream, types } = query;
  const { first } = await archive.bounds();
  // From 0 on is from what is kept on. Anybody else has been further, and must know of a gap.
  if (from > 0 && from < first) {
    throw new MomentUnknown(`the log begins at position ${first}: ${from} is not kept any more`);
  }
  const range = { from, to: until, ...(stream === undefined ? {} : { stream }) };
  for await (const batch of durableBatches(archive, range)) {
    if (signal.aborted) return;
    const wanted = types === null ? batch : batch.filter(({ type }) => types.has(type));
    for (const events of inMessages(wanted)) {
      const last = events.at(-1);
      if (last !== undefined) {
        yield { events, next: position(Number(last.position) + 1), live: false };
      }
    }
  }
}

function isWanted(event: Event, { stream, types }: EventFilter): boolean {
  return (
    (stream === undefined || event.stream === stream) && (types === null || types.has(event.type))
  );
}

/** Waits for something new, for the time of the next heartbeat, or for the signal. */
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
