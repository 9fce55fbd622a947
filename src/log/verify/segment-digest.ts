/**
 * The sum of one sealed segment: a SHA-256 over all its records at once, which is many times as
 * fast as one for each. If a later event of the same log has the same digest, the records are, byte
 * by byte, those that were checked one by one before that event was written.
 * What the log cannot have said of itself is looked at here: that the records lead from the chain
 * hash in this header to the one in the next, and that nothing stands behind them.
 *
 * Synchronous, so that it can be done on a thread. Answers null where anything is unusual.
 */
import { createHash } from 'node:crypto';
import { claimedLength, followsChain, positionOf } from '../format/codec.js';
import { CHAIN_BYTES, RECORD } from '../format/layout.js';
import { isOfType } from '../read/heads.js';
import { endsInZeros, RecordsInBuffers, type ReadNow } from '../read/segment-bytes.js';
import type { SegmentFacts, SegmentToCheck } from './segment-check.js';

/** What an event says of a sealed segment: the SHA-256 of its records from one position to another. */
export interface SegmentSum {
  readonly from: number;
  /** Exclusive. */
  readonly to: number;
  /** In hex. */
  readonly sha256: string;
}

/** Which events tell of sums, and how to read one. The log knows no types by itself. */
export interface SumEvents {
  readonly type: string;
  /** Null for a body that is none. */
  sumOf(body: unknown): SegmentSum | null;
}

export function sumSegment(segment: SegmentToCheck, read: ReadNow): SegmentFacts | null {
  return new SegmentSumming(segment, read).run();
}

class SegmentSumming {
  readonly #sha256 = createHash('sha256');
  readonly #marks = new Map<number, string>();
  readonly #sums: string[] = [];
  /** Of the last record that was taken. */
  readonly #chain: Buffer;
  #position: number;
  #bytes = 0;
  #firstTime: bigint | null = null;
  #lastTime = 0n;

  constructor(
    private readonly segment: SegmentToCheck,
    private readonly read: ReadNow,
  ) {
    this.#chain = Buffer.from(segment.chain);
    this.#position = segment.position;
  }

  run(): SegmentFacts | null {
    const { offset, position, nextPosition, nextChain } = this.segment;
    const records = new RecordsInBuffers(this.read, offset);
    while (this.#position < nextPosition) {
      const whole = records.next(nextPosition - this.#position);
      if (whole === null || !this.#take(whole.bytes, whole.end)) return null;
    }
    if (this.#firstTime === null || !this.#chain.equals(nextChain)) return null;
    if (!endsInZeros(this.read, offset + this.#bytes)) return null;
    return {
      records: nextPosition - position,
      bytes: this.#bytes,
      sha256: this.#sha256.digest('hex'),
      firstTime: this.#firstTime,
      lastTime: this.#lastTime,
      marks: this.#marks,
      sums: this.#sums,
    };
  }

  #take(bytes: Buffer, end: number): boolean {
    this.#sha256.update(bytes.subarray(0, end));
    if (this.#firstTime === null && !this.#begins(bytes)) return false;
    let last = 0;
    for (let at = 0; at < end; this.#position += 1) {
      if (positionOf(bytes, at) !== this.#position) return false;
      if (this.segment.marks.includes(this.#position)) {
        this.#marks.set(this.#position, this.#chainBefore(bytes, at, last));
      }
      this.#noticeSum(bytes, at);
      last = at;
      // It was looked at a moment ago.
      at += claimedLength(bytes, at) ?? 0;
    }
    bytes.copy(this.#chain, 0, last + RECORD.chain, last + RECORD.chain + CHAIN_BYTES);
    this.#lastTime = bytes.readBigInt64LE(last + RECORD.time);
    this.#bytes += end;
    return true;
  }

  /** Whether the first record continues the chain in the header. */
  #begins(bytes: Buffer): boolean {
    this.#firstTime = bytes.readBigInt64LE(RECORD.time);
    return followsChain(bytes, 0, claimedLength(bytes, 0) ?? 0, Buffer.from(this.segment.chain));
  }

  /** In latin1. `last` is where the record before stands, if it stands in these bytes. */
  #chainBefore(bytes: Buffer, at: number, last: number): string {
    if (at === 0) return this.#chain.toString('latin1');
    return bytes.toString('latin1', last + RECORD.chain, last + RECORD.chain + CHAIN_BYTES);
  }

  #noticeSum(bytes: Buffer, at: number): void {
    const typeAt = at + RECORD.headBytes + bytes.readUInt16LE(at + RECORD.streamLength);
    const bodyAt = typeAt + bytes.readUInt16LE(at + RECORD.typeLength);
    if (!isOfType(bytes, typeAt, bodyAt, this.segment.sumType)) return;
    this.#sums.push(bytes.toString('utf8', bodyAt, at + bytes.readUInt32LE(at + RECORD.length)));
  }
}
