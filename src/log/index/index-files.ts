/**
 * Indexes beside their segments: read and checked against the segment, made in memory where there
 * is none, and written by the one who holds the log. Sealed segments alone have index files.
 */
import { crc32 } from 'node:zlib';
import { errnoOf } from '../../base/errors.js';
import type { Disk, DiskFile } from '../../base/ports.js';
import { indexName, logDirectory, NO_FILE, removeIfThere, withFile } from '../files.js';
import { CHAIN_BYTES, RECORD } from '../format/layout.js';
import { walkHeads, type HeadWalkOptions } from '../read/heads.js';
import { IndexBuilder } from './index-builder.js';
import { claimedHeadBytes, IndexHead, IndexUnusable, type IndexBinding } from './index-head.js';
import { failAtDamage } from '../read/log-end.js';
import { startOf } from '../read/scan.js';
import { SegmentIndex } from './segment-index.js';
import type { ListedSegment } from '../read/segment-list.js';
import type { IndexedTexts } from './text-filter.js';

/** Far more than the index of the largest segment has. */
const INDEX_BYTES_MAX = 256 * 1024 * 1024;

export const indexPath = (root: string, firstPosition: number): string =>
  `${logDirectory(root)}/${indexName(firstPosition)}`;

/** What the index of a sealed segment must say. */
export function bindingOf({ header }: ListedSegment, next: ListedSegment): IndexBinding {
  return {
    uuid: header.uuid,
    firstPosition: header.firstPosition,
    nextPosition: next.header.firstPosition,
    chain: next.header.chain,
  };
}

/** Most heads are shorter; of one that is not the rest is read too. */
const HEAD_BYTES = 4096;

/**
 * The head of a sealed segment's index; null when there is no index.
 *
 * @throws IndexUnusable when it is damaged, foreign, or of other records
 */
export function readIndexHead(
  disk: Disk,
  root: string,
  segment: ListedSegment,
  next: ListedSegment,
): Promise<IndexHead | null> {
  return withIndexFile(disk, root, segment, (file) => headIn(file, segment, next));
}

/**
 * The same and the filter of texts, which is looked for when the texts are of this version.
 *
 * @param known the head, where it was read before
 */
export function readIndexFilter(
  disk: Disk,
  root: string,
  segment: ListedSegment,
  next: ListedSegment,
  textsVersion: number,
  known: IndexHead | null = null,
): Promise<{ readonly head: IndexHead; readonly filter: Buffer | null } | null> {
  return withIndexFile(disk, root, segment, async (file) => {
    const head = known ?? (await headIn(file, segment, next));
    if (head.textsVersion !== textsVersion) return { head, filter: null };
    const { at, bytes, crc } = head.filter;
    const filter = Buffer.allocUnsafe(Math.min(bytes, INDEX_BYTES_MAX));
    const filled = await file.read(filter, at);
    if (filled !== bytes || crc32(filter) !== crc) {
      throw new IndexUnusable('it fails its checksum');
    }
    return { head, filter };
  });
}

async function headIn(
  file: DiskFile,
  segment: ListedSegment,
  next: ListedSegment,
): Promise<IndexHead> {
  let bytes = Buffer.allocUnsafe(HEAD_BYTES);
  bytes = bytes.subarray(0, await file.read(bytes, 0));
  const claimed = claimedHeadBytes(bytes);
  if (claimed > bytes.length && claimed <= INDEX_BYTES_MAX) {
    bytes = Buffer.allocUnsafe(claimed);
    bytes = bytes.subarray(0, await file.read(bytes, 0));
  }
  return ofSegment(new IndexHead(bytes), segment, next);
}

/** The whole index; every byte is checked. */
export function readIndex(
  disk: Disk,
  root: string,
  segment: ListedSegment,
  next: ListedSegment,
): Promise<SegmentIndex | null> {
  return withIndexFile(disk, root, segment, async (file) => {
    const bytes = Buffer.allocUnsafeSlow(Math.min(await file.size(), INDEX_BYTES_MAX));
    const index = new SegmentIndex(bytes.subarray(0, await file.read(bytes, 0)));
    ofSegment(index.head, segment, next);
    return index;
  });
}

