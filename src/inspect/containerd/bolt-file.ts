/**
 * Reads a bbolt file, as containerd keeps its metadata in one: read-only, without the lock that
 * its owner holds, and beside an owner that writes. Knows pages and buckets; what stands in them
 * is the business of others (containerd-metadata.ts).
 *
 * The format, as go.etcd.io/bbolt documents it, numbers in the machine's order (little-endian on
 * all that this runs on):
 *
 *   page     id u64, flags u16, count u16, overflow u32, then the elements; with `overflow`, so
 *            many pages more belong to it
 *   meta     in pages 0 and 1: magic, version, page size, flags (u32 each), root bucket, freelist,
 *            end of pages, transaction, checksum (u64 each; the root bucket two of them). The one
 *            of the newer transaction whose checksum (FNV-1a over all before it) holds counts
 *   branch   per child: offset of its first key u32, length u32, page u64
 *   leaf     per pair: flags u32 (1: the value is a bucket), offset u32, lengths of key and value
 *   bucket   root page u64, sequence u64; root page 0: a page of its own follows in the value
 *
 * An owner never writes into pages of the newest transaction, only into free ones. So what was
 * read is of one moment as long as the newest transaction is still the same: ask `isCurrent`
 * afterwards, and read again when it is not. Beside a busy owner, what counts is how long the
 * reading takes: a file of the usual size is read whole, in one call, and looked through after.
 *
 * The bytes may be anybody's: no offset is believed before it is checked, and no page is read
 * twice, so that a tree that bites its tail ends.
 */
import type { Disk, DiskFile } from '../../base/ports.js';

/** This is no bolt file, or its bytes contradict themselves. */
export class BoltUnreadable extends Error {
  override readonly name = 'BoltUnreadable';
}

export type BoltEntry =
  | { readonly key: Buffer; readonly value: Buffer }
  | { readonly key: Buffer; readonly bucket: BoltBucket };

/** Where the pairs of a bucket are: in pages of its own, or in the value that names it. */
export interface BoltBucket {
  readonly root: number;
  readonly inline: Buffer | null;
}

interface Meta {
  readonly pageSize: number;
  readonly root: number;
  /** Pages from here on belong to nobody. */
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
/** Fanout is large: a tree of real pages is never deeper. */
const depthMax = 32;
/** A page with its overflow holds one value at most; containerd's are small. */
const pageBytesMax = 256 * 1024 * 1024;
/** Pairs that share their bytes could be without number. */
const pairsMax = 50_000_000;
/** A larger file is read page by page. containerd's has some megabytes. */
const heldBytesMax = 128 * 1024 * 1024;

/** The whole file as it was read at once, and whether no transaction ended meanwhile. */
interface Held {
  readonly bytes: Buffer;
  readonly isOfOneMoment: boolean;
}

export class BoltFile {
  readonly #file: DiskFile;
  readonly #meta: Meta;
  readonly #held: Held | null;
  readonly #seen = new Set<number>();
  #pairs = 0;

  private constructor(file: DiskFile, meta: Meta, held: Held | null) {
    this.#file = file;
    this.#meta = meta;
    this.#held = held;
  }

  /** Up to `heldMax` bytes are read at once. @throws BoltUnreadable, HostFault */
  static async open(disk: Disk, path: string, heldMax = heldBytesMax): Promise<BoltFile> {
    const file = await disk.open(path, 'read');
    try {
      const meta = await newestMeta(file);
      // Asked after the meta: the owner makes the file longer first, and then says so.
      const bytes = Math.min(await file.size(), meta.end * meta.pageSize);
      return new BoltFile(file, meta, bytes > heldMax ? null : await hold(file, meta, bytes));
    } catch (thrown) {
      await file.close();
      throw thrown;
    }
  }

