/** One segment read by its index: what is found there is checked, because an index may be wrong. */
import { reasonOf } from '../../base/errors.js';
import type { DiskFile } from '../../base/ports.js';
import { decodeRecord, positionOf } from '../format/codec.js';
import { RECORD } from '../format/layout.js';
import { CHECKSUMS, HEADS_ONLY, isIntact, recordAt } from '../format/record-step.js';
import { walkHeads, type HeadVisitor } from '../read/heads.js';
import { BLOCK, stretchRecords } from './index-format.js';
import { IndexUnusable } from './index-head.js';
import type { BlockPlace, SegmentIndex } from './segment-index.js';
import type { LogRecord } from '../types.js';

/** Records this near to one another are read at once. */
const GAP_BYTES = 64 * 1024;
const READ_BYTES_MAX = 1024 * 1024;
/** What is searched before its heads are walked; to search is many times as fast. */
const PIECE_BYTES = 128 * 1024;

const nothingThere = 'no record stands where it points';

/** A segment, open for reading, and its index. */
export interface OpenIndexed {
  readonly index: SegmentIndex;
  /** Records at these offsets, rising; with `streams`, of these alone. */
  records(offsets: readonly number[], streams?: ReadonlySet<string>): Promise<LogRecord[]>;
  /** Records from a block's beginning on, until `take` answers false. */
  walk(from: BlockPlace, take: (record: LogRecord) => boolean): Promise<void>;
  /**
   * The heads of those records of a stretch that may hold these bytes, and of others near to them.
   * Fails with IndexUnusable when they do not stand there.
   */
  walkStretch(stretch: number, needle: Buffer, visit: HeadVisitor): Promise<void>;
  /** Offset of the record at a position; the end for the position after the last record. */
  offsetAt(at: number): Promise<number>;
}

export class IndexedSegment implements OpenIndexed {
  constructor(
    private readonly file: DiskFile,
    readonly index: SegmentIndex,
  ) {}

  async records(offsets: readonly number[], streams?: ReadonlySet<string>): Promise<LogRecord[]> {
    const found: LogRecord[] = [];
    if (!areRising(offsets, this.index.end)) {
      throw new IndexUnusable('its records do not stand one behind another');
    }
    for (let first = 0; first < offsets.length;) {
      const start = offsets[first] ?? 0;
      let last = first;
      while (isNear(offsets, last, start)) last += 1;
      // The length of the last one is not known: most are shorter than this.
      const wanted = (offsets[last] ?? 0) - start + 4096;
      let bytes = Buffer.allocUnsafe(wanted);
      let filled = await this.file.read(bytes, start);
      const needed = (offsets[last] ?? 0) - start + lengthAt(bytes, wanted - 4096, filled);
      if (needed > filled) {
        bytes = Buffer.allocUnsafe(needed);
        filled = await this.file.read(bytes, start);
      }
      for (let index = first; index <= last; index += 1) {
        found.push(this.#decode(bytes, (offsets[index] ?? 0) - start, filled, streams));
      }
      first = last + 1;
    }
    return found;
  }

  #decode(
    bytes: Buffer,
    at: number,
    filled: number,
    streams: ReadonlySet<string> | undefined,
  ): LogRecord {
    if (typeof recordAt(bytes, at, filled, null, CHECKSUMS) !== 'number') {
      throw new IndexUnusable('no whole record stands where it points');
    }
    const found = positionOf(bytes, at);
    const isOurs = found >= this.index.firstPosition && found < this.index.nextPosition;
    const record = decodeChecked(bytes, at);
    if (!isOurs || streams?.has(record.stream) === false) {
      throw new IndexUnusable('another record stands where it points');
    }
    return record;
  }

  async walk(from: BlockPlace, take: (record: LogRecord) => boolean): Promise<void> {
    await walkHeads(
      this.file,
      from,
      (bytes, at, offset, padded) => {
        if (offset >= this.index.end) return false;
        if (!isIntact(bytes, at, padded)) throw new IndexUnusable('a record fails its checksum');
        return take(decodeChecked(bytes, at));
      },
      { breathes: true },
    );
  }