function ofSegment(head: IndexHead, segment: ListedSegment, next: ListedSegment): IndexHead {
  const mismatch = head.mismatch(bindingOf(segment, next));
  if (mismatch !== null) throw new IndexUnusable(mismatch);
  return head;
}

async function withIndexFile<Value>(
  disk: Disk,
  root: string,
  { header }: ListedSegment,
  use: (file: DiskFile) => Promise<Value>,
): Promise<Value | null> {
  try {
    return await withFile(disk, indexPath(root, header.firstPosition), 'read', use);
  } catch (thrown) {
    const code = errnoOf(thrown) ?? '';
    if (code === 'ENOENT') return null;
    if (NO_FILE.has(code)) throw new IndexUnusable('it is not a regular file');
    throw thrown;
  }
}

export interface IndexQuery extends HeadWalkOptions {
  readonly isWanted?: () => boolean;
  /** For which the index can be queried; none by default. */
  readonly texts?: IndexedTexts | null;
}

/**
 * Reads a segment and makes its index. `next` is null for the newest segment, which ends at its
 * last whole append. Null when `isWanted` answers false meanwhile.
 *
 * Fails  LogDamaged when a sealed segment does not lead up to the next one
 */
export async function makeIndex(
  file: DiskFile,
  segment: ListedSegment,
  next: ListedSegment | null,
  query: IndexQuery = {},
): Promise<Buffer | null> {
  const { uuid, firstPosition } = segment.header;
  const texts = query.texts ?? null;
  const builder = new IndexBuilder(uuid, firstPosition, texts);
  const isWanted = query.isWanted ?? (() => true);
  const end = await walkHeads(
    file,
    startOf(segment),
    (bytes, at, offset, padded) => {
      if (!isWanted()) return false;
      builder.take(bytes, at, offset, padded);
      return true;
    },
    { checks: true, ...query },
  );
  if (end.wasStopped) return null;
  const chain = await lastChain(file, builder);
  if (next !== null) {
    const isWhole = end.position === next.header.firstPosition && chain.equals(next.header.chain);
    if (!isWhole) await failAtDamage(file, segment, next);
  } else if (end.reachedPosition !== end.position) {
    return makeUpTo(file, segment, end.position, texts);
  }
  return builder.finish(chain);
}

/** Chain hash of an index's last record. Read once more: to keep that of each record as it is met takes longer. */
async function lastChain(file: DiskFile, { lastOffset }: IndexBuilder): Promise<Buffer> {
  const chain = Buffer.alloc(CHAIN_BYTES);
  if (lastOffset !== null) await file.read(chain, lastOffset + RECORD.chain);
  return chain;
}

/** Again, without the beginning of an append whose end is not there. */
async function makeUpTo(
  file: DiskFile,
  segment: ListedSegment,
  to: number,
  texts: IndexedTexts | null,
): Promise<Buffer> {
  const builder = new IndexBuilder(segment.header.uuid, segment.header.firstPosition, texts);
  let at = segment.header.firstPosition;
  await walkHeads(file, startOf(segment), (bytes, start, offset, padded) => {
    if (at >= to) return false;
    builder.take(bytes, start, offset, padded);
    at += 1;
    return true;
  });
  return builder.finish(await lastChain(file, builder));
}

/** Writes an index aside and gives it its name. A crash leaves at most the file aside. */
export async function writeIndex(
  disk: Disk,
  root: string,
  firstPosition: number,
  bytes: Buffer,
): Promise<void> {
  const path = indexPath(root, firstPosition);
  const aside = `${path}.new`;
  await removeIfThere(disk, aside);
  try {
    await withFile(disk, aside, 'create', async (file) => {
      await file.write(bytes, 0);
      // So that no power cut leaves the name on half of it. That the name itself may be lost
      // does no harm: it is made again.
      await file.sync();
    });
    await disk.rename(aside, path);
  } catch (thrown) {
    await removeIfThere(disk, aside).catch(() => false);
    throw thrown;
  }
}
