/**
 * Reads the records of a root as raw bytes and verifies them: for exports, which must pass on
 * exactly the bytes that were hashed, and for proofs about the chain. Reads forwards and without a
 * lock. While a daemon is writing, it ends at the end of the log at that time.
 */
import type { Disk, DiskFile } from '../base/ports.js';
import type { LogDamaged } from '../log/errors.js';
import { CHAIN_BYTES, RECORD } from '../log/format/layout.js';
import { readIdentityIfSound, type StoredIdentity } from '../log/root/identity.js';
import { damageAt, requireGoodEnd } from '../log/read/log-end.js';
import { placeAt } from '../log/read/place-at.js';
import { SegmentScan, startOf } from '../log/read/scan.js';
import { listSegments, type HeaderFault, type ListedSegment } from '../log/read/segment-list.js';
import type { LogRecord } from '../log/types.js';

/** Consecutive whole appends of one segment. */
export interface RawBatch {
  readonly segment: ListedSegment;
  /** Offset of the first byte in the segment. */
  readonly offset: number;
  readonly bytes: Buffer;
  readonly records: readonly LogRecord[];
  /** Where each record begins in `bytes`. */
  readonly starts: readonly number[];
}

/** The segments of a root up to the first unusable one. */
export interface SoundSegments {
  readonly identity: StoredIdentity | null;
  readonly segments: readonly ListedSegment[];
  /** The fault in the segment after them. */
  readonly fault: HeaderFault | null;
}

/** Fails with LogTooNew or HostFault. */
export async function soundSegments(disk: Disk, root: string): Promise<SoundSegments> {
  const identity = await readIdentityIfSound(disk, root);
  const { segments, faults } = await listSegments(disk, root, identity);
  const fault = faults[0] ?? null;
  const end = fault?.position ?? Infinity;
  return {
    identity,
    segments: segments.filter(({ namedPosition }) => namedPosition < end),
    fault,
  };
}

/**
 * Yields all whole appends from a position on. A batch may extend past `to`.
 *
 * Fails  LogDamaged at the first damage, after yielding everything before it
 */
export async function* rawBatches(
  disk: Disk,
  sound: SoundSegments,
  from = 0,
  to = Infinity,
): AsyncGenerator<RawBatch, void, undefined> {
  const { segments, fault } = sound;
  for (const [index, segment] of segments.entries()) {
    const next = segments[index + 1];
    const end = next?.header.firstPosition ?? Infinity;
    if (end <= from || segment.header.firstPosition >= to) continue;
    const file = await disk.open(segment.path, 'read');
    try {
      yield* batchesOf(file, segment, { from, to, next });
    } finally {
      await file.close();
    }
  }
  if (fault !== null && fault.position < to) throw faultAsDamage(fault);
}

async function* batchesOf(
  file: DiskFile,
  segment: ListedSegment,
  query: { readonly from: number; readonly to: number; readonly next: ListedSegment | undefined },
): AsyncGenerator<RawBatch, void, undefined> {
  const scan = new SegmentScan(file, startOf(segment), { from: query.from, keepOffsets: true });
  let seen = 0;
  for (let records = await scan.next(); records !== null; records = await scan.next()) {
    const offset = scan.offsets[seen];
    if (offset !== undefined && records.length > 0) {
      const bytes = Buffer.allocUnsafeSlow(scan.end.offset - offset);
      await file.read(bytes, offset);
      const starts = scan.offsets.slice(seen).map((start) => start - offset);
      yield { segment, offset, bytes, records, starts };
    }
    seen = scan.offsets.length;
    if (scan.end.position >= query.to) return;
  }
  requireGoodEnd(segment, query.next, scan);
}

/** The chain hash of the record that begins at `start`. */
export const chainAt = (bytes: Buffer, start: number): string =>
  bytes.toString('hex', start + RECORD.chain, start + RECORD.chain + CHAIN_BYTES);

/**
 * The chain hash of the record before a position; null if the log ends before the position or its
 * segment was retired. Reads one segment.
 *
 * Fails  LogDamaged if that segment cannot be read up to the position
 */
export async function chainHexBefore(
  disk: Disk,
  { segments, fault }: SoundSegments,
  at: number,
): Promise<string | null> {
  const search = await placeAt(disk, segments, at);
  if (search.kind === 'found') return search.place.chain.toString('hex');
  if (search.kind === 'before-log') return null;
  const [segment, next] = segments.slice(search.index);
  if (segment && next) requireGoodEnd(segment, next, search.scan);
  if (fault !== null) throw faultAsDamage(fault);
  return null;
}

const faultAsDamage = ({ segment, position: at, found }: HeaderFault): LogDamaged =>
  damageAt({ name: segment }, { offset: 0, position: at }, found);
