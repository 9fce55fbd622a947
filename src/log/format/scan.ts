/**
 * Reads one segment forwards, record by record, and checks CRC, position and chain of each. It
 * stops at the first place that holds no such record and says what stood there; whether that is
 * the end, a torn tail or damage is decided by others, who know the rest of the log.
 *
 * Only whole appends are handed out: records of a unit whose last record is not there are kept
 * back, and `end` stays before them. A scan that has stopped may be asked again later: it then
 * looks whether the file has grown.
 */
import type { DiskFile } from '../../base/ports.js';
import { reasonOf } from '../../base/errors.js';
import {
  claimedLength,
  decodeRecord,
  followsChain,
  groupOffsetOf,
  isIntact,
  isOfStream,
  positionOf,
  unitContinues,
} from './codec.js';
import { CHAIN_BYTES, RECORD } from './layout.js';
import type { LogRecord } from '../types.js';

/** Small at first, so that a follower at the end of a segment does not read it all each time. */
const READ_BYTES_MIN = 32 * 1024;
/** About 2,000 records: some milliseconds of work before the event loop breathes. */
const READ_BYTES_MAX = 512 * 1024;

export interface ScanPlace {
  /** Offset of the next record in the file. */
  readonly offset: number;
  /** Its position. */
  readonly position: number;
  /** Chain hash of the record before it. */
  readonly chain: Buffer;
}

/** What stood where the next record would have been. */
export type ScanStop =
  /** `until` was reached. */
  | { readonly kind: 'until' }
  /** The file ends here, or only zeros were seen where a head would be. */
  | { readonly kind: 'nothing' }
  /** Bytes that are no whole record: a torn write, or damage. */
  | { readonly kind: 'unreadable'; readonly why: string }
  /** A record whose CRC holds and that still does not belong here: never a torn write. */
  | {
      readonly kind: 'contradiction';
      readonly about: 'position' | 'chain' | 'body';
      readonly why: string;
    };

export interface ScanOptions {
  /** Records before this position are checked, but not handed out. */
  readonly from?: number;
  /** The scan stops at this position, whatever stands there. */
  readonly until?: number;
  /** Records of other streams are checked, but not handed out. */
  readonly stream?: string;
  /** Keeps the offsets of the records handed out, in `offsets`. */
  readonly keepOffsets?: boolean;
}

export class SegmentScan {
  /** Why the last `next` answered null. */
  stop: ScanStop | null = null;
  /** Offsets of the returned records, if requested. */
  readonly offsets: number[] = [];
  /** Offset where the sync group of the last record begins. */
  groupStart: number;

  readonly #file: DiskFile;
  readonly #from: number;
  readonly #until: number;
  readonly #stream: Buffer | null;
  readonly #keepOffsets: boolean;
  readonly #chain = Buffer.alloc(CHAIN_BYTES);
  readonly #wholeChain = Buffer.alloc(CHAIN_BYTES);
  #offset: number;
  #position: number;
  #wholeOffset: number;
  #wholePosition: number;
  #held: LogRecord[] = [];
  #heldOffsets: number[] = [];
  #buffer = Buffer.allocUnsafeSlow(READ_BYTES_MIN);

