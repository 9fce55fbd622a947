/**
 * A bounded cache of the newest durable events, shared by all subscribers. Subscribers near the end
 * of the log pull from it; only those further back read from disk. A slow subscriber costs no
 * memory, because nothing is pushed.
 */
import type { Observable, Subscription } from 'rxjs';
import { position, type Position } from '../../base/units.js';
import type { LogRecord } from '../../log/types.js';
import { toEvent } from './audit-wire.js';
import type { Event } from '../generated/stratalog/audit/v1/audit.js';

export interface DurableLog {
  readonly durablePosition: Position;
  readonly durableBatches: Observable<readonly LogRecord[]>;
}

const EVENTS_MAX = 2048;
/** Characters of bodies. */
const TEXT_MAX = 1024 * 1024;

export class RecentEvents {
  readonly #log: DurableLog;
  readonly #eventsMax: number;
  #events: Event[] = [];
  #textLength = 0;
  /** Position of the first cached event. */
  #first = 0;
  #arrived: LogRecord[] = [];
  #subscription: Subscription | null = null;
  #users = 0;
  #isOver = false;
  readonly #waiting = new Set<() => void>();

  constructor(log: DurableLog, eventsMax = EVENTS_MAX) {
    this.#log = log;
    this.#eventsMax = eventsMax;
  }

  /** The position after the last cached event; everything before it is durable. */
  get end(): Position {
    return position(this.#first + this.#events.length);
  }

  /** The size of the cache. */
  get kept(): { readonly events: number; readonly textLength: number } {
    return { events: this.#events.length, textLength: this.#textLength };
  }

  /** The log is closed; there will be no more events. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Fills the cache until every user has called the returned function. */
  use(): () => void {
    this.#users += 1;
    if (this.#subscription === null) this.#begin();
    let isUsed = true;
    return () => {
      if (!isUsed) return;
      isUsed = false;
      this.#users -= 1;
      if (this.#users === 0) this.#end();
    };
  }

  /** At most `most` events from a position; null if the position is no longer cached. */
  from(at: Position, most: number): readonly Event[] | null {
    if (at < this.#first) return null;
    const index = at - this.#first;
    return this.#events.slice(index, index + most);
  }

  /** Resolves when there are events after `beyond`, the log is closed, or the signal is aborted. */
  async moved(beyond: Position, signal: AbortSignal): Promise<void> {
    if (this.end > beyond || this.#isOver || signal.aborted) return;
    await new Promise<void>((resolve) => {
      const wake = (): void => {
        signal.removeEventListener('abort', wake);
        this.#waiting.delete(wake);
        resolve();
      };
      signal.addEventListener('abort', wake);
      this.#waiting.add(wake);
    });
  }

  #begin(): void {
    this.#first = this.#log.durablePosition;
    this.#subscription = this.#log.durableBatches.subscribe({
      next: (records) => {
        // Converted in a later turn: the appender waits for this callback.
        if (this.#arrived.length === 0) setImmediate(() => this.#take());
        for (const record of records) this.#arrived.push(record);
      },
      complete: () => {
        this.#take();
        this.#isOver = true;
        this.#wake();
      },
    });
  }

  #end(): void {
    this.#subscription?.unsubscribe();
    this.#subscription = null;
    this.#events = [];
    this.#arrived = [];
    this.#textLength = 0;
  }

  #take(): void {
    if (this.#subscription === null) return;
    const arrived = this.#arrived;
    this.#arrived = [];
    for (const record of arrived) {
      if (record.position < this.end) continue;
      const event = toEvent(record);
      this.#events.push(event);
      this.#textLength += event.data.length;
    }
    let dropped = 0;
    while (this.#isTooMuch(dropped)) {
      this.#textLength -= this.#events[dropped]?.data.length ?? 0;
      dropped += 1;
    }
    this.#events.splice(0, dropped);
    this.#first += dropped;
    if (arrived.length > 0) this.#wake();
  }

  #isTooMuch(dropped: number): boolean {
    const left = this.#events.length - dropped;
    return left > this.#eventsMax || (this.#textLength > TEXT_MAX && left > 1);
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake();
  }
}
