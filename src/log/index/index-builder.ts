/**
 * Makes the index of a segment from the heads of its records (docs/log-format.md says what stands
 * in one). Takes a record at a time and keeps a few numbers of each; knows no files.
 */
import { crc32 } from 'node:zlib';
import { closesStream, parseBody } from '../format/codec.js';
import { ALIGNMENT, RECORD, SEGMENT } from '../format/layout.js';
import { BLOCK, GROUP, INDEX, INDEX_MAGIC, PAGE, PAGE_STREAMS } from './index-format.js';
import { StreamSlots, type SlotGroup } from './stream-slots.js';
import { TextFilterBuilder, type IndexedTexts } from './text-filter.js';
import type { EventBody } from '../types.js';

export class IndexBuilder {
  readonly #uuid: string;
  readonly #firstPosition: number;
  readonly #streams = new StreamSlots();
  /** Of each record: its slot and its offset in units of ALIGNMENT. */
  #slots = new Uint32Array(1 << 14);
  #offsets = new Uint32Array(1 << 14);
  #records = 0;
  /** Of each slot: whether its newest record closes the stream. */
  #closes: boolean[] = [];
  readonly #blockTimes: bigint[] = [];
  #maxTime = 0n;
  #end: number = SEGMENT.headerBytes;
  readonly #texts: IndexedTexts | null;
  readonly #filter = new TextFilterBuilder();

  /** Without texts the index knows nothing of bodies. */
  constructor(uuid: string, firstPosition: number, texts: IndexedTexts | null = null) {
    this.#uuid = uuid;
    this.#firstPosition = firstPosition;
    this.#texts = texts;
  }