  get root(): BoltBucket {
    return { root: this.#meta.root, inline: null };
  }

  /** Whether all that was read so far is of one moment: no transaction ended meanwhile. */
  async isCurrent(): Promise<boolean> {
    return this.#held?.isOfOneMoment ?? isNewest(this.#file, this.#meta);
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  /** All pairs of a bucket, in the order of their keys. Each bucket is read once at most. */
  async *entries(bucket: BoltBucket): AsyncGenerator<BoltEntry, void, undefined> {
    const pairs =
      bucket.inline === null
        ? this.#below(bucket.root, 0)
        : leafEntries(bucket.inline, 'an inline bucket');
    for await (const entry of pairs) {
      this.#pairs += 1;
      if (this.#pairs > pairsMax) throw new BoltUnreadable('it has more pairs than is likely');
      yield entry;
    }
  }

  /** The bucket of that name in a bucket; null when there is none. */
  async find(bucket: BoltBucket, name: string): Promise<BoltBucket | null> {
    for await (const entry of this.entries(bucket)) {
      if ('bucket' in entry && entry.key.equals(Buffer.from(name))) return entry.bucket;
    }
    return null;
  }

  async *#below(page: number, depth: number): AsyncGenerator<BoltEntry, void, undefined> {
    if (depth > depthMax) throw new BoltUnreadable(`page ${page} lies deeper than any tree is`);
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
    if (number < 2 || number >= end) throw new BoltUnreadable(`there is no page ${number}`);
    if (this.#seen.has(number)) throw new BoltUnreadable(`two places lead to page ${number}`);
    this.#seen.add(number);
    const first = await this.#read(pageSize, number * pageSize);
    if (first.readBigUInt64LE(0) !== BigInt(number)) {
      throw new BoltUnreadable(`page ${number} says that it is another one`);
    }
    const overflow = first.readUInt32LE(12);
    const bytes = (overflow + 1) * pageSize;
    if (overflow === 0) return first;
    if (number + overflow >= end || bytes > pageBytesMax) {
      throw new BoltUnreadable(`page ${number} is larger than the file`);
    }
    return this.#read(bytes, number * pageSize);
  }

  async #read(bytes: number, offset: number): Promise<Buffer> {
    if (this.#held === null) return readWhole(this.#file, bytes, offset);
    const read = this.#held.bytes.subarray(offset, offset + bytes);
    if (read.length < bytes) throw endsBefore(this.#file, offset + bytes);
    return read;
  }
}

async function hold(file: DiskFile, meta: Meta, length: number): Promise<Held> {
  const bytes = await readWhole(file, length, 0);
  return { bytes, isOfOneMoment: await isNewest(file, meta) };
}

async function isNewest(file: DiskFile, meta: Meta): Promise<boolean> {
  return (await newestMeta(file)).transaction === meta.transaction;
}

async function newestMeta(file: DiskFile): Promise<Meta> {
  const first = await metaAt(file, 0);
  const candidates = first === null ? [] : [first];
  // Without the first one, the page size is not known: the second says its own, where it is.
  for (let size = pageSizeMin; size <= pageSizeMax; size *= 2) {
    if (first !== null && first.pageSize !== size) continue;
    const second = await metaAt(file, size);
    if (second?.pageSize === size) candidates.push(second);
  }
  const [newest] = candidates.sort((a, b) => (a.transaction < b.transaction ? 1 : -1));
  if (newest === undefined) {
    throw new BoltUnreadable(`${file.path} is no bolt file, or both of its meta pages are damaged`);
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
    if (end > page.length) throw new BoltUnreadable(`a pair in ${where} reaches beyond it`);
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
    throw new BoltUnreadable(`an inline bucket in ${where} is no leaf`);
  }
  return { root, inline };
}

function childrenIn(page: Buffer, where: string): readonly number[] {
  const children: number[] = [];
  for (let index = 0; index < countOf(page, where); index += 1) {
    const child = exact(page.readBigUInt64LE(pageHeaderBytes + index * elementBytes + 8));
    if (child === null) throw new BoltUnreadable(`${where} leads to no page`);
    children.push(child);
  }
  return children;
}

function countOf(page: Buffer, where: string): number {
  const count = page.readUInt16LE(10);
  if (pageHeaderBytes + count * elementBytes > page.length) {
    throw new BoltUnreadable(`${where} has more elements than room`);
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
