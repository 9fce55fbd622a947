/** The API of the page: paths, parameters and replies. */
import type { ServerResponse } from 'node:http';
import pLimit from 'p-limit';
import { position, snapshotId, type Position } from '../base/units.js';
import type { Archive } from '../inspect/archive/archive.js';
import { chartSvg } from '../inspect/chart/chart-picture.js';
import { eventRow } from './event-groups.js';
import { BadRequest } from './failure.js';
import { sendLive } from './live.js';
import { Lives } from './lives.js';
import { Past } from './past.js';
import { TimeLine } from './time-line.js';
import type {
  BoundsReply,
  EventRow,
  EventsReply,
  Failure,
  FindingRow,
  FindingsReply,
} from './wire.js';

export interface Answer {
  readonly type: string;
  /** Null if the path does not exist. */
  readonly body: string | null;
}

export interface PageSource {
  readonly archive: Archive;
  /** Shown on the page: the root or the socket. */
  readonly source: string;
  readonly release: string;
  /** Null if findings are not available. */
  readonly findings: (() => Promise<readonly FindingRow[]>) | null;
  /** Damage at the end of the readable log. Null if it cannot be determined. */
  readonly damage: (() => Promise<Failure | null>) | null;
}

/** Concurrent live streams. */
const followersMax = 8;
const eventsMax = 1_000;
/** Concurrent expensive reads: lives and findings. */
const readsMax = 2;

export class Answers {
  readonly #source: PageSource;
  readonly #past: Past;
  readonly #lives: Lives;
  readonly #timeLine: TimeLine;
  readonly #closed = new AbortController();
  readonly #limitReads = pLimit(readsMax);
  #followers = 0;

  constructor(source: PageSource) {
    this.#source = source;
    this.#past = new Past(source.archive);
    this.#lives = new Lives(source.archive);
    this.#timeLine = new TimeLine(source.archive);
  }

  /** Ends the live streams and drops queued requests. */
  close(): void {
    this.#closed.abort();
  }

  /** Rejects with the signal's reason if the client disconnects before the request runs. */
  async to(path: string, query: URLSearchParams, disconnected: AbortSignal): Promise<Answer> {
    if (path === '/chart.svg') {
      return { type: 'image/svg+xml', body: chartSvg({ isStandAlone: false }) };
    }
    const signal = AbortSignal.any([disconnected, this.#closed.signal]);
    const value = await this.#value(path, query, signal);
    const type = 'application/json; charset=utf-8';
    return { type, body: value === null ? null : JSON.stringify(value) };
  }

  async #value(path: string, query: URLSearchParams, signal: AbortSignal): Promise<object | null> {
    switch (path) {
      case '/api/bounds':
        return this.#bounds();
      case '/api/timeline':
        return this.#timeLine.reply((await this.#past.bounds()).next);
      case '/api/state':
        return this.#past.reply(positionIn(query, 'at'), optionalPositionIn(query, 'from'), signal);
      case '/api/life': {
        const [id, at] = [snapshotId(integerIn(query, 'id')), positionIn(query, 'at')];
        return this.#limited(signal, async () => {
          const { next } = await this.#past.bounds();
          return this.#lives.reply(id, at, next);
        });
      }
      case '/api/events':
        return this.#events(
          positionIn(query, 'to'),
          Math.min(integerIn(query, 'count'), eventsMax),
        );
      case '/api/findings':
        return this.#limited(signal, () => this.#findings());
      default:
        return null;
    }
  }

  /** Runs with limited concurrency; drops requests whose client has disconnected. */
  #limited<Value>(signal: AbortSignal, work: () => Promise<Value>): Promise<Value> {
    return this.#limitReads(() => {
      signal.throwIfAborted();
      return work();
    });
  }

  async live(
    query: URLSearchParams,
    response: ServerResponse,
    disconnected: AbortSignal,
  ): Promise<void> {
    if (this.#followers === followersMax) {
      const error = `too many live pages (maximum ${followersMax}): close one`;
      response.write(`event: failure\ndata: ${JSON.stringify({ error, position: null })}\n\n`);
      return;
    }
    this.#followers += 1;
    try {
      const signal = AbortSignal.any([disconnected, this.#closed.signal]);
      await sendLive(this.#source.archive, positionIn(query, 'from'), response, signal);
    } finally {
      this.#followers -= 1;
    }
  }

  async #bounds(): Promise<BoundsReply> {
    const { source, release } = this.#source;
    const { failure, ...bounds } = await this.#past.bounds();
    const damage = failure ?? (await this.#source.damage?.()) ?? null;
    return { source, release, ...bounds, failure: damage };
  }

  /** The last `countMax` events before a position, oldest first. */
  async #events(to: Position, countMax: number): Promise<EventsReply> {
    const events: EventRow[] = [];
    const from = position(Math.max(0, to - countMax));
    for await (const batch of this.#source.archive.read({ from, to })) {
      events.push(...batch.map(eventRow));
    }
    return { events };
  }

  async #findings(): Promise<FindingsReply> {
    return { findings: (await this.#source.findings?.()) ?? null };
  }
}

function integerIn(query: URLSearchParams, name: string): number {
  const text = query.get(name) ?? '';
  const value = Number(text);
  if (/^\d{1,16}$/.test(text) && Number.isSafeInteger(value)) return value;
  throw new BadRequest(`${name} must be a non-negative integer`);
}

const positionIn = (query: URLSearchParams, name: string): Position =>
  position(integerIn(query, name));

const optionalPositionIn = (query: URLSearchParams, name: string): Position | null =>
  query.has(name) ? positionIn(query, name) : null;
