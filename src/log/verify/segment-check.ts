/**
 * Checks one sealed segment as a whole, synchronously, so that it can be done on a thread: every
 * record's CRC, position, chain hash, body and flags, the versions of each stream within it, that
 * time does not step back, and that it leads exactly to the next segment. Segments are checked
 * independently of one another, because each header holds the chain hash it continues. Where the
 * log itself says what SHA-256 a segment had when it was checked, segment-sum.ts is faster.
 *
 * It answers what the rest of the log must know, or null where anything at all is unusual. It
 * never says what: `verifyLog` then reads that segment again, slowly, and reports.
 */
import { createHash, hash, type Hash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { claimedLength, parseBody, positionOf, unitContinues } from '../format/codec.js';
import { CHAIN_BYTES, FLAGS_UNKNOWN, RECORD } from '../format/layout.js';
import { closesStream, isOfType } from '../read/heads.js';
import { isSurelyObject } from './json-shape.js';
import { endsInZeros, RecordsInBuffers, type ReadNow } from '../read/segment-bytes.js';
import { StreamSlots } from '../index/stream-slots.js';

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
  /** Type of the events that tell of sums (`SumEvents`); null if not requested. */
  readonly sumType: string | null;
}

/** What may be said of a segment whose records are sound. */
export interface SegmentFacts {
  readonly records: number;
  /** From the first record to behind the last. */
  readonly bytes: number;
  /** SHA-256 of these bytes, in hex. Null when sums were not asked for. */
  readonly sha256: string | null;
  readonly firstTime: bigint;
  readonly lastTime: bigint;
  /** Chain hash of the record before each mark, in latin1. */
  readonly marks: ReadonlyMap<number, string>;
  /** Bodies of its events of `sumType`, as JSON. */
  readonly sums: readonly string[];
}

export interface StreamsMoved {
  /** Names of streams that begin and end within the segment, one a line. */
  readonly contained: string;
  /** Other streams: the version of its first record here, and of the next one; -1 when closed. */
  readonly moved: readonly (readonly [stream: string, first: number, next: number])[];
}

/** Null streams were not looked at: a sum vouches for the segment. */
export interface SoundSegment extends SegmentFacts {
  readonly streams: StreamsMoved | null;
}

export function checkSegment(
  segment: SegmentToCheck,
  read: ReadNow,
): (SoundSegment & { readonly streams: StreamsMoved }) | null {
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
  readonly #sha256: Hash | null;
  readonly #sums: string[] = [];
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
    this.#sha256 = segment.sumType === null ? null : createHash('sha256');
  }

  run(): ReturnType<typeof checkSegment> {
    const { nextPosition, nextChain, offset, position } = this.segment;
    if (!this.#checkRecords() || !this.#isWhole || this.#firstTime === null) return null;
    if (this.#position !== nextPosition || latin1(this.#chain) !== latin1(nextChain)) {
      return null;
    }
    if (!endsInZeros(this.read, this.#offset)) return null;
    this.#mark();
    return {
      records: nextPosition - position,
      bytes: this.#offset - offset,
      sha256: this.#sha256?.digest('hex') ?? null,
      firstTime: this.#firstTime,
      lastTime: (BigInt(this.#lastTimeHigh) << 32n) | BigInt(this.#lastTimeLow),
      streams: this.#streamsMoved(),
      marks: this.#marks,
      sums: this.#sums,
    };
  }

  #checkRecords(): boolean {
    const { nextPosition } = this.segment;
    for (const records = new RecordsInBuffers(this.read, this.#offset); ;) {
      const limit = nextPosition - this.#position;
      if (limit === 0) return true;
      const whole = records.next(limit);
      if (whole === null) return false;
      const { bytes, end } = whole;
      // Before the chain is looked at, which changes the buffer.
      this.#sha256?.update(bytes.subarray(0, end));
      const words = wordsOf(bytes);
      for (let at = 0; at < end;) {
        // It was looked at a moment ago.
        const padded = claimedLength(bytes, at) ?? 0;
        if (!this.#checkRecord(bytes, words, at, padded)) return false;
        at += padded;
      }
      this.#offset += end;
    }
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
    // The buffer is private, and this field is not read again.
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
    if (isOfType(bytes, typeAt, jsonAt, this.segment.sumType)) {
      this.#sums.push(bytes.toString('utf8', jsonAt, end));
    }
    return true;
  }

  #mark(): void {
    if (this.segment.marks.includes(this.#position)) {
      this.#marks.set(this.#position, latin1(this.#chain));
    }
  }

  #streamsMoved(): StreamsMoved {
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
