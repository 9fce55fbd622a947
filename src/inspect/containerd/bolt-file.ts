/**
 * Reads a bbolt database, such as containerd's metadata, read-only. Does not take the file lock,
 * which the owner holds, and works while the owner writes. Handles pages and buckets;
 * containerd-metadata.ts interprets the keys.
 *
 * The format of go.etcd.io/bbolt, with integers in host byte order (little-endian on all supported
 * machines):
 *
 *   page     id u64, flags u16, count u16, overflow u32, then the elements; `overflow` is the
 *            number of additional pages
 *   meta     in pages 0 and 1: magic, version, page size, flags (u32 each), root bucket, freelist,
 *            high-water mark, txid, checksum (u64 each; the root bucket two of them). The current
 *            meta is the one with the higher txid and a valid checksum (FNV-1a over the rest)
 *   branch   per child: offset of its first key u32, length u32, page u64
 *   leaf     per pair: flags u32 (1: the value is a bucket), offset u32, lengths of key and value
 *   bucket   root page u64, sequence u64; root page 0: an inline page follows in the value
 *
 * The owner never writes to pages of the newest transaction, only to free ones. So a read is a
 * consistent snapshot as long as the newest transaction is the same: check `isCurrent` afterwards,
 * and read again if it is false. With a busy owner a read must be short, so a file of the usual
 * size is read whole in one call and parsed afterwards.
 *
 * The bytes are untrusted: every offset is checked before use, and no page is read twice, so a
 * cyclic tree ends.
 */
import type { Disk, DiskFile } from '../../base/ports.js';

/** The file is not a bolt database, or it is inconsistent. */
export class BoltUnreadable extends Error {
  override readonly name = 'BoltUnreadable';
}

export type BoltEntry =
  | { readonly key: Buffer; readonly value: Buffer }
  | { readonly key: Buffer; readonly bucket: BoltBucket };

/** Location of the pairs of a bucket: its own pages, or inline in the value. */
export interface BoltBucket {
  readonly root: number;
  readonly inline: Buffer | null;
}

interface Meta {
  readonly pageSize: number;
  readonly root: number;
  /** High-water mark: pages from here on are unallocated. */
  readonly end: number;
  readonly transaction: bigint;
}

const magic = 0xed0cdaed;
const formatVersion = 2;
const pageHeaderBytes = 16;
const elementBytes = 16;
const bucketHeaderBytes = 16;
const metaBytes = 64;
const flag = { branch: 0x01, leaf: 0x02, bucketLeaf: 0x01 } as const;
const pageSizeMin = 1024;
const pageSizeMax = 65_536;
/** The fanout is large, so a valid tree is never deeper. */
const depthMax = 32;
/** A page with its overflow holds one value at most; containerd's are small. */
const pageBytesMax = 256 * 1024 * 1024;
/** Overlapping pairs could otherwise be unbounded in number. */
const pairsMax = 50_000_000;
/** A larger file is read page by page; containerd's has a few megabytes. */
const bufferedBytesMax = 128 * 1024 * 1024;

/** The whole file, read in one call. */
interface BufferedFile {
  readonly bytes: Buffer;
  /** No transaction was committed during the read. */
  readonly isConsistent: boolean;
}

export class BoltFile {
  readonly #file: DiskFile;
  readonly #meta: Meta;
  readonly #buffered: BufferedFile | null;
  readonly #seen = new Set<number>();
  #pairs = 0;

  private constructor(file: DiskFile, meta: Meta, buffered: BufferedFile | null) {
    this.#file = file;
    this.#meta = meta;
    this.#buffered = buffered;
  }

  /** Reads up to `bufferedMax` bytes in one call. Fails with BoltUnreadable or HostFault. */
  static async open(disk: Disk, path: string, bufferedMax = bufferedBytesMax): Promise<BoltFile> {
    const file = await disk.open(path, 'read');
    try {
      const meta = await newestMeta(file);
      // Get the size after the meta: the owner grows the file before it writes the meta.
      const bytes = Math.min(await file.size(), meta.end * meta.pageSize);
      return new BoltFile(
        file,
        meta,
        bytes > bufferedMax ? null : await readAtOnce(file, meta, bytes),
      );
    } catch (thrown) {
      await file.close();
      throw thrown;
    }
  }