  async walkStretch(stretch: number, needle: Buffer, visit: HeadVisitor): Promise<void> {
    const length = stretchRecords(this.index.head.records);
    const begin = this.index.firstPosition + stretch * length;
    const end = Math.min(begin + length, this.index.nextPosition);
    for (let at = begin; at < end;) {
      const to = this.#pieceEnd(at, end);
      if ((await this.#mayHold(at, to, needle)) && !(await this.#walk(at, to, visit))) return;
      at = to;
    }
  }

  /** False when the visitor ended it. */
  async #walk(begin: number, to: number, visit: HeadVisitor): Promise<boolean> {
    const isWanted: HeadVisitor = (bytes, at, offset, padded) =>
      positionOf(bytes, at) < to && visit(bytes, at, offset, padded);
    const end = await walkHeads(this.file, this.index.blockOf(begin), isWanted);
    if (end.reachedPosition >= to) return true;
    if (!end.wasStopped) throw new IndexUnusable(nothingThere);
    return false;
  }

  /** Behind the blocks that are searched at once: one at least, and no more than a few bytes. */
  #pieceEnd(from: number, end: number): number {
    let to = from + BLOCK.records;
    while (to < end && this.#bytesIn(from, to + BLOCK.records) <= PIECE_BYTES) to += BLOCK.records;
    return Math.min(to, end);
  }

  /** Of whole blocks, or of all that is left. */
  #bytesIn(from: number, to: number): number {
    const { index } = this;
    const end = to < index.nextPosition ? index.blockOf(to).offset : index.end;
    return end - index.blockOf(from).offset;
  }

  async #mayHold(from: number, to: number, needle: Buffer): Promise<boolean> {
    const length = this.#bytesIn(from, to);
    // A few large records.
    if (length > PIECE_BYTES) return true;
    if (length < RECORD.headBytes) throw new IndexUnusable(nothingThere);
    const bytes = Buffer.allocUnsafe(length);
    const filled = await this.file.read(bytes, this.index.blockOf(from).offset);
    if (filled < length || positionOf(bytes, 0) !== from) throw new IndexUnusable(nothingThere);
    return bytes.includes(needle);
  }

  async offsetAt(wanted: number): Promise<number> {
    if (wanted >= this.index.nextPosition) return this.index.end;
    let found = -1;
    await walkHeads(
      this.file,
      this.index.blockOf(wanted),
      (bytes, at, offset) => {
        if (positionOf(bytes, at) < wanted) return true;
        found = offset;
        return false;
      },
      { breathes: true },
    );
    if (found === -1) throw new IndexUnusable('no record stands where a block begins');
    return found;
  }
}

function areRising(offsets: readonly number[], end: number): boolean {
  let before = 0;
  for (const offset of offsets) {
    // Also false for what is no number.
    if (!(offset > before && offset < end)) return false;
    before = offset;
  }
  return true;
}

function isNear(offsets: readonly number[], at: number, start: number): boolean {
  const next = offsets[at + 1];
  const here = offsets[at];
  if (next === undefined || here === undefined) return false;
  return next - here <= GAP_BYTES && next - start <= READ_BYTES_MAX;
}

function lengthAt(bytes: Buffer, at: number, filled: number): number {
  const step = recordAt(bytes, at, filled, null, HEADS_ONLY);
  if (typeof step === 'number') return step;
  if (step.kind === 'short' && filled - at >= RECORD.headBytes) return step.needed;
  throw new IndexUnusable(nothingThere);
}

function decodeChecked(bytes: Buffer, at: number): LogRecord {
  try {
    return decodeRecord(bytes, at);
  } catch (thrown) {
    throw new IndexUnusable(reasonOf(thrown), { cause: thrown });
  }
}