  constructor(file: DiskFile, start: ScanPlace, query: ScanOptions = {}) {
    this.#file = file;
    this.#from = query.from ?? 0;
    this.#until = query.until ?? Infinity;
    this.#stream = query.stream === undefined ? null : Buffer.from(query.stream, 'latin1');
    this.#keepOffsets = query.keepOffsets ?? false;
    this.#offset = this.#wholeOffset = this.groupStart = start.offset;
    this.#position = this.#wholePosition = start.position;
    start.chain.copy(this.#chain);
    start.chain.copy(this.#wholeChain);
  }

  /** Behind the last whole append. */
  get end(): ScanPlace {
    return {
      offset: this.#wholeOffset,
      position: this.#wholePosition,
      chain: Buffer.from(this.#wholeChain),
    };
  }

  /** Behind the last good record, which may belong to an append that is not whole. */
  get reached(): ScanPlace {
    return { offset: this.#offset, position: this.#position, chain: Buffer.from(this.#chain) };
  }

  /** The next requested records, perhaps none yet; null once the scan has stopped. */
  async next(): Promise<LogRecord[] | null> {
    this.stop = null;
    const filled = await this.#file.read(this.#buffer, this.#offset);
    const out: LogRecord[] = [];
    const consumed = this.#decodeAll(filled, filled < this.#buffer.length, out);
    if (consumed > 0) {
      this.#growTo(Math.min(this.#buffer.length * 4, READ_BYTES_MAX));
      return out;
    }
    return this.#hasStopped() ? null : out;
  }

  #hasStopped(): boolean {
    return this.stop !== null;
  }

  /** Starts again at `end`: a follower waits there for the rest of a unit or a torn write. */
  rewind(): void {
    this.#offset = this.#wholeOffset;
    this.#position = this.#wholePosition;
    this.#wholeChain.copy(this.#chain);
    this.#held = [];
    this.#heldOffsets = [];
  }

  #decodeAll(filled: number, atEndOfFile: boolean, out: LogRecord[]): number {
    const bytes = this.#buffer;
    let at = 0;
    for (;;) {
      if (this.#position >= this.#until) {
        this.stop = { kind: 'until' };
        break;
      }
      if (filled - at < RECORD.headBytes) {
        if (atEndOfFile) this.#stopAtShort(bytes.subarray(at, filled));
        break;
      }
      const padded = claimedLength(bytes, at);
      if (padded === null) {
        this.stop = headIsZero(bytes, at)
          ? { kind: 'nothing' }
          : { kind: 'unreadable', why: 'the bytes here are not the head of a record' };
        break;
      }
      if (padded > filled - at) {
        if (atEndOfFile) this.#stopAtShort(bytes.subarray(at, filled));
        else if (at === 0) this.#growTo(padded);
        break;
      }
      this.stop = this.#check(bytes, at, padded);
      if (this.stop !== null) break;
      if (!this.#take(bytes, at, padded, out)) break;
      at += padded;
    }
    return at;
  }

  #check(bytes: Buffer, at: number, padded: number): ScanStop | null {
    if (!isIntact(bytes, at, padded)) {
      return { kind: 'unreadable', why: 'a record fails its checksum' };
    }
    const found = positionOf(bytes, at);
    if (found !== this.#position) {
      return {
        kind: 'contradiction',
        about: 'position',
        why: `a record with position ${found} stands here`,
      };
    }
    if (!followsChain(bytes, at, padded, this.#chain)) {
      return {
        kind: 'contradiction',
        about: 'chain',
        why: 'a record with a good checksum does not continue the hash chain',
      };
    }
    return null;
  }

  /** Moves over a checked record; false when it cannot be decoded, which stops the scan. */
  #take(bytes: Buffer, at: number, padded: number, out: LogRecord[]): boolean {
    const isRequested =
      this.#position >= this.#from &&
      (this.#stream === null || isOfStream(bytes, at, this.#stream));
    if (isRequested) {
      try {
        this.#held.push(decodeRecord(bytes, at));
      } catch (thrown) {
        this.stop = {
          kind: 'contradiction',
          about: 'body',
          why: `a record's body is unusable: ${reasonOf(thrown)}`,
        };
        return false;
      }
      if (this.#keepOffsets) this.#heldOffsets.push(this.#offset);
    }
    if (groupOffsetOf(bytes, at) === 0) this.groupStart = this.#offset;
    this.#offset += padded;
    this.#position += 1;
    if (!unitContinues(bytes, at)) this.#closeUnit(out);
    return true;
  }

  #closeUnit(out: LogRecord[]): void {
    this.#wholeOffset = this.#offset;
    this.#wholePosition = this.#position;
    this.#chain.copy(this.#wholeChain);
    for (const record of this.#held) out.push(record);
    this.#held.length = 0;
    for (const offset of this.#heldOffsets) this.offsets.push(offset);
    this.#heldOffsets.length = 0;
  }

  #stopAtShort(rest: Buffer): void {
    this.stop = rest.every((byte) => byte === 0)
      ? { kind: 'nothing' }
      : { kind: 'unreadable', why: 'the file ends within a record' };
  }

  #growTo(size: number): void {
    if (size > this.#buffer.length) this.#buffer = Buffer.allocUnsafeSlow(size);
  }
}

function headIsZero(bytes: Buffer, at: number): boolean {
  for (let index = at; index < at + RECORD.headBytes; index++) {
    if (bytes[index] !== 0) return false;
  }
  return true;
}
