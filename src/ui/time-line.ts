/**
 * The log as a row of buckets, for a picture as wide as a screen. Each event is counted once, in
 * slices between which others are answered; a log that grows is counted on from where the count
 * stood. Memory is bounded: when the buckets are full, each two become one.
 */
import { position, type Position } from '../base/units.js';
import type { Archive } from '../inspect/archive/archive.js';
import { summaryOf } from '../inspect/events/summary.js';
import { isWarning } from '../inspect/events/warning-events.js';
import type { LogRecord } from '../log/types.js';
import { GROUPS, groupOf, isMarked } from './event-groups.js';
import { failureOf } from './failure.js';
import type { Failure, Mark, TimeLineReply } from './wire.js';

const bucketsMax = 512;
const marksMax = 400;

export class TimeLine {
  readonly #archive: Archive;
  #first: Position | null = null;
  #scannedTo: Position = position(0);
  #width = 1;
  #buckets: number[][] = [];
  #millis: number[] = [];
  #marks: Mark[] = [];
  #marksOmitted = 0;
  #failure: Failure | null = null;
  #counting: Promise<void> | null = null;

  constructor(archive: Archive) {
    this.#archive = archive;
  }

  /** As far as it is counted; goes on counting behind the answer when the log has more. */
  reply(next: Position): TimeLineReply {
    if (this.#scannedTo < next && this.#failure === null) void this.count();
    return {
      first: this.#first ?? this.#scannedTo,
      scannedTo: this.#scannedTo,
      isDone: this.#counting === null,
      width: this.#width,
      groups: GROUPS,
      buckets: this.#buckets,
      millis: this.#millis,
      marks: this.#marks,
      marksOmitted: this.#marksOmitted,
      failure: this.#failure,
    };
  }

  /** Counts to the end of the log as it is now. Never fails: what is wrong is in the reply. */
  count(): Promise<void> {
    this.#counting ??= this.#count().finally(() => {
      this.#counting = null;
    });
    return this.#counting;
  }

  async #count(): Promise<void> {
    try {
      const from = this.#first === null ? {} : { from: this.#scannedTo };
      for await (const batch of this.#archive.read(from)) {
        for (const record of batch) this.#take(record);
        // Batches may come without a pause for anybody else.
        await new Promise(setImmediate);
      }
    } catch (thrown) {
      this.#failure = failureOf(thrown);
    }
  }

  #take(record: LogRecord): void {
    this.#first ??= record.position;
    let index = Math.floor((record.position - this.#first) / this.#width);
    while (index >= bucketsMax) {
      this.#halve();
      index = Math.floor((record.position - this.#first) / this.#width);
    }
    const millis = Number(record.time / 1_000_000n);
    const bucket = (this.#buckets[index] ??= GROUPS.map(() => 0));
    this.#millis[index] ??= millis;
    const group = groupOf(record);
    bucket[group] = (bucket[group] ?? 0) + 1;
    if (isMarked(record)) this.#mark(record, millis);
    this.#scannedTo = position(record.position + 1);
  }

  #mark(record: LogRecord, millis: number): void {
    this.#marks.push({
      position: record.position,
      millis,
      type: record.type,
      summary: summaryOf(record),
      isWarning: isWarning(record) || record.type === 'RecoveryPlanned',
    });
    // Dropped by the hundred: a shift for each would cost as much as the list is long.
    if (this.#marks.length < marksMax + 100) return;
    this.#marks.splice(0, 100);
    this.#marksOmitted += 100;
  }

  #halve(): void {
    const pairs = Array.from(
      { length: Math.ceil(this.#buckets.length / 2) },
      (_, pair) => pair * 2,
    );
    this.#buckets = pairs.map((left) => {
      const [one = [], other = []] = [this.#buckets[left], this.#buckets[left + 1]];
      return GROUPS.map((_, group) => (one[group] ?? 0) + (other[group] ?? 0));
    });
    this.#millis = pairs.map((left) => this.#millis[left] ?? 0);
    this.#width *= 2;
  }
}
