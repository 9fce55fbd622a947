/**
 * Past records, then live ones, without a gap or a double. The past is read from disk up to what
 * is durable; while that is far behind nothing is buffered, and near the end the live batches are
 * kept until the reading has met them.
 */
import type { Subscriber } from 'rxjs';
import { Observable } from 'rxjs/internal/Observable';
import type { Disk } from '../base/ports.js';
import { position } from '../base/units.js';
import { LogCursor } from './read/cursor.js';
import { LogDamaged } from './errors.js';
import type { LogRecord, Upcast } from './types.js';

/** Live records are kept in memory once the reading is this near to them. */
const NEAR_RECORDS = 10_000;

export interface LiveLog {
  readonly durablePosition: number;
  readonly durableBatches: Observable<readonly LogRecord[]>;
}

export interface SubscriptionOptions {
  readonly from: number;
  readonly stream?: string | undefined;
  readonly upcast: Upcast | null;
}

/** Completes when the log is closed; errors with LogDamaged when the past cannot be read. */
export function subscribeToLog(
  disk: Disk,
  root: string,
  live: LiveLog,
  query: SubscriptionOptions,
): Observable<LogRecord> {
  return new Observable((subscriber) => {
    const feed = new Feed(disk, root, live, query, subscriber);
    feed.run().catch((thrown: unknown) => subscriber.error(thrown));
    return () => {
      feed.stop();
    };
  });
}

class Feed {
  /** The next position to hand out. */
  #next: number;
  #isCaughtUp = false;
  #kept: (readonly LogRecord[])[] = [];
  #keptFrom: number | null = null;
  #isOver = false;
  #isLiveOver = false;
  #unsubscribe: () => void = () => undefined;

  constructor(
    private readonly disk: Disk,
    private readonly root: string,
    private readonly live: LiveLog,
    private readonly query: SubscriptionOptions,
    private readonly subscriber: Subscriber<LogRecord>,
  ) {
    this.#next = query.from;
  }

  stop(): void {
    this.#isOver = true;
    this.#unsubscribe();
  }

  async run(): Promise<void> {
    if (this.#next < this.live.durablePosition) await this.#catchUp();
    else this.#keepLive();
    if (this.#isOver) return;
    // From here to the end of the function nothing else can run: no batch slips between.
    for (const batch of this.#kept) this.#handOutLive(batch);
    this.#kept = [];
    this.#isCaughtUp = true;
    if (this.#isLiveOver) this.subscriber.complete();
  }

  #keepLive(): void {
    if (this.#keptFrom !== null) return;
    this.#keptFrom = this.live.durablePosition;
    const subscription = this.live.durableBatches.subscribe({
      next: (batch) => {
        if (this.#isCaughtUp) this.#handOutLive(batch);
        else this.#kept.push(batch);
      },
      complete: () => {
        this.#isLiveOver = true;
        if (this.#isCaughtUp) this.subscriber.complete();
      },
    });
    this.#unsubscribe = () => {
      subscription.unsubscribe();
    };
  }

  async #catchUp(): Promise<void> {
    const { from, stream } = this.query;
    const cursor = new LogCursor(this.disk, this.root, { from, stream });
    // Read from disk, but perhaps not durable when it was read.
    let ahead: readonly LogRecord[] = [];
    try {
      while (!this.#isOver) {
        if (this.live.durablePosition - this.#next <= NEAR_RECORDS) this.#keepLive();
        const until = this.#keptFrom ?? this.live.durablePosition;
        ahead = this.#handOutPast(ahead, until);
        this.#next = Math.max(this.#next, Math.min(cursor.position ?? 0, until));
        if (this.#next >= until && this.#keptFrom !== null) return;
        const batch = await cursor.next();
        if (batch) ahead = ahead.concat(batch);
        else this.#checkReached(cursor, until);
      }
    } finally {
      await cursor.close();
    }
  }

  /** Answers what must wait until it is durable. */
  #handOutPast(records: readonly LogRecord[], until: number): readonly LogRecord[] {
    const { upcast } = this.query;
    const cut = records.findIndex((record) => record.position >= until);
    const durable = cut < 0 ? records : records.slice(0, cut);
    for (const record of durable) this.#handOut(upcast ? upcast(record) : record);
    return cut < 0 ? [] : records.slice(cut);
  }

  #checkReached(cursor: LogCursor, until: number): void {
    const reached = cursor.position ?? 0;
    if (reached >= until) return;
    throw new LogDamaged(
      { segment: cursor.segment ?? 'log', offset: 0, position: position(reached) },
      `the log cannot be read further, though everything before ${until} was durable`,
    );
  }

  #handOutLive(batch: readonly LogRecord[]): void {
    const { stream } = this.query;
    for (const record of batch) {
      if (record.position < this.#next) continue;
      if (stream === undefined || record.stream === stream) this.#handOut(record);
    }
  }

  #handOut(record: LogRecord): void {
    if (!this.#isOver) this.subscriber.next(record);
  }
}
