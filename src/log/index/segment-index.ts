/**
 * The index of one segment, read: where the records of a stream stand, where a position stands,
 * and what is not younger than a time. It is a hint: a reader checks each record. `IndexBuilder`
 * writes what is read here; for a segment without an index file, one is made in memory.
 */
import { crc32 } from 'node:zlib';
import { wideNumberAt } from '../format/codec.js';
import { ALIGNMENT } from '../format/layout.js';
import { BLOCK, INDEX, PAGE, PAGE_STREAMS } from './index-format.js';
import { claimedHeadBytes, IndexHead, IndexUnusable, type Group } from './index-head.js';
import { joinName, type SplitName } from '../format/stream-name.js';

/** What a segment has of one stream. */
export interface StreamPart {
  readonly stream: string;
  /** Of its records in the segment, rising. */
  readonly offsets: readonly number[];
  /** Whether the last of them closes the stream. */
  readonly closes: boolean;
}

/** A place in the segment where a block of records begins. */
export interface BlockPlace {
  readonly offset: number;
  readonly position: number;
  /** How many records it has; the last block of a segment may have fewer. */
  readonly records: number;
}

export class SegmentIndex {
  readonly head: IndexHead;
  readonly #bytes: Buffer;
  readonly #blocks: number;

  /** @throws IndexUnusable when the bytes are no whole index */
  constructor(bytes: Buffer) {
    checkSum(bytes);
    this.head = new IndexHead(bytes);
    this.#bytes = bytes;
    this.#blocks = Math.ceil(this.head.records / BLOCK.records);
    this.#checkPlaces();
  }

  get firstPosition(): number {
    return this.head.firstPosition;
  }

  get nextPosition(): number {
    return this.head.nextPosition;
  }

  /** Offset in the segment after the last record. */
  get end(): number {
    return this.head.end;
  }

  /** All positions and offsets are within the file, whatever wrote it. */
  #checkPlaces(): void {
    const { length } = this.#bytes;
    let isWithin = this.#blockAt(this.#blocks) <= length;
    for (const group of this.head.groups.values()) {
      const pages = Math.ceil(group.streams / PAGE_STREAMS);
      isWithin &&= pages > 0 && group.pagesAt + pages * PAGE.bytes <= length;
      for (let page = 0; isWithin && page < pages; page += 1) {
        isWithin = this.#bytes.readUInt32LE(group.pagesAt + page * PAGE.bytes + PAGE.at) < length;
      }
    }
    if (!isWithin) throw new IndexUnusable('what it names is beyond its end');
  }

  /** In memory. */
  get bytes(): number {
    return this.#bytes.length;
  }

  /** What the segment has of a stream; null for nothing. */
  part(name: SplitName): StreamPart | null {
    const group = this.head.groups.get(name.prefix);
    if (group === undefined || !this.head.mayHave(name)) return null;
    const { number } = name;
    let low = 0;
    let high = Math.ceil(group.streams / PAGE_STREAMS) - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (this.#firstNumber(group, middle) <= number) low = middle;
      else high = middle - 1;
    }
    return this.#find(group, low, number);
  }

  /** One stream of a page. Those before it are passed over: one question may be about hundreds. */
  #find(group: Group, page: number, wanted: number): StreamPart | null {
    const varints = this.#varintsOf(group, page);
    let number = this.#firstNumber(group, page);
    for (let left = streamsIn(group, page); left > 0; left -= 1) {
      number += varints.next();
      const count = varints.next();
      if (number === wanted)
        return partOf(joinName({ prefix: group.prefix, number }), count, varints);
      if (number > wanted) return null;
      varints.skip(count >>> 1);
    }
    return null;
  }

  /** All streams of the segment. */
  *parts(): Generator<StreamPart, void, undefined> {
    for (const group of this.head.groups.values()) {
      const pages = Math.ceil(group.streams / PAGE_STREAMS);
      for (let page = 0; page < pages; page += 1) {
        yield* this.#page(group, page);
      }
    }
  }

  /** The block that holds a position of the segment. */
  blockOf(position: number): BlockPlace {
    const block = Math.floor((position - this.firstPosition) / BLOCK.records);
    return this.#place(Math.max(0, Math.min(block, this.#blocks - 1)));
  }

  /** The last block that has a record which is not younger; null when all are. */
  lastBlockNotAfter(time: bigint): BlockPlace | null {
    for (let block = this.#blocks - 1; block >= 0; block -= 1) {
      const at = this.#blockAt(block) + BLOCK.minTime;
      if (this.#bytes.readBigInt64LE(at) <= time) return this.#place(block);
    }
    return null;
  }

  #blockAt(block: number): number {
    return this.#bytes.readUInt32LE(INDEX.headBytes) + block * BLOCK.bytes;
  }

  #place(block: number): BlockPlace {
    const at = this.#blockAt(block) + BLOCK.offset;
    return {
      offset: this.#bytes.readUInt32LE(at) * ALIGNMENT,
      position: this.firstPosition + block * BLOCK.records,
      records: BLOCK.records,
    };
  }

  #firstNumber(group: Group, page: number): number {
    return wideNumberAt(this.#bytes, group.pagesAt + page * PAGE.bytes);
  }

  *#page(group: Group, page: number): Generator<StreamPart, void, undefined> {
    const varints = this.#varintsOf(group, page);
    let number = this.#firstNumber(group, page);
    for (let left = streamsIn(group, page); left > 0; left -= 1) {
      number += varints.next();
      const count = varints.next();
      yield partOf(joinName({ prefix: group.prefix, number }), count, varints);
    }
  }

  #varintsOf(group: Group, page: number): VarintReader {
    const entry = group.pagesAt + page * PAGE.bytes;
    return new VarintReader(this.#bytes, this.#bytes.readUInt32LE(entry + PAGE.at));
  }
}

const streamsIn = (group: Group, page: number): number =>
  Math.min(PAGE_STREAMS, group.streams - page * PAGE_STREAMS);

/** `count` as in a page: twice the number of records, plus 1 if the last one closes. */
function partOf(stream: string, count: number, varints: VarintReader): StreamPart {
  const offsets: number[] = [];
  let offset = 0;
  for (let record = count >>> 1; record > 0; record -= 1) {
    offset += varints.next();
    offsets.push(offset * ALIGNMENT);
  }
  return { stream, offsets, closes: count % 2 === 1 };
}

/** Reads what VarintWriter has written (index-builder.ts). */
class VarintReader {
  constructor(
    private readonly bytes: Buffer,
    private at: number,
  ) {}

  /** @throws IndexUnusable */
  next(): number {
    let value = 0;
    for (let factor = 1; ; factor *= 0x80) {
      const byte = this.#byte();
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
  }

  skip(count: number): void {
    for (let left = count; left > 0;) if (this.#byte() < 0x80) left -= 1;
  }

  #byte(): number {
    const byte = this.bytes[this.at];
    if (byte === undefined) throw new IndexUnusable('it ends within a page');
    this.at += 1;
    return byte;
  }
}

function checkSum(bytes: Buffer): void {
  claimedHeadBytes(bytes);
  if (crc32(bytes.subarray(INDEX.headCrc)) !== bytes.readUInt32LE(INDEX.crc)) {
    throw new IndexUnusable('it fails its checksum');
  }
}
