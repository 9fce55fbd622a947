/**
 * The newest durable records, kept once for all subscribers: whoever is near the end is served
 * from here, and only who is behind reads from disk. What is kept is bounded by number and by
 * size, however many subscribers there are and however slow they are: each comes and takes, and
 * nothing is pushed to anybody.
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
  /** Of the first event kept. */
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

  /** Behind the last event kept; everything before it is durable. */
  get end(): Position {
    return position(this.#first + this.#events.length);
  }

  /** How much is kept, for those who wonder. */
  get kept(): { readonly events: number; readonly textLength: number } {
    return { events: this.#events.length, textLength: this.#textLength };
  }

  /** The log is closed: nothing will come any more. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Keeps events from now on, until as many have called what is answered. */
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

  /** Events from a position on, so many at most; null when that is not kept any more. */
  from(at: Position, most: number): readonly Event[] | null {
    if (at < this.#first) return null;
    const index = at - this.#first;
    return this.#events.slice(index, index + most);
  }

  /** Resolves at the end of the log moving on, of the log itself, or of the signal. */
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
        // Whoever appended waits behind this call: the work is done in a later turn.
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
    let gone = 0;
    while (this.#isTooMuch(gone)) {
      this.#textLength -= this.#events[gone]?.data.length ?? 0;
      gone += 1;
    }
    this.#events.splice(0, gone);
    this.#first += gone;
    if (arrived.length > 0) this.#wake();
  }

  #isTooMuch(gone: number): boolean {
    const left = this.#events.length - gone;
    return left > this.#eventsMax || (this.#textLength > TEXT_MAX && left > 1);
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake();
  }
}
