/**
 * How a segment ends: the one judge of it. A sealed segment must lead exactly up to the next one.
 * Behind the newest there may be the rest of a torn write, which proves nothing, or records that
 * prove that acknowledged ones are lost (torn-tail.ts).
 */
import { position } from '../../base/units.js';
import type { DiskFile } from '../../base/ports.js';
import { LogDamaged } from '../errors.js';
import { SegmentScan, startOf, whyStopped, type ScanPlace, type ScanStop } from './scan.js';
import type { RecordPlace } from './record-pages.js';
import type { ListedSegment } from './segment-list.js';
import { bytesAfter, describeLoss, proofOfLoss, type BytesAfter } from './torn-tail.js';

/** More than a fault of a disk clears at once. `verifyLog` looks behind them too. */
const ZEROS_MAX = 1024 * 1024;

/** A scan that has stopped. */
export type FinishedScan = Pick<SegmentScan, 'end' | 'reached'> & {
  readonly stop: ScanStop | null;
};

export interface NewestEnd {
  /** `torn`: bytes or records that an unfinished write left, and that a start may cut. */
  readonly kind: 'clean' | 'torn' | 'damaged';
  /** What stood behind the last good record. */
  readonly found: string;
  readonly behind: BytesAfter;
  /** Offset behind the last good record and the last byte that is not zero. */
  readonly bytesEnd: number;
}

/** @param zeros behind so many zeros nothing is looked for */
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
 * What can be known of the end of a segment without looking behind it. `next` is the segment that
 * follows it, if any.
 *
 * Fails  LogDamaged when a sealed segment does not lead exactly up to the next one, or a record is
 *        whole and does not belong where it stands
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

/** After a record was found damaged by a reader that skips checks: says where and how. */
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
 * Whether a whole append stands behind what was the end.
 *
 * Fails  LogDamaged when one is whole there and does not belong there: never a torn write
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
 * What is lost behind the last readable record; null when all that stands there may be the rest of
 * a torn write, or when a writer has gone on meanwhile.
 *
 * Fails  LogDamaged when a record is whole there and does not belong there
 *
 * @param end behind any whole append: it is read on from there
 */
export async function lossBehind(
  file: DiskFile,
  segment: ListedSegment,
  end: ScanPlace,
): Promise<LogDamaged | null> {
  const scan = await new SegmentScan(file, end).finish();
  const { kind, found, behind } = await judgeNewestEnd(file, scan, ZEROS_MAX);
  // The record that was missing: a writer has gone on, perhaps not yet to the end of its append.
  if (behind.records[0]?.offset === scan.reached.offset) return null;
  if (kind !== 'damaged' || (await goesOn(file, segment, scan.end))) return null;
  return damageAt(segment, scan.reached, found);
}

export const damageAt = (
  { name }: Pick<ListedSegment, 'name'>,
  { offset, position: at }: RecordPlace,
  found: string,
): LogDamaged => new LogDamaged({ segment: name, offset, position: position(at) }, found);
