/**
 * Walks a segment by the heads of its records alone: where each begins, its position, time and
 * stream. No JSON is parsed and no hash is taken, so it is as fast as the disk. Readers
 * check each record that they decode (`isIntact`); damage in other records is reported
 * of by `verifyLog`, not here.
 */
import type { DiskFile } from '../../base/ports.js';
import { claimedLength, isIntact, positionOf, unitContinues } from '../format/codec.js';
import { FLAG_CLOSES_STREAM, RECORD } from '../format/layout.js';
import type { ListedSegment } from './segment-list.js';

/** Enough for a block of an index. */
const READ_BYTES_MIN = 32 * 1024;
/** Few large reads for who waits for nothing else. */
const READ_BYTES_MAX = 2 * 1024 * 1024;
/** About a millisecond of work: beside a daemon's calls. */
const SLICE_BYTES = 256 * 1024;

/** Called for each record of a whole or unfinished append. False ends the walk before it. */
export type HeadVisitor = (bytes: Buffer, at: number, offset: number, padded: number) => boolean;

export interface HeadWalkOptions {
  /** Where a record begins, and its position; the first record by default. */
  readonly from?: { readonly offset: number; readonly position: number };
  /** Checks the CRC of each record, too. */
  readonly checks?: boolean;
  /** Reads little at a time, so that others may run in between. */
  readonly breathes?: boolean;
}

/** Where a walk ended. */
export interface HeadsEnd {
  /** Behind the last whole append. */
  readonly offset: number;
  readonly position: number;
  /** Behind the last record, which may belong to an append that is not whole. */
  readonly reachedPosition: number;
  /** Whether the visitor ended it. */
  readonly wasStopped: boolean;
}

/** Walks forwards until no record stands where the next one would begin. */
export async function walkHeads(
  file: DiskFile,
  segment: ListedSegment,
  visit: HeadVisitor,
  query: HeadWalkOptions = {},
): Promise<HeadsEnd> {
  const { headerBytes, firstPosition } = segment.header;
  let { offset, position } = query.from ?? { offset: headerBytes, position: firstPosition };
  let whole = { offset, position };
  let buffer = Buffer.allocUnsafeSlow(READ_BYTES_MIN);
  const most = query.breathes === true ? SLICE_BYTES : READ_BYTES_MAX;
  const checks = query.checks === true;
  for (;;) {
    const filled = await file.read(buffer, offset);
    let at = 0;
    let needed = 0;
    while (filled - at >= RECORD.headBytes) {
      const padded = claimedLength(buffer, at);
      if (padded === null || positionOf(buffer, at) !== position) break;
      if (padded > filled - at) {
        needed = padded;
        break;
      }
      if (checks && !isIntact(buffer, at, padded)) break;
      if (!visit(buffer, at, offset + at, padded)) {
        return { ...whole, reachedPosition: position, wasStopped: true };
      }
      const isWhole = !unitContinues(buffer, at);
      at += padded;
      position += 1;
      if (isWhole) whole = { offset: offset + at, position };
    }
    offset += at;
    const isEnd = needed <= buffer.length && (at === 0 || filled < buffer.length);
    if (isEnd) return { ...whole, reachedPosition: position, wasStopped: false };
    const size = Math.max(needed, Math.min(buffer.length * 4, most));
    if (size > buffer.length) buffer = Buffer.allocUnsafeSlow(size);
  }
}

/** Whether the record is the last of its stream. */
export function closesStream(bytes: Buffer, at: number): boolean {
  return (bytes.readUInt16LE(at + RECORD.flags) & FLAG_CLOSES_STREAM) !== 0;
}

/** Whether the name of a type that stands there is this one. */
export function isOfType(bytes: Buffer, start: number, end: number, type: string | null): boolean {
  // Most have another length, and making a string of each takes time.
  return type?.length === end - start && bytes.toString('latin1', start, end) === type;
}

/** Whether a record's stream is one of these. Of one alone no string is made to see that. */
export function isOfStreams(streams: ReadonlySet<string>): (bytes: Buffer, at: number) => boolean {
  const [first = ''] = streams;
  const name = Buffer.from(first, 'latin1');
  return (bytes, at) => {
    const length = bytes.readUInt16LE(at + RECORD.streamLength);
    const start = at + RECORD.headBytes;
    if (streams.size === 1) return length === name.length && isAt(bytes, start, name);
    return streams.has(bytes.toString('latin1', start, start + length));
  };
}

function isAt(bytes: Buffer, start: number, name: Buffer): boolean {
  // Names differ at their end most often.
  for (let index = name.length - 1; index >= 0; index -= 1) {
    if (bytes[start + index] !== name[index]) return false;
  }
  return true;
}
