/**
 * The end of the newest segment, for a reader without the lock: a writer may go on there at any
 * moment, and only the bytes after it show whether the log should have gone on.
 */
import { assert } from '../../base/assert.js';
import type { DiskFile } from '../../base/ports.js';
import { position } from '../../base/units.js';
import { LogDamaged } from '../errors.js';
import { SegmentScan, type ScanPlace } from '../format/scan.js';
import type { ListedSegment } from './segment-list.js';
import { bytesAfter, describeLoss, proofOfLoss } from './torn-tail.js';

/** More than a fault of a disk clears at once. `verifyLog` looks behind them too. */
const ZEROS_MAX = 1024 * 1024;

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
  const { stop, reached } = scan;
  if (stop?.kind !== 'contradiction') return false;
  throw damageAt(segment, reached, stop.why);
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
  const scan = new SegmentScan(file, end);
  while ((await scan.next()) !== null);
  const { reached, stop } = scan;
  assert(stop !== null, 'a scan that ends says why');
  const behind = await bytesAfter(file, reached.offset, reached.position, ZEROS_MAX);
  // The record that was missing: a writer has gone on, perhaps not yet to the end of its append.
  if (behind.records[0]?.offset === reached.offset) return null;
  const isLoss = stop.kind === 'contradiction' || proofOfLoss(behind, reached.position) !== null;
  if (!isLoss || (await goesOn(file, segment, scan.end))) return null;
  return damageAt(segment, reached, describeLoss(stop, behind));
}

const damageAt = (
  segment: ListedSegment,
  { offset, position: at }: ScanPlace,
  found: string,
): LogDamaged => new LogDamaged({ segment: segment.name, offset, position: position(at) }, found);
