/** The place of a position in a log, and the chain hash of the record before it. */
import type { Disk } from '../../base/ports.js';
import { withFile } from '../files.js';
import { CHAIN_BYTES } from '../format/layout.js';
import type { FinishedScan } from './log-end.js';
import { SegmentScan, startOf, type ScanPlace } from './scan.js';
import type { ListedSegment } from './segment-list.js';

/** Before the first record of a log. */
export const LOG_START: ScanPlace = { offset: 0, position: 0, chain: Buffer.alloc(CHAIN_BYTES) };

export type PositionSearch =
  | { readonly kind: 'found'; readonly place: ScanPlace }
  /** No segment begins so early: it was retired or lost. */
  | { readonly kind: 'before-log' }
  /** The segment cannot be read up to the position. `index` is its index in the list. */
  | { readonly kind: 'unreached'; readonly index: number; readonly scan: FinishedScan };

/** Checks one segment up to the position. */
export async function placeAt(
  disk: Disk,
  segments: readonly ListedSegment[],
  at: number,
): Promise<PositionSearch> {
  const index = segments.findLastIndex(({ header }) => header.firstPosition <= at);
  const segment = segments[index];
  if (!segment) return at === 0 ? { kind: 'found', place: LOG_START } : { kind: 'before-log' };
  const scan = await withFile(disk, segment.path, 'read', (file) =>
    new SegmentScan(file, startOf(segment), { from: Infinity, until: at }).finish(),
  );
  const { reached } = scan;
  return reached.position === at
    ? { kind: 'found', place: reached }
    : { kind: 'unreached', index, scan };
}
