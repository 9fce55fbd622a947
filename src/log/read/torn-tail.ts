/**
 * What is after the last good record of a segment, and whether it may be cut.
 *
 * A power cut tears the sync group that was being written: any of its sectors may be missing, so a
 * later record of the *same* group may be whole after a hole. A sync group is begun only when the
 * previous one is durable. So a whole record after the hole whose group began after the hole proves
 * that the missing records were acknowledged: that is damage.
 */
import { groupOffsetOf, positionOf } from '../format/codec.js';
import { aligned, ALIGNMENT, RECORD } from '../format/layout.js';
import { CHECKSUMS, recordAt } from '../format/record-step.js';
import type { ReadableFile } from './record-pages.js';
import { whyStopped, type ScanStop } from './scan.js';

const READ_BYTES = 256 * 1024;
const ZEROS = Buffer.alloc(READ_BYTES);

export interface RecordAfter {
  readonly offset: number;
  /** Offset after its padding. */
  readonly end: number;
  readonly position: number;
  /** Position of the first record of its sync group. */
  readonly groupPosition: number;
}

export interface BytesAfter {
  /** Offset after the last nonzero byte; the start if there is none. */
  readonly end: number;
  /** Whole records, by offset. */
  readonly records: readonly RecordAfter[];
}

/**
 * Searches the file from `start` on. Reads the bytes up to the last nonzero one to memory: at most a
 * segment.
 *
 * @param missing the position of the record that would be at `start`
 * @param zeros   the search ends after so many zeros
 */
export async function bytesAfter(
  file: ReadableFile,
  start: number,
  missing: number,
  zeros = Infinity,
): Promise<BytesAfter> {
  const end = await endOfBytes(file, start, zeros);
  if (end === start) return { end, records: [] };
  // The last record ends with its padding.
  const bytes = Buffer.allocUnsafeSlow(aligned(end - start));
  const filled = await file.read(bytes, start);
  return { end, records: recordsIn(bytes.subarray(0, filled), start, missing) };
}

async function endOfBytes(file: ReadableFile, start: number, zeros: number): Promise<number> {
  const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  let end = start;
  for (let offset = start; ;) {
    const filled = await file.read(buffer, offset);
    const isZero = buffer.compare(ZEROS, 0, filled, 0, filled) === 0;
    if (!isZero) {
      let last = filled - 1;
      while (buffer[last] === 0) last -= 1;
      end = offset + last + 1;
    }
    offset += filled;
    if (filled < READ_BYTES || offset - end >= zeros) return end;
  }
}

function recordsIn(bytes: Buffer, start: number, missing: number): RecordAfter[] {
  const records: RecordAfter[] = [];
  // So many of the smallest records fit: no record of this log has a higher position.
  const positionMax = missing + bytes.length / RECORD.headBytes;
  for (let at = 0; at + RECORD.headBytes <= bytes.length;) {
    const found = positionOf(bytes, at);
    const step = found <= positionMax ? recordAt(bytes, at, bytes.length, found, CHECKSUMS) : null;
    if (typeof step === 'number') {
      const groupPosition = found - groupOffsetOf(bytes, at);
      records.push({
        offset: start + at,
        end: start + at + step,
        position: found,
        groupPosition,
      });
      at += step;
    } else at += ALIGNMENT;
  }
  return records;
}

/**
 * The record that proves damage; null if everything may be the rest of one torn sync group.
 *
 * @param missing the first position that is not readable
 */
export function proofOfLoss(behind: BytesAfter, missing: number): RecordAfter | null {
  for (const record of behind.records) {
    const isOfTornGroup = record.position > missing && record.groupPosition <= missing;
    if (!isOfTornGroup) return record;
  }
  return null;
}

/** Why a scan stopped within a log, and where the next readable record is. */
export function describeLoss(stop: ScanStop | null, behind: BytesAfter): string {
  const why = whyStopped(stop) ?? 'no record stands where one must be';
  const [onward] = behind.records;
  const goesOn = onward
    ? `the next whole record is ${onward.position}, at offset ${onward.offset}`
    : 'no whole record follows in this segment';
  return `${why}; ${goesOn}`;
}
