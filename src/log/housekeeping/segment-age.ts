/**
 * How old segments are, although the clock that dated them may have been wrong for a while.
 *
 * Records are in the order in which they were written, whatever their times say. A time that is
 * still to come is wrong, and what bears it is no younger than what was written after it: a clock
 * that was ahead makes nothing young. And nothing is older than what was written before it: a
 * clock that was behind makes nothing old.
 */
import type { UnixNanos } from '../../base/units.js';

export class SegmentAges {
  readonly #endOf: (index: number) => Promise<UnixNanos | null>;
  readonly #now: UnixNanos;
  /** Of the segments queried so far. */
  #latest: UnixNanos | null = null;
  /** The first segment from here on whose end is not still to come, and that end. */
  #ended: { readonly index: number; readonly at: UnixNanos } | null = null;

  /**
   * @param endOf when the segment with this index was last written to; null behind the newest
   * @param now what is later is still to come
   */
  constructor(endOf: (index: number) => Promise<UnixNanos | null>, now: UnixNanos) {
    this.#endOf = endOf;
    this.#now = now;
  }

  /**
   * The time after which nothing was written to the segment; never later than `now`. To be asked
   * about one segment after the other, beginning with the oldest.
   */
  async latestWrite(index: number): Promise<UnixNanos> {
    const end = await this.#endNotToCome(index);
    if (this.#latest === null || end > this.#latest) this.#latest = end;
    return this.#latest;
  }

  async #endNotToCome(from: number): Promise<UnixNanos> {
    if (this.#ended !== null && this.#ended.index >= from) return this.#ended.at;
    for (let index = from; ; index += 1) {
      const end = await this.#endOf(index);
      if (end !== null && end > this.#now) continue;
      const at = end ?? this.#now;
      this.#ended = { index: end === null ? Infinity : index, at };
      return at;
    }
  }
}