  take(bytes: Buffer, at: number, offset: number, padded: number): void {
    const record = this.#records;
    if (record === this.#offsets.length) this.#grow();
    const streamAt = at + RECORD.headBytes;
    const typeAt = streamAt + bytes.readUInt16LE(at + RECORD.streamLength);
    const slot = this.#streams.of(bytes, streamAt, typeAt);
    if (this.#texts !== null) this.#takeTexts(this.#texts, bytes, at, typeAt);
    this.#slots[record] = slot;
    this.#offsets[record] = offset / ALIGNMENT;
    this.#closes[slot] = closesStream(bytes, at);
    const time = bytes.readBigInt64LE(at + RECORD.time);
    if (record === 0 || time > this.#maxTime) this.#maxTime = time;
    if (record % BLOCK.records === 0) this.#blockTimes.push(time);
    else if (time < (this.#blockTimes.at(-1) ?? time)) this.#blockTimes.splice(-1, 1, time);
    this.#records = record + 1;
    this.#end = offset + padded;
  }

  #takeTexts(texts: IndexedTexts, bytes: Buffer, at: number, typeAt: number): void {
    const bodyAt = typeAt + bytes.readUInt16LE(at + RECORD.typeLength);
    const type = bytes.toString('latin1', typeAt, bodyAt);
    if (!texts.types.has(type)) return;
    const end = at + bytes.readUInt32LE(at + RECORD.length);
    const body = bodyOrNull(bytes.toString('utf8', bodyAt, end));
    if (body === null) return;
    for (const text of texts.textsIn(type, body)) this.#filter.add(text, this.#records);
  }

  get records(): number {
    return this.#records;
  }

  /** Offset of the last record that was taken; null when none was. */
  get lastOffset(): number | null {
    return this.#records === 0 ? null : (this.#offsets[this.#records - 1] ?? 0) * ALIGNMENT;
  }

  /** The index of what was taken. @param chain hash of the last record; zeros when there is none */
  finish(chain: Buffer): Buffer {
    const { starts, order } = this.#bySlot();
    const groups = this.#streams.groups;
    const table = Buffer.alloc(
      groups.reduce((sum, { prefix }) => sum + GROUP.headBytes + prefix.length, 0),
    );
    const headBytes = INDEX.headerBytes + table.length;
    const blocks = this.#blocks();
    const pages: Buffer[] = [];
    let pagesAt = headBytes + blocks.length;
    let at = 0;
    for (const group of groups) {
      const written = this.#pagesOf(group, starts, order, pagesAt);
      at = writeGroup(table, at, group, pagesAt);
      pages.push(written);
      pagesAt += written.length;
    }
    const filter = this.#filter.finish(this.#records);
    const header = this.#header(chain);
    header.writeUInt32LE(headBytes, INDEX.headBytes);
    header.writeUInt32LE(groups.length, INDEX.groups);
    header.writeUInt32LE(pagesAt, INDEX.filterAt);
    header.writeUInt32LE(filter.length, INDEX.filterBytes);
    header.writeUInt32LE(crc32(filter), INDEX.filterCrc);
    const index = Buffer.concat([header, table, blocks, ...pages, filter]);
    index.writeUInt32LE(crc32(index.subarray(INDEX.formatVersion, headBytes)), INDEX.headCrc);
    index.writeUInt32LE(crc32(index.subarray(INDEX.headCrc)), INDEX.crc);
    return index;
  }

  #header(chain: Buffer): Buffer {
    const header = Buffer.alloc(INDEX.headerBytes);
    header.write(INDEX_MAGIC, INDEX.magic, 'latin1');
    header.writeUInt32LE(INDEX.version, INDEX.formatVersion);
    header.write(this.#uuid.replaceAll('-', ''), INDEX.uuid, 'hex');
    header.writeBigUInt64LE(BigInt(this.#firstPosition), INDEX.firstPosition);
    header.writeBigUInt64LE(BigInt(this.#records), INDEX.records);
    header.writeBigUInt64LE(BigInt(this.#end), INDEX.end);
    chain.copy(header, INDEX.chain);
    header.writeBigInt64LE(this.#maxTime, INDEX.maxTime);
    header.writeUInt32LE(this.#texts?.version ?? 0, INDEX.textsVersion);
    return header;
  }

  #blocks(): Buffer {
    const blocks = Buffer.alloc(this.#blockTimes.length * BLOCK.bytes);
    for (const [block, time] of this.#blockTimes.entries()) {
      const at = block * BLOCK.bytes;
      blocks.writeUInt32LE(this.#offsets[block * BLOCK.records] ?? 0, at + BLOCK.offset);
      blocks.writeBigInt64LE(time, at + BLOCK.minTime);
    }
    return blocks;
  }

  /** Records sorted by slot: those of slot s are from starts[s] to starts[s + 1]. */
  #bySlot(): { readonly starts: Uint32Array; readonly order: Uint32Array } {
    const starts = new Uint32Array(this.#streams.count + 1);
    for (let record = 0; record < this.#records; record += 1) {
      const slot = this.#slots[record] ?? 0;
      starts[slot + 1] = (starts[slot + 1] ?? 0) + 1;
    }
    for (let slot = 1; slot < starts.length; slot += 1) {
      starts[slot] = (starts[slot] ?? 0) + (starts[slot - 1] ?? 0);
    }
    const next = starts.slice();
    const order = new Uint32Array(this.#records);
    for (let record = 0; record < this.#records; record += 1) {
      const slot = this.#slots[record] ?? 0;
      const place = next[slot] ?? 0;
      order[place] = record;
      next[slot] = place + 1;
    }
    return { starts, order };
  }

  #pagesOf(group: SlotGroup, starts: Uint32Array, order: Uint32Array, base: number): Buffer {
    const streams = [...group.slots].sort(([one], [other]) => one - other);
    const pages = Math.ceil(streams.length / PAGE_STREAMS);
    const directory = Buffer.alloc(pages * PAGE.bytes);
    const out = new VarintWriter();
    for (const [index, [number, slot]] of streams.entries()) {
      const isFirst = index % PAGE_STREAMS === 0;
      if (isFirst) {
        const at = (index / PAGE_STREAMS) * PAGE.bytes;
        directory.writeBigUInt64LE(BigInt(number), at + PAGE.firstNumber);
        directory.writeUInt32LE(base + directory.length + out.length, at + PAGE.at);
      }
      out.write(isFirst ? 0 : number - (streams[index - 1]?.[0] ?? 0));
      const start = starts[slot] ?? 0;
      const end = starts[slot + 1] ?? 0;
      out.write((end - start) * 2 + (this.#closes[slot] === true ? 1 : 0));
      let before = 0;
      for (let place = start; place < end; place += 1) {
        const offset = this.#offsets[order[place] ?? 0] ?? 0;
        out.write(offset - before);
        before = offset;
      }
    }
    return Buffer.concat([directory, out.bytes()]);
  }

  #grow(): void {
    const slots = new Uint32Array(this.#slots.length * 2);
    slots.set(this.#slots);
    this.#slots = slots;
    const offsets = new Uint32Array(this.#offsets.length * 2);
    offsets.set(this.#offsets);
    this.#offsets = offsets;
  }
}

/** Answers where the next group begins. */
function writeGroup(
  table: Buffer,
  at: number,
  { prefix, slots }: SlotGroup,
  pagesAt: number,
): number {
  let first = Infinity;
  let last = 0;
  for (const number of slots.keys()) {
    first = Math.min(first, number);
    last = Math.max(last, number);
  }
  table.writeUInt32LE(slots.size, at + GROUP.streams);
  table.writeUInt32LE(pagesAt, at + GROUP.pagesAt);
  table.writeBigUInt64LE(BigInt(first), at + GROUP.firstNumber);
  table.writeBigUInt64LE(BigInt(last), at + GROUP.lastNumber);
  table.writeUInt16LE(prefix.length, at + GROUP.prefixLength);
  table.write(prefix, at + GROUP.headBytes, 'latin1');
  return at + GROUP.headBytes + prefix.length;
}

/** Null if the body is not valid JSON; the reader reports it. */
function bodyOrNull(json: string): EventBody | null {
  try {
    return parseBody(json);
  } catch {
    return null;
  }
}

/** Numbers as LEB128: seven bits a byte, the lowest first, the eighth bit set if more follow. */
class VarintWriter {
  #bytes = Buffer.alloc(1 << 16);
  length = 0;

  write(value: number): void {
    if (this.length + 8 > this.#bytes.length) {
      const larger = Buffer.alloc(this.#bytes.length * 2);
      this.#bytes.copy(larger);
      this.#bytes = larger;
    }
    let rest = value;
    while (rest >= 0x80) {
      this.#bytes[this.length] = (rest % 0x80) + 0x80;
      this.length += 1;
      rest = Math.floor(rest / 0x80);
    }
    this.#bytes[this.length] = rest;
    this.length += 1;
  }

  bytes(): Buffer {
    return this.#bytes.subarray(0, this.length);
  }
}
