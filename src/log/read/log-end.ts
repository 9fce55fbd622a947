/**
 * How a segment ends. A sealed segment must lead exactly up to the next one. At the end of the newest
 * there may be the rest of a torn write, which proves nothing, or records that prove that
 * acknowledged ones are lost (torn-tail.ts).
 */
import { position } from '../../base/units.js';
import type { DiskFile } from '../../base/ports.js';
import { LogDamaged } from '../errors.js';
import { SegmentScan, startOf, whyStopped, type ScanPlace, type ScanStop } from './scan.js';
import type { RecordPlace } from './record-pages.js';
import type { ListedSegment } from './segment-list.js';
import { bytesAfter, describeLoss, proofOfLoss, type BytesAfter } from './torn-tail.js';

/** More than a disk fault clears at once. `verifyLog` has no such limit. */
const ZEROS_MAX = 1024 * 1024;

/** A scan that has stopped. */
export type FinishedScan = Pick<SegmentScan, 'end' | 'reached'> & {
  readonly stop: ScanStop | null;
};

export interface NewestEnd {
  /** `torn`: bytes or records of an unfinished write, which startup cuts. */
  readonly kind: 'clean' | 'torn' | 'damaged';
  /** What is after the last good record. */
  readonly found: string;
  readonly behind: BytesAfter;
  /** Offset after the last good record and after the last nonzero byte. */
  readonly bytesEnd: number;
}

/** @param zeros the search ends after so many zeros */
export async function judgeNewestEnd(
  file: DiskFile,
  { reached, end, stop }: FinishedScan,
  zeros = Infinity,
): Promise<NewestEnd> {
  const behind = await bytesAfter(file, reached.offset, reached.position, zeros);
  const bytesEnd = Math.max(behind.end, reached.offset);
  const isLost = stop?.kind === 'contradiction' || proofOfLoss(behind, reached.position) !== null;
  if (isLost) return { kind: 'damaged', found: describeLoss(stop, behind), behind, bytesEnd };
  const found = whyStopped(stop) ?? 'the last append is not whole';
  return { kind: bytesEnd === end.offset ? 'clean' : 'torn', found, behind, bytesEnd };
}

/**
 * Checks the end of a segment without reading the bytes after it. `next` is the following segment.
 *
 * Fails  LogDamaged if a sealed segment does not lead exactly up to the next one, or a whole record
 *        does not belong where it is
 */
export function requireGoodEnd(
  segment: ListedSegment,
  next: ListedSegment | null | undefined,
  { reached, end, stop }: FinishedScan,
): void {
  const fail = (found: string): never => {
    throw damageAt(segment, reached, found);
  };
  if (!next) {
    if (stop?.kind === 'contradiction') fail(stop.why);
    return;
  }
  const { firstPosition, chain } = next.header;
  if (reached.position !== firstPosition) {
    fail(
      `${whyStopped(stop) ?? 'the records end here'}; the next segment begins at ${firstPosition}`,
    );
  }
  if (end.position !== reached.position) fail('the last append of a sealed segment is not whole');
  if (!reached.chain.equals(chain)) {
    fail(`the next segment, ${next.name}, continues another hash chain than this one ends with`);
  }
}

/** Reads with all checks. Fails with LogDamaged as `requireGoodEnd`. */
export async function requireSound(
  file: DiskFile,
  segment: ListedSegment,
  next: ListedSegment | null,
): Promise<SegmentScan> {
  const scan = await new SegmentScan(file, startOf(segment)).finish();
  requireGoodEnd(segment, next, scan);
  return scan;
}

/** For a reader that skips checks and has found a damaged record: reports where and how. */
export async function failAtDamage(
  file: DiskFile,
  segment: ListedSegment,
  next: ListedSegment | null,
): Promise<never> {
  const { reached, stop } = await requireSound(file, segment, next);
  const why = whyStopped(stop) ?? 'a record here is not what it was a moment ago';
  throw damageAt(segment, reached, why);
}

/**
 * Whether there is a whole append after what was the end.
 *
 * Fails  LogDamaged if a whole record there does not belong there: never a torn write
 */
export async function goesOn(
  file: DiskFile,
  segment: ListedSegment,
  end: ScanPlace,
): Promise<boolean> {
  const scan = new SegmentScan(file, end);
  while ((await scan.next()) !== null) if (scan.end.position > end.position) return true;
  requireGoodEnd(segment, null, scan);
  return false;
}

/**
 * The loss after the last readable record; null if everything there may be the rest of a torn write,
 * or if a writer has continued meanwhile.
 *
 * Fails  LogDamaged if a whole record there does not belong there
 *
 * @param end the end of any whole append, from which to read
 */
export async function lossBehind(
  file: DiskFile,
  segment: ListedSegment,
  end: ScanPlace,
): Promise<LogDamaged | null> {
  const scan = await new SegmentScan(file, end).finish();
  const { kind, found, behind } = await judgeNewestEnd(file, scan, ZEROS_MAX);
  // The missing record exists now: a writer has continued, perhaps within an append.
  if (behind.records[0]?.offset === scan.reached.offset) return null;
  if (kind !== 'damaged' || (await goesOn(file, segment, scan.end))) return null;
  return damageAt(segment, scan.reached, found);
}

export const damageAt = (
  { name }: Pick<ListedSegment, 'name'>,
  { offset, position: at }: RecordPlace,
  found: string,
): LogDamaged => new LogDamaged({ segment: name, offset, position: position(at) }, found);
