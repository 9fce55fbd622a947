/**
 * Checks one sealed segment as a whole, synchronously, so that it can be done on a thread: every
 * record's CRC, position, chain hash, body and flags, the versions of each stream within it, that
 * time does not step back, and that it leads exactly to the next segment. Segments are checked
 * independently of one another, because each header holds the chain hash it continues.
 *
 * It answers what the rest of the log must know, or null where anything at all is unusual. It
 * never says what: `verifyLog` then reads that segment again, slowly, and reports.
 */
import { hash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { claimedLength, parseBody, positionOf, unitContinues } from './codec.js';
import { CHAIN_BYTES, FLAGS_UNKNOWN, RECORD } from './format.js';
import { closesStream } from './heads.js';
import { isSurelyObject } from './json-shape.js';
import { StreamSlots } from './stream-slots.js';

const READ_BYTES = 1024 * 1024;

export interface SegmentToCheck {
  readonly path: string;
  /** Where its first record stands. */
  readonly offset: number;
  readonly position: number;
  readonly chain: Uint8Array;
  /** What the header of the next segment says. */
  readonly nextPosition: number;
  readonly nextChain: Uint8Array;
  /** Positions in it whose chain hash is asked for. */
  readonly marks: readonly number[];
}

export interface SoundSegment {
  readonly records: number;
  /** From the first record to behind the last. */
  readonly bytes: number;
  readonly firstTime: bigint;
  readonly lastTime: bigint;
  /** Names of streams that begin and end within the segment, one a line. */
  readonly contained: string;
  /** Other streams: the version of its first record here, and of the next one; -1 when closed. */
  readonly moved: readonly (readonly [stream: string, first: number, next: number])[];
  /** Chain hash of the record before each mark, in latin1. */
  readonly marks: ReadonlyMap<number, string>;
}

/** Fills the buffer from the offset; answers fewer bytes only at the end of the file. */
export type ReadNow = (into: Uint8Array, offset: number) => number;

export function checkSegment(segment: SegmentToCheck, read: ReadNow): SoundSegment | null {
  return new SegmentCheck(segment, read).run();
}

const WORD_BYTES = 4;
const CHAIN_WORDS = CHAIN_BYTES / WORD_BYTES;

/** Records are aligned in the file, and so in a buffer of our own that begins with one. */
const wordsOf = (buffer: Buffer): Uint32Array => new Uint32Array(buffer.buffer);

class SegmentCheck {
  readonly #streams = new StreamSlots();
  /** By slot. */
  readonly #firstVersions: number[] = [];
  readonly #nextVersions: number[] = [];
  readonly #marks = new Map<number, string>();
  /** Chain hash of the record before the one at hand. */
  readonly #chain: Uint32Array<ArrayBuffer>;
  #position: number;
  #offset: number;
  #firstTime: bigint | null = null;
  /** Two halves, because a bigint for each record costs more than all that is read of it. */
  #lastTimeHigh = -Infinity;
  #lastTimeLow = 0;
  #isWhole = true;

  constructor(
    private readonly segment: SegmentToCheck,
    private readonly read: ReadNow,
  ) {
    this.#chain = new Uint32Array(Uint8Array.from(segment.chain).buffer);
    this.#position = segment.position;
    this.#offset = segment.offset;
  }

  run(): SoundSegment | null {
    const { nextPosition, nextChain, offset, position } = this.segment;
    if (!this.#checkRecords() || !this.#isWhole || this.#firstTime === null) return null;
    if (this.#position !== nextPosition || latin1(this.#chain) !== latin1(nextChain)) {
      return null;
    }
    if (!this.#endsInZeros()) return null;
    this.#mark();
    return {
      records: nextPosition - position,
      bytes: this.#offset - offset,
      firstTime: this.#firstTime,
      lastTime: (BigInt(this.#lastTimeHigh) << 32n) | BigInt(this.#lastTimeLow),
      ...this.#streamsMoved(),
      marks: this.#marks,
    };
  }

  #checkRecords(): boolean {
    let buffer = Buffer.allocUnsafeSlow(READ_BYTES);
    let words = wordsOf(buffer);
    while (this.#position < this.segment.nextPosition) {
      const filled = this.read(buffer, this.#offset);
      let at = 0;
      let needed = 0;
      while (this.#position < this.segment.nextPosition && filled - at >= RECORD.headBytes) {
        const padded = claimedLength(buffer, at);
        if (padded === null) return false;
        if (padded > filled - at) {
          needed = padded;
          break;
        }
        if (!this.#checkRecord(buffer, words, at, padded)) return false;
        at += padded;
      }
      this.#offset += at;
      if (at > 0) continue;
      if (needed <= buffer.length) return false;
      buffer = Buffer.allocUnsafeSlow(needed);
      words = wordsOf(buffer);
    }
    return true;
  }

  #checkRecord(bytes: Buffer, words: Uint32Array, at: number, padded: number): boolean {
    this.#mark();
    const from = bytes.byteOffset + at + RECORD.length;
    const covered = new Uint8Array(bytes.buffer, from, padded - RECORD.length);
    if (crc32(covered) !== bytes.readUInt32LE(at + RECORD.crc)) return false;
    if (positionOf(bytes, at) !== this.#position) return false;
    if ((bytes.readUInt16LE(at + RECORD.flags) & FLAGS_UNKNOWN) !== 0) return false;
    if (!this.#followsChain(bytes, words, at + RECORD.chain, covered)) return false;
    if (!this.#checkTime(bytes, at + RECORD.time)) return false;
    if (!this.#checkNames(bytes, at)) return false;
    this.#isWhole = !unitContinues(bytes, at);
    this.#position += 1;
    return true;
  }

  /** As `followsChain` of the codec, by texts: they are compared at once, and bytes one by one. */
  #followsChain(bytes: Buffer, words: Uint32Array, at: number, covered: Uint8Array): boolean {
    const own = bytes.toString('latin1', at, at + CHAIN_BYTES);
    // The buffer is ours, and nobody looks at this field again.
    for (let index = 0, word = at / WORD_BYTES; index < CHAIN_WORDS; index += 1, word += 1) {
      const given = words[word] ?? 0;
      words[word] = this.#chain[index] ?? 0;
      this.#chain[index] = given;
    }
    return hash('sha256', covered, 'binary') === own;
  }

  #checkTime(bytes: Buffer, at: number): boolean {
    this.#firstTime ??= bytes.readBigInt64LE(at);
    const high = bytes.readInt32LE(at + 4);
    const low = bytes.readUInt32LE(at);
    const isInOrder =
      high > this.#lastTimeHigh || (high === this.#lastTimeHigh && low >= this.#lastTimeLow);
    this.#lastTimeHigh = high;
    this.#lastTimeLow = low;
    return isInOrder;
  }

  #checkNames(bytes: Buffer, at: number): boolean {
    const streamAt = at + RECORD.headBytes;
    const typeAt = streamAt + bytes.readUInt16LE(at + RECORD.streamLength);
    const jsonAt = typeAt + bytes.readUInt16LE(at + RECORD.typeLength);
    const end = at + bytes.readUInt32LE(at + RECORD.length);
    if (!isSurelyObject(bytes, jsonAt, end) && !isObject(bytes.toString('utf8', jsonAt, end))) {
      return false;
    }
    const slot = this.#streams.of(bytes, streamAt, typeAt);
    const version = bytes.readUInt32LE(at + RECORD.streamVersion);
    const expected = this.#nextVersions[slot];
    if (expected === undefined) this.#firstVersions[slot] = version;
    // A name that is used again after its end (-1) is left to the slow way, too.
    else if (version !== expected) return false;
    this.#nextVersions[slot] = closesStream(bytes, at) ? -1 : version + 1;
    return true;
  }

  /** Zeros up to the end of the file. */
  #endsInZeros(): boolean {
    const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
    const zeros = Buffer.alloc(READ_BYTES);
    for (let offset = this.#offset; ;) {
      const filled = this.read(buffer, offset);
      if (buffer.compare(zeros, 0, filled, 0, filled) !== 0) return false;
      if (filled < buffer.length) return true;
      offset += filled;
    }
  }

  #mark(): void {
    if (this.segment.marks.includes(this.#position)) {
      this.#marks.set(this.#position, latin1(this.#chain));
    }
  }

  #streamsMoved(): Pick<SoundSegment, 'contained' | 'moved'> {
    const contained: string[] = [];
    const moved: [string, number, number][] = [];
    for (const [name, slot] of this.#streams.names()) {
      const first = this.#firstVersions[slot] ?? 0;
      const next = this.#nextVersions[slot] ?? 0;
      if (first === 0 && next === -1) contained.push(name);
      else moved.push([name, first, next]);
    }
    return { contained: contained.join('\n'), moved };
  }
}

const latin1 = (bytes: Uint8Array | Uint32Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');

function isObject(json: string): boolean {
  try {
    parseBody(json);
    return true;
  } catch {
    return false;
  }
}
