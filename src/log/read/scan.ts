/**
 * Reads one segment forwards, record by record, and checks CRC, position and chain of each. Stops at
 * the first place without such a record and reports what is there. Whether that is the end, a torn
 * tail or damage depends on the rest of the log, and is decided in log-end.ts.
 *
 * Returns whole appends only: records of an append without its last record are kept back, and `end`
 * is before them. `next` after a stop checks whether the file has grown.
 */
import { reasonOf } from '../../base/errors.js';
import { decodeRecord, groupOffsetOf, isOfStream, unitContinues } from '../format/codec.js';
import { CHAIN_BYTES } from '../format/layout.js';
import {
  RecordPages,
  type PagesStop,
  type ReadableFile,
  type RecordPlace,
} from './record-pages.js';
import type { ListedSegment } from './segment-list.js';
import type { LogRecord } from '../types.js';

const PAGE_SIZES = {
  /** Small, so that a follower at the end of a segment reads little each time. */
  least: 32 * 1024,
  /** About 2,000 records: a few milliseconds before the event loop continues. */
  most: 512 * 1024,
};

/** Where the next record begins, or will. */
export interface ScanPlace extends RecordPlace {
  /** Chain hash of the record before it. */
  readonly chain: Buffer;
}

/** Where the records of a segment begin. */
export function startOf({ header }: Pick<ListedSegment, 'header'>): ScanPlace {
  return { offset: header.headerBytes, position: header.firstPosition, chain: header.chain };
}

/** Why a scan stopped; null at a clean end. */
export const whyStopped = (stop: ScanStop | null): string | null =>
  stop && 'why' in stop ? stop.why : null;

/** What is at the place of the next record. */
export type ScanStop =
  | PagesStop
  /** `until` was reached. */
  | { readonly kind: 'until' }
  /** The record belongs here but cannot be decoded. */
  | { readonly kind: 'contradiction'; readonly about: 'body'; readonly why: string };

export interface ScanOptions {
  /** Records before this position are checked, but not returned. */
  readonly from?: number;
  /** The scan stops at this position. */
  readonly until?: number;
  /** Records of other streams are checked, but not returned. */
  readonly stream?: string;
  /** Keeps the offsets of the returned records in `offsets`. */
  readonly keepOffsets?: boolean;
  /** Called with the bytes of all records that were checked since the last call. */
  readonly onPage?: (records: Buffer) => void;
}

export class SegmentScan {
  /** Why the last `next` answered null. */
  stop: ScanStop | null = null;
  /** Offsets of the returned records, if requested. */
  readonly offsets: number[] = [];
  /** Offset where the sync group of the last record begins. */
  groupStart: number;

  readonly #from: number;
  readonly #until: number;
  readonly #stream: Buffer | null;
  readonly #keepOffsets: boolean;
  readonly #onPage: ScanOptions['onPage'];
  /** Of the last record that was checked. */
  readonly #chain = Buffer.alloc(CHAIN_BYTES);
  readonly #pages: RecordPages;
  readonly #wholeChain = Buffer.alloc(CHAIN_BYTES);
  #whole: RecordPlace;
  /** Read and not yet returned; the first `#wholeRecords` of them are of whole appends. */
  #records: LogRecord[] = [];
  #recordOffsets: number[] = [];
  #wholeRecords = 0;

  constructor(file: ReadableFile, start: ScanPlace, query: ScanOptions = {}) {
    this.#from = query.from ?? 0;
    this.#until = query.until ?? Infinity;
    this.#stream = query.stream === undefined ? null : Buffer.from(query.stream, 'latin1');
    this.#keepOffsets = query.keepOffsets ?? false;
    this.#onPage = query.onPage;
    this.groupStart = start.offset;
    this.#whole = start;
    start.chain.copy(this.#chain);
    start.chain.copy(this.#wholeChain);
    const checks = { checksum: true, chain: this.#chain };
    this.#pages = new RecordPages(file, start, checks, PAGE_SIZES);
  }

  /** After the last whole append. */
  get end(): ScanPlace {
    const { offset, position } = this.#whole;
    return { offset, position, chain: Buffer.from(this.#wholeChain) };
  }

  /** After the last good record, which may belong to an append that is not whole. */
  get reached(): ScanPlace {
    const { offset, position } = this.#pages;
    return { offset, position, chain: Buffer.from(this.#chain) };
  }

  /** The next requested records, perhaps none yet; null once the scan has stopped. */
  async next(): Promise<LogRecord[] | null> {
    // A record with a valid checksum does not change any more.
    if (this.stop?.kind === 'contradiction' && this.stop.about === 'body') return null;
    const pages = this.#pages;
    const begin = pages.position;
    await pages.fill();
    this.stop = this.#takeAll();
    this.#onPage?.(pages.bytes.subarray(0, pages.end));
    return this.stop === null || pages.position > begin ? this.#handOut() : null;
  }

  #handOut(): LogRecord[] {
    const whole = this.#records;
    this.#records = whole.splice(this.#wholeRecords);
    this.offsets.push(...this.#recordOffsets.splice(0, this.#wholeRecords));
    this.#wholeRecords = 0;
    return whole;
  }

  /** Reads to the end, or to `until`, and drops the records. */
  async finish(): Promise<this> {
    while ((await this.next()) !== null);
    return this;
  }

  /** Starts again at `end`, where a follower waits for the rest of an append. */
  rewind(): void {
    this.#pages.seek(this.#whole);
    this.#wholeChain.copy(this.#chain);
    this.#records = [];
    this.#recordOffsets = [];
  }

  #takeAll(): ScanStop | null {
    const pages = this.#pages;
    for (;;) {
      if (pages.position >= this.#until) return { kind: 'until' };
      if (!pages.step()) return pages.stop;
      const { bytes, at } = pages;
      const offset = pages.base + at;
      const isRequested =
        pages.position > this.#from &&
        (this.#stream === null || isOfStream(bytes, at, this.#stream));
      if (isRequested) {
        try {
          this.#records.push(decodeRecord(bytes, at));
        } catch (thrown) {
          pages.seek({ offset, position: pages.position - 1 });
          const why = `a record's body is unusable: ${reasonOf(thrown)}`;
          return { kind: 'contradiction', about: 'body', why };
        }
        if (this.#keepOffsets) this.#recordOffsets.push(offset);
      }
      if (groupOffsetOf(bytes, at) === 0) this.groupStart = offset;
      if (!unitContinues(bytes, at)) this.#closeUnit();
    }
  }

  #closeUnit(): void {
    const { offset, position } = this.#pages;
    this.#whole = { offset, position };
    this.#chain.copy(this.#wholeChain);
    this.#wholeRecords = this.#records.length;
  }
}
