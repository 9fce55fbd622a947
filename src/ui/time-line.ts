/**
 * Counts the events of the log in buckets, for a chart as wide as a screen. Counts each event once
 * and yields to other requests between batches. When the log grows, counting continues from the
 * last position. Memory is bounded: when all buckets are used, pairs of buckets are merged.
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

  /** Returns the counts so far, and continues to count in the background if the log has more. */
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

  /** Counts up to the current end of the log. Never fails: the reply has the failure. */
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
        for (const record of batch) this.#add(record);
        // Yields to other requests: batches may come without a pause.
        await new Promise(setImmediate);
      }
    } catch (thrown) {
      this.#failure = failureOf(thrown);
    }
  }

  #add(record: LogRecord): void {
    this.#first ??= record.position;
    let index = Math.floor((record.position - this.#first) / this.#width);
    while (index >= bucketsMax) {
      this.#mergePairs();
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
    // Drop a hundred at once, because each removal shifts the whole list.
    if (this.#marks.length < marksMax + 100) return;
    this.#marks.splice(0, 100);
    this.#marksOmitted += 100;
  }

  #mergePairs(): void {
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
