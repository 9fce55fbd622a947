/**
 * The sum of one sealed segment: a SHA-256 over all its records at once, which is many times as
 * fast as one for each. Whoever finds the same sum in a later event of the same log knows that the
 * records are, byte by byte, those that were checked one by one before that event was written.
 * What the log cannot have said of itself is looked at here: that the records lead from the chain
 * hash in this header to the one in the next, and that nothing stands behind them.
 *
 * Synchronous, so that it can be done on a thread. Answers null where anything is unusual.
 */
import { createHash } from 'node:crypto';
import { claimedLength, followsChain, positionOf } from './codec.js';
import { CHAIN_BYTES, RECORD } from './format.js';
import {
  endsInZeros,
  isOfType,
  RecordsInBuffers,
  type ReadNow,
  type SegmentFacts,
  type SegmentToCheck,
} from './segment-check.js';

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
  const { offset, position, nextPosition, nextChain, sumType } = segment;
  const sha256 = createHash('sha256');
  const records = new RecordsInBuffers(read, offset);
  const marks = new Map<number, string>();
  const sums: string[] = [];
  const chain = Buffer.from(segment.chain);
  let firstTime: bigint | null = null;
  let lastTime = 0n;
  let bytes = 0;
  for (let at = position; at < nextPosition;) {
    const whole = records.next(nextPosition - at);
    if (whole === null) return null;
    const { bytes: buffer, end } = whole;
    sha256.update(buffer.subarray(0, end));
    if (firstTime === null) {
      firstTime = buffer.readBigInt64LE(RECORD.time);
      const padded = claimedLength(buffer, 0) ?? 0;
      if (!followsChain(buffer, 0, padded, Buffer.from(segment.chain))) return null;
    }
    let last = 0;
    for (let start = 0; start < end; at += 1) {
      if (positionOf(buffer, start) !== at) return null;
      if (segment.marks.includes(at)) marks.set(at, chainBefore(buffer, start, last, chain));
      const typeAt = start + RECORD.headBytes + buffer.readUInt16LE(start + RECORD.streamLength);
      const bodyAt = typeAt + buffer.readUInt16LE(start + RECORD.typeLength);
      if (isOfType(buffer, typeAt, bodyAt, sumType)) {
        const bodyEnd = start + buffer.readUInt32LE(start + RECORD.length);
        sums.push(buffer.toString('utf8', bodyAt, bodyEnd));
      }
      last = start;
      start += claimedLength(buffer, start) ?? 0;
    }
    buffer.copy(chain, 0, last + RECORD.chain, last + RECORD.chain + CHAIN_BYTES);
    lastTime = buffer.readBigInt64LE(last + RECORD.time);
    bytes += end;
  }
  if (firstTime === null || !chain.equals(nextChain)) return null;
  if (!endsInZeros(read, offset + bytes)) return null;
  return {
    ...{ records: nextPosition - position, bytes, sha256: sha256.digest('hex') },
    ...{ firstTime, lastTime, marks, sums },
  };
}

/** Chain hash of the record before the one at `start`, in latin1. */
function chainBefore(buffer: Buffer, start: number, last: number, known: Buffer): string {
  if (start === 0) return known.toString('latin1');
  return buffer.toString('latin1', last + RECORD.chain, last + RECORD.chain + CHAIN_BYTES);
}
