/**
 * Steps through the records of a segment, one buffer at a time: the loop of all readers. The buffer
 * begins with the next record, and grows to the size of a record that does not fit.
 */
import type { DiskFile } from '../../base/ports.js';
import { isZero, recordAt, type NoRecord, type RecordChecks } from '../format/record-step.js';

export type ReadableFile = Pick<DiskFile, 'read'>;

/** Where a record begins in its segment, and its position in the log. */
export interface RecordPlace {
  readonly offset: number;
  readonly position: number;
}

/** Why there is no next record. Never `short`: then the buffer is refilled. */
export type PagesStop = Exclude<NoRecord, { readonly kind: 'short' }>;

export interface PageSizes {
  readonly least: number;
  /** Buffers grow up to this; beyond it only for a longer record. */
  readonly most: number;
}

export class RecordPages {
  bytes: Buffer;
  /** Where the last record begins and ends in `bytes`. */
  at = 0;
  end = 0;
  /** Offset and position of the next record. */
  offset: number;
  position: number;
  /** Why the last `step` did not move; null if the buffer must be refilled. */
  stop: PagesStop | null = null;
  #filled = 0;
  #needed = 0;
  #isAtEndOfFile = false;

  constructor(
    private readonly file: ReadableFile,
    start: RecordPlace,
    private readonly checks: RecordChecks,
    private readonly sizes: PageSizes,
  ) {
    this.offset = start.offset;
    this.position = start.position;
    this.bytes = Buffer.allocUnsafeSlow(sizes.least);
  }

  /** Offset in the segment where `bytes` begins. */
  get base(): number {
    return this.offset - this.end;
  }

  /** Reads the file again from the next record on. */
  async fill(): Promise<void> {
    const { least, most } = this.sizes;
    const wanted = this.end > 0 ? Math.min(this.bytes.length * 4, most) : least;
    const size = Math.max(wanted, this.#needed);
    if (size > this.bytes.length) this.bytes = Buffer.allocUnsafeSlow(size);
    this.at = this.end = this.#needed = 0;
    this.stop = null;
    this.#filled = await this.file.read(this.bytes, this.offset);
    this.#isAtEndOfFile = this.#filled < this.bytes.length;
  }

  /** Moves to the next whole record in the buffer; false if there is none. */
  step(): boolean {
    const { bytes, end } = this;
    const step = recordAt(bytes, end, this.#filled, this.position, this.checks);
    if (typeof step === 'number') {
      this.at = end;
      this.end += step;
      this.offset += step;
      this.position += 1;
      return true;
    }
    if (step.kind !== 'short') this.stop = step;
    else if (!this.#isAtEndOfFile) this.#needed = step.needed;
    else if (isZero(bytes, end, this.#filled)) this.stop = { kind: 'nothing' };
    else this.stop = { kind: 'unreadable', why: 'the file ends within a record' };
    return false;
  }

  /** Goes back to an earlier place; the next `fill` reads from there. */
  seek(place: RecordPlace): void {
    this.offset = place.offset;
    this.position = place.position;
    this.at = this.end = 0;
  }
}
