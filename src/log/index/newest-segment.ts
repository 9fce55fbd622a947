/**
 * The newest segment, held in memory. It has no index file yet, and one question looks at it
 * several times. Each record's checksum is looked at once: what is behind the first one that is
 * not whole does not count, as for every reader. The hash chain is for those who prove something.
 */
import type { DiskFile } from '../../base/ports.js';
import { decodeRecord, isOfStreams, unitContinues } from '../format/codec.js';
import { CHAIN_BYTES, RECORD } from '../format/layout.js';
import { CHECKSUMS } from '../format/record-step.js';
import { RecordPages } from '../read/record-pages.js';
import { startOf, type ScanPlace } from '../read/scan.js';
import { IndexBuilder } from './index-builder.js';
import { SegmentIndex } from './segment-index.js';
import type { ListedSegment } from '../read/segment-list.js';
import type { LogRecord } from '../types.js';

/** Larger ones are read a piece at a time. */
const BYTES_MAX = 64 * 1024 * 1024;

export class NewestSegment {
  /** Behind the last whole append. */
  readonly end: ScanPlace;
  #index: SegmentIndex | null = null;

  private constructor(
    private readonly segment: ListedSegment,
    /** From the first record on. */
    private readonly bytes: Buffer,
    /** Where each record begins in them, and where the last one ends. */
    private readonly offsets: readonly number[],
  ) {
    const { headerBytes, firstPosition, chain } = segment.header;
    const records = offsets.length - 1;
    const last = offsets[records - 1];
    this.end = {
      offset: headerBytes + (offsets[records] ?? 0),
      position: firstPosition + records,
      chain:
        last === undefined
          ? chain
          : Buffer.from(bytes.subarray(last + RECORD.chain, last + RECORD.chain + CHAIN_BYTES)),
    };
  }

  /** Null when it is too large to be held. */
  static async read(file: DiskFile, segment: ListedSegment): Promise<NewestSegment | null> {
    const start = startOf(segment);
    const size = Math.max((await file.size()) - start.offset, RECORD.headBytes);
    if (size > BYTES_MAX) return null;
    // In one page: it may only have become shorter meanwhile, or longer by what does not count yet.
    const pages = new RecordPages(file, start, CHECKSUMS, { least: size, most: size });
    await pages.fill();
    const offsets = [0];
    let whole = 1;
    while (pages.step()) {
      offsets.push(pages.end);
      if (!unitContinues(pages.bytes, pages.at)) whole = offsets.length;
    }
    offsets.length = whole;
    return new NewestSegment(segment, pages.bytes.subarray(0, offsets.at(-1)), offsets);
  }

  /** The records of these streams. */
  records(streams: ReadonlySet<string>): LogRecord[] {
    const isNamed = isOfStreams(streams);
    const found: LogRecord[] = [];
    for (let record = 0; record < this.offsets.length - 1; record += 1) {
      const at = this.offsets[record] ?? 0;
      if (isNamed(this.bytes, at)) found.push(decodeRecord(this.bytes, at));
    }
    return found;
  }

  /** Records that hold these bytes. */
  *holding(needle: Buffer): Generator<LogRecord, void, undefined> {
    const { bytes, offsets } = this;
    for (let hit = bytes.indexOf(needle); hit !== -1 && hit < bytes.length;) {
      const record = lastNotAbove(offsets, hit);
      yield decodeRecord(bytes, offsets[record] ?? 0);
      hit = bytes.indexOf(needle, offsets[record + 1]);
    }
  }

  /** As of a sealed segment, but without texts. */
  index(): SegmentIndex {
    if (this.#index !== null) return this.#index;
    const { uuid, firstPosition, headerBytes } = this.segment.header;
    const builder = new IndexBuilder(uuid, firstPosition);
    for (const [record, at] of this.offsets.slice(0, -1).entries()) {
      const padded = (this.offsets[record + 1] ?? at) - at;
      builder.take(this.bytes, at, headerBytes + at, padded);
    }
    const chain = this.offsets.length > 1 ? this.end.chain : Buffer.alloc(CHAIN_BYTES);
    return (this.#index = new SegmentIndex(builder.finish(chain)));
  }
}

/** Of rising numbers, the index of the last one that is not above a limit which the first is not. */
function lastNotAbove(numbers: readonly number[], limit: number): number {
  let low = 0;
  let high = numbers.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if ((numbers[middle] ?? Infinity) <= limit) low = middle;
    else high = middle - 1;
  }
  return low;
}