  get root(): BoltBucket {
    return { root: this.#meta.root, inline: null };
  }

  /** Whether everything read so far is consistent: no transaction was committed since the open. */
  async isCurrent(): Promise<boolean> {
    return this.#buffered?.isConsistent ?? isNewest(this.#file, this.#meta);
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  /** All pairs of a bucket in key order. Call at most once per bucket. */
  async *entries(bucket: BoltBucket): AsyncGenerator<BoltEntry, void, undefined> {
    const pairs =
      bucket.inline === null
        ? this.#below(bucket.root, 0)
        : leafEntries(bucket.inline, 'an inline bucket');
    for await (const entry of pairs) {
      this.#pairs += 1;
      if (this.#pairs > pairsMax) throw new BoltUnreadable(`more than ${pairsMax} pairs`);
      yield entry;
    }
  }

  /** The child bucket with a name; null if it does not exist. */
  async find(bucket: BoltBucket, name: string): Promise<BoltBucket | null> {
    for await (const entry of this.entries(bucket)) {
      if ('bucket' in entry && entry.key.equals(Buffer.from(name))) return entry.bucket;
    }
    return null;
  }

  async *#below(page: number, depth: number): AsyncGenerator<BoltEntry, void, undefined> {
    if (depth > depthMax)
      throw new BoltUnreadable(`page ${page} is deeper than ${depthMax} levels`);
    const bytes = await this.#page(page);
    const flags = bytes.readUInt16LE(8);
    const where = `page ${page}`;
    if ((flags & flag.leaf) !== 0) {
      yield* leafEntries(bytes, where);
    } else if ((flags & flag.branch) !== 0) {
      for (const child of childrenIn(bytes, where)) yield* this.#below(child, depth + 1);
    } else {
      throw new BoltUnreadable(`${where} is neither a branch nor a leaf (flags ${flags})`);
    }
  }

  async #page(number: number): Promise<Buffer> {
    const { pageSize, end } = this.#meta;
    if (number < 2 || number >= end) throw new BoltUnreadable(`page ${number} does not exist`);
    if (this.#seen.has(number)) throw new BoltUnreadable(`page ${number} is referenced twice`);
    this.#seen.add(number);
    const first = await this.#read(pageSize, number * pageSize);
    if (first.readBigUInt64LE(0) !== BigInt(number)) {
      throw new BoltUnreadable(`page ${number} has the id of another page`);
    }
    const overflow = first.readUInt32LE(12);
    const bytes = (overflow + 1) * pageSize;
    if (overflow === 0) return first;
    if (number + overflow >= end || bytes > pageBytesMax) {
      throw new BoltUnreadable(`page ${number} extends past the end of the file`);
    }
    return this.#read(bytes, number * pageSize);
  }

  async #read(bytes: number, offset: number): Promise<Buffer> {
    if (this.#buffered === null) return readWhole(this.#file, bytes, offset);
    const read = this.#buffered.bytes.subarray(offset, offset + bytes);
    if (read.length < bytes) throw endsBefore(this.#file, offset + bytes);
    return read;
  }
}

async function readAtOnce(file: DiskFile, meta: Meta, length: number): Promise<BufferedFile> {
  const bytes = await readWhole(file, length, 0);
  return { bytes, isConsistent: await isNewest(file, meta) };
}

async function isNewest(file: DiskFile, meta: Meta): Promise<boolean> {
  return (await newestMeta(file)).transaction === meta.transaction;
}

async function newestMeta(file: DiskFile): Promise<Meta> {
  const first = await metaAt(file, 0);
  const candidates = first === null ? [] : [first];
  // If the first meta is invalid, the page size is unknown: try all offsets of the second.
  for (let size = pageSizeMin; size <= pageSizeMax; size *= 2) {
    if (first !== null && first.pageSize !== size) continue;
    const second = await metaAt(file, size);
    if (second?.pageSize === size) candidates.push(second);
  }
  const [newest] = candidates.sort((a, b) => (a.transaction < b.transaction ? 1 : -1));
  if (newest === undefined) {
    throw new BoltUnreadable(`${file.path} is not a bolt file, or both meta pages are damaged`);
  }
  return newest;
}

async function metaAt(file: DiskFile, offset: number): Promise<Meta | null> {
  const bytes = Buffer.alloc(pageHeaderBytes + metaBytes);
  if ((await file.read(bytes, offset)) < bytes.length) return null;
  const meta = bytes.subarray(pageHeaderBytes);
  if (meta.readUInt32LE(0) !== magic || meta.readUInt32LE(4) !== formatVersion) return null;
  if (meta.readBigUInt64LE(56) !== fnv1a(meta.subarray(0, 56))) return null;
  const pageSize = meta.readUInt32LE(8);
  const isPower = pageSize > 0 && (pageSize & (pageSize - 1)) === 0;
  if (!isPower || pageSize < pageSizeMin || pageSize > pageSizeMax) return null;
  const root = exact(meta.readBigUInt64LE(16));
  const end = exact(meta.readBigUInt64LE(40));
  if (root === null || end === null) return null;
  return { pageSize, root, end, transaction: meta.readBigUInt64LE(48) };
}

function* leafEntries(page: Buffer, where: string): Generator<BoltEntry, void, undefined> {
  const count = countOf(page, where);
  for (let index = 0; index < count; index += 1) {
    const at = pageHeaderBytes + index * elementBytes;
    const from = at + page.readUInt32LE(at + 4);
    const middle = from + page.readUInt32LE(at + 8);
    const end = middle + page.readUInt32LE(at + 12);
    if (end > page.length) throw new BoltUnreadable(`a pair in ${where} extends past the page`);
    const key = page.subarray(from, middle);
    const value = page.subarray(middle, end);
    const isBucket = (page.readUInt32LE(at) & flag.bucketLeaf) !== 0;
    yield isBucket ? { key, bucket: bucketIn(value, where) } : { key, value };
  }
}

function bucketIn(value: Buffer, where: string): BoltBucket {
  const root = value.length < bucketHeaderBytes ? null : exact(value.readBigUInt64LE(0));
  if (root === null) throw new BoltUnreadable(`a bucket in ${where} has no root`);
  if (root !== 0) return { root, inline: null };
  const inline = value.subarray(bucketHeaderBytes);
  if (inline.length < pageHeaderBytes || (inline.readUInt16LE(8) & flag.leaf) === 0) {
    throw new BoltUnreadable(`an inline bucket in ${where} is not a leaf`);
  }
  return { root, inline };
}

function childrenIn(page: Buffer, where: string): readonly number[] {
  const children: number[] = [];
  for (let index = 0; index < countOf(page, where); index += 1) {
    const child = exact(page.readBigUInt64LE(pageHeaderBytes + index * elementBytes + 8));
    if (child === null) throw new BoltUnreadable(`${where} has an invalid child page`);
    children.push(child);
  }
  return children;
}

function countOf(page: Buffer, where: string): number {
  const count = page.readUInt16LE(10);
  if (pageHeaderBytes + count * elementBytes > page.length) {
    throw new BoltUnreadable(`${where} has more elements than fit`);
  }
  return count;
}

async function readWhole(file: DiskFile, bytes: number, offset: number): Promise<Buffer> {
  const into = Buffer.alloc(bytes);
  if ((await file.read(into, offset)) < bytes) throw endsBefore(file, offset + bytes);
  return into;
}

function endsBefore(file: DiskFile, offset: number): BoltUnreadable {
  return new BoltUnreadable(`${file.path} ends before offset ${offset}`);
}

function exact(value: bigint): number | null {
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : null;
}

function fnv1a(bytes: Uint8Array): bigint {
  let hash = 0xcbf29ce484222325n;
  for (const byte of bytes) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  return hash;
}
