/** A segment's bytes, read synchronously: for who checks a segment as a whole, on a thread. */
import { claimedLength } from '../format/codec.js';
import { RECORD } from '../format/layout.js';

const READ_BYTES = 1024 * 1024;

/** Fills the buffer from the offset; answers fewer bytes only at the end of the file. */
export type ReadNow = (into: Uint8Array, offset: number) => number;

/** Reads a segment a buffer at a time, each of which begins with a record. */
export class RecordsInBuffers {
  #buffer = Buffer.allocUnsafeSlow(READ_BYTES);

  constructor(
    private readonly read: ReadNow,
    private offset: number,
  ) {}

  /**
   * The next whole records, at least one and at most `limit`, by their heads alone: they stand from
   * 0 to `end`. The buffer may be written to, and is used again. Null where no record begins.
   */
  next(limit: number): { readonly bytes: Buffer; readonly end: number } | null {
    for (;;) {
      const filled = this.read(this.#buffer, this.offset);
      let end = 0;
      let needed = 0;
      for (let left = limit; left > 0 && filled - end >= RECORD.headBytes; left -= 1) {
        const padded = claimedLength(this.#buffer, end);
        if (padded === null) break;
        if (padded > filled - end) {
          needed = padded;
          break;
        }
        end += padded;
      }
      this.offset += end;
      if (end > 0) return { bytes: this.#buffer, end };
      if (needed <= this.#buffer.length) return null;
      this.#buffer = Buffer.allocUnsafeSlow(needed);
    }
  }
}

/** Whether there are only zeros up to the end of the file. */
export function endsInZeros(read: ReadNow, from: number): boolean {
  const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  const zeros = Buffer.alloc(READ_BYTES);
  for (let offset = from; ;) {
    const filled = read(buffer, offset);
    if (buffer.compare(zeros, 0, filled, 0, filled) !== 0) return false;
    if (filled < buffer.length) return true;
    offset += filled;
  }
}
