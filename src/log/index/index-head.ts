/**
 * The first bytes of a segment's index: of which records it is, and which streams the segment may
 * have. Of most segments a question needs no more than that.
 */
import { crc32 } from 'node:zlib';
import { CHAIN_BYTES, uuidAt } from '../format/layout.js';
import { GROUP, INDEX, INDEX_MAGIC } from './index-format.js';
import type { NamesToFind, SplitName } from '../format/stream-name.js';

/** What an index must say to belong to a segment. */
export interface IndexBinding {
  readonly uuid: string;
  readonly firstPosition: number;
  readonly nextPosition: number;
  /** Chain hash at the segment's end: the one that the next segment continues. */
  readonly chain: Buffer;
}

/** The streams of a segment that share a prefix. */
export interface Group {
  readonly prefix: string;
  readonly streams: number;
  /** Offset in the file of its directory of pages. */
  readonly pagesAt: number;
  readonly firstNumber: number;
  readonly lastNumber: number;
}

/** An index that cannot be used, and why. */
export class IndexUnusable extends Error {
  override readonly name = 'IndexUnusable';
}

/**
 * How many bytes a head has by its own words, which are not yet proved.
 *
 * @throws IndexUnusable when the bytes do not begin as an index that is known here
 */
export function claimedHeadBytes(bytes: Buffer): number {
  if (
    bytes.length < INDEX.headerBytes ||
    bytes.toString('latin1', 0, INDEX_MAGIC.length) !== INDEX_MAGIC
  ) {
    throw new IndexUnusable('it does not begin as an index');
  }
  const version = bytes.readUInt32LE(INDEX.formatVersion);
  if (version !== INDEX.version) throw new IndexUnusable(`its format ${version} is not known`);
  return bytes.readUInt32LE(INDEX.headBytes);
}

export class IndexHead {
  readonly firstPosition: number;
  readonly records: number;
  /** Offset in the segment after the last record. */
  readonly end: number;
  /** The greatest time of the segment's records. */
  readonly maxTime: bigint;
  readonly textsVersion: number;
  /** The filter of texts in the file. */
  readonly filter: { readonly at: number; readonly bytes: number; readonly crc: number };
  /** By prefix. */
  readonly groups: ReadonlyMap<string, Group>;
  /** Chain hash of the last record. */
  readonly chain: Buffer;
  readonly #uuid: string;

  /**
   * @param bytes the file, or as much of it as the head has
   * @throws IndexUnusable
   */
  constructor(bytes: Buffer) {
    const headBytes = claimedHeadBytes(bytes);
    const head = bytes.subarray(INDEX.formatVersion, headBytes);
    const isOne = headBytes >= INDEX.headerBytes && headBytes <= bytes.length;
    if (!isOne || crc32(head) !== bytes.readUInt32LE(INDEX.headCrc)) {
      throw new IndexUnusable('it fails its checksum');
    }
    this.firstPosition = Number(bytes.readBigUInt64LE(INDEX.firstPosition));
    this.records = Number(bytes.readBigUInt64LE(INDEX.records));
    this.end = Number(bytes.readBigUInt64LE(INDEX.end));
    this.maxTime = bytes.readBigInt64LE(INDEX.maxTime);
    this.textsVersion = bytes.readUInt32LE(INDEX.textsVersion);
    this.filter = {
      at: bytes.readUInt32LE(INDEX.filterAt),
      bytes: bytes.readUInt32LE(INDEX.filterBytes),
      crc: bytes.readUInt32LE(INDEX.filterCrc),
    };
    // A copy: what else was read with it need not be kept.
    this.chain = Buffer.from(bytes.subarray(INDEX.chain, INDEX.chain + CHAIN_BYTES));
    this.#uuid = uuidAt(bytes, INDEX.uuid);
    this.groups = groupsIn(bytes.subarray(0, headBytes));
  }

  get nextPosition(): number {
    return this.firstPosition + this.records;
  }

  /** Why it does not belong to the segment; null when it does. */
  mismatch({ uuid, firstPosition, nextPosition, chain }: IndexBinding): string | null {
    const isSame =
      this.firstPosition === firstPosition &&
      this.nextPosition === nextPosition &&
      this.chain.equals(chain);
    if (this.#uuid !== uuid) return 'it is of another log';
    return isSame ? null : 'it is of other records than the segment holds';
  }

  /** False only when the segment surely has nothing of the stream. */
  mayHave({ prefix, number }: SplitName): boolean {
    const group = this.groups.get(prefix);
    return group !== undefined && number >= group.firstNumber && number <= group.lastNumber;
  }

  /**
   * Those of which the segment may have something. Numbers are given in order, so most segments
   * have none near to those that are asked for.
   */
  among(names: NamesToFind): readonly SplitName[] {
    const found: SplitName[] = [];
    for (const { prefix, firstNumber, lastNumber } of this.groups.values()) {
      found.push(...names.within(prefix, firstNumber, lastNumber));
    }
    return found;
  }
}

function groupsIn(bytes: Buffer): ReadonlyMap<string, Group> {
  const groups = new Map<string, Group>();
  let at: number = INDEX.headerBytes;
  for (let left = bytes.readUInt32LE(INDEX.groups); left > 0; left -= 1) {
    const isThere = at + GROUP.headBytes <= bytes.length;
    const length = isThere ? bytes.readUInt16LE(at + GROUP.prefixLength) : Infinity;
    if (at + GROUP.headBytes + length > bytes.length) {
      throw new IndexUnusable('its groups reach beyond its head');
    }
    const prefix = bytes.toString('latin1', at + GROUP.headBytes, at + GROUP.headBytes + length);
    groups.set(prefix, {
      prefix,
      streams: bytes.readUInt32LE(at + GROUP.streams),
      pagesAt: bytes.readUInt32LE(at + GROUP.pagesAt),
      firstNumber: Number(bytes.readBigUInt64LE(at + GROUP.firstNumber)),
      lastNumber: Number(bytes.readBigUInt64LE(at + GROUP.lastNumber)),
    });
    at += GROUP.headBytes + length;
  }
  return groups;
}
