/** What the page may ask for: each path, what it takes, and what it answers. */
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

export interface Answered {
  readonly type: string;
  /** Null when there is nothing of this name. */
  readonly body: string | null;
}

export interface Subject {
  readonly archive: Archive;
  /** Shown in the page: the root, or the socket. */
  readonly source: string;
  readonly release: string;
  /** Null where nobody can know. */
  readonly findings: (() => Promise<readonly FindingRow[]>) | null;
  /** Damage where the readable log ends: a reader just stops there. Null where nobody can know. */
  readonly damage: (() => Promise<Failure | null>) | null;
}

/** Live streams at one time. */
const followersMax = 8;
const eventsMax = 1_000;
/** Lives and looks at a root at one time: each may read much. */
const turnsMax = 2;

export class Answers {
  readonly #subject: Subject;
  readonly #past: Past;
  readonly #lives: Lives;
  readonly #timeLine: TimeLine;
  readonly #closed = new AbortController();
  readonly #turns = pLimit(turnsMax);
  #followers = 0;

  constructor(subject: Subject) {
    this.#subject = subject;
    this.#past = new Past(subject.archive);
    this.#lives = new Lives(subject.archive);
    this.#timeLine = new TimeLine(subject.archive);
  }

  /** Ends the live streams, and begins nothing that waits. */
  close(): void {
    this.#closed.abort();
  }

  /** Rejects with the signal's reason when the asker left before it was worked on. */
  async to(path: string, query: URLSearchParams, left: AbortSignal): Promise<Answered> {
    if (path === '/chart.svg') {
      return { type: 'image/svg+xml', body: chartSvg({ isStandAlone: false }) };
    }
    const value = await this.#value(path, query, AbortSignal.any([left, this.#closed.signal]));
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
        return this.#past.reply(place(query, 'at'), optionalPlace(query, 'from'), signal);
      case '/api/life': {
        const [id, at] = [snapshotId(whole(query, 'id')), place(query, 'at')];
        return this.#inTurn(signal, async () => {
          const { next } = await this.#past.bounds();
          return this.#lives.reply(id, at, next);
        });
      }
      case '/api/events':
        return this.#events(place(query, 'to'), Math.min(whole(query, 'count'), eventsMax));
      case '/api/findings':
        return this.#inTurn(signal, () => this.#findings());
      default:
        return null;
    }
  }

  /** What nobody waits for any more when its turn comes is dropped. */
  #inTurn<Value>(signal: AbortSignal, work: () => Promise<Value>): Promise<Value> {
    return this.#turns(() => {
      signal.throwIfAborted();
      return work();
    });
  }

  async live(query: URLSearchParams, response: ServerResponse, left: AbortSignal): Promise<void> {
    if (this.#followers === followersMax) {
      const error = `${followersMax} pages are live already: close one`;
      response.write(`event: failure\ndata: ${JSON.stringify({ error, position: null })}\n\n`);
      return;
    }
    this.#followers += 1;
    try {
      const signal = AbortSignal.any([left, this.#closed.signal]);
      await sendLive(this.#subject.archive, place(query, 'from'), response, signal);
    } finally {
      this.#followers -= 1;
    }
  }

  async #bounds(): Promise<BoundsReply> {
    const { source, release } = this.#subject;
    const { failure, ...bounds } = await this.#past.bounds();
    const damage = failure ?? (await this.#subject.damage?.()) ?? null;
    return { source, release, ...bounds, failure: damage };
  }

  /** The newest before a position, oldest first. */
  async #events(to: Position, countMax: number): Promise<EventsReply> {
    const events: EventRow[] = [];
    const from = position(Math.max(0, to - countMax));
    for await (const batch of this.#subject.archive.read({ from, to })) {
      events.push(...batch.map(eventRow));
    }
    return { events };
  }

  async #findings(): Promise<FindingsReply> {
    return { findings: (await this.#subject.findings?.()) ?? null };
  }
}

function whole(query: URLSearchParams, name: string): number {
  const text = query.get(name) ?? '';
  const value = Number(text);
  if (/^\d{1,16}$/.test(text) && Number.isSafeInteger(value)) return value;
  throw new BadRequest(`${name} must be a whole number`);
}

const place = (query: URLSearchParams, name: string): Position => position(whole(query, name));

const optionalPlace = (query: URLSearchParams, name: string): Position | null =>
  query.has(name) ? place(query, name) : null;
