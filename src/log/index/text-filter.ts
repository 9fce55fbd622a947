/**
 * Which texts a segment may hold, and in which stretch of its records, in few bytes: a Bloom filter
 * for each stretch, all asked at once. It never says no to a text that is there. Of those that are
 * not, each stretch says yes to about one in two thousand, so a segment to one in sixty; to far
 * more where most texts stand in few of many stretches. What the texts are is the business of
 * the owner of the log (`IndexedTexts`).
 */
import { STRETCHES, stretchRecords } from './index-format.js';
import type { EventBody } from '../types.js';

/** What an index can be queried for, besides streams, positions and times. */
export interface IndexedTexts {
  /** Raised with each change of the texts; 1 or more. An index of another version is not used. */
  readonly version: number;
  /** Types of events that may have some; the bodies of others are not parsed. */
  readonly types: ReadonlySet<string>;
  /** The texts of one event. Must not throw, whatever the body is. */
  textsIn(type: string, body: EventBody): Iterable<string>;
}

/** Of a log of hundreds of segments, a few stretches are read for nothing. */
const BITS_PER_TEXT = 16;
/** Bits that are set for each text: the best number for sixteen bits a text. */
const HASHES = 11;
/** Limits the size of the filter if most texts are in few stretches. */
const CROWDING_MAX = 2;
const WORD_BYTES = 4;
const FNV_PRIME = 0x01000193;
const STEP_SHIFT = 11;
const STEP_MAX = 2 ** (32 - STEP_SHIFT);
const SEEDS = { place: 0x811c9dc5, step: 0x9747b28c } as const;

/** Gathers texts, with the records that have them, in order. */
export class TextFilterBuilder {
  /** Both hashes of each in one exact number. */
  readonly #hashes: number[] = [];
  readonly #records: number[] = [];

  add(text: string, record: number): void {
    const { place, step } = hashesOf(text);
    this.#hashes.push(place * STEP_MAX + step);
    this.#records.push(record);
  }

  /** @param records how many the segment has */
  finish(records: number): Buffer {
    const length = stretchRecords(records);
    const stretches = this.#byStretch(length);
    const sizes = stretches.map(({ size }) => size);
    // A small segment has records in few of its stretches.
    const inUse = Math.max(1, Math.ceil(records / length));
    const average = sizes.reduce((sum, size) => sum + size, 0) / inUse;
    const words = Math.ceil(BITS_PER_TEXT * Math.min(Math.max(...sizes), average * CROWDING_MAX));
    const filter = Buffer.alloc(words * WORD_BYTES);
    for (const [stretch, hashes] of stretches.entries()) {
      const bit = (1 << stretch) >>> 0;
      for (const both of hashes) {
        const place = Math.floor(both / STEP_MAX);
        for (let hash = 0; hash < HASHES; hash += 1) {
          const at = ((place + hash * (both % STEP_MAX)) % words) * WORD_BYTES;
          filter.writeUInt32LE((filter.readUInt32LE(at) | bit) >>> 0, at);
        }
      }
    }
    return filter;
  }

  #byStretch(length: number): readonly ReadonlySet<number>[] {
    const stretches = Array.from({ length: STRETCHES }, () => new Set<number>());
    for (const [index, both] of this.#hashes.entries()) {
      stretches[Math.floor((this.#records[index] ?? 0) / length)]?.add(both);
    }
    return stretches;
  }
}

/** The stretches that may have one of the texts: no other one has. */
export function stretchesThatMayHold(filter: Buffer, texts: readonly string[]): readonly number[] {
  let mask = 0;
  for (const text of texts) mask |= maskOf(filter, hashesOf(text));
  const found: number[] = [];
  for (let stretch = 0; mask !== 0; stretch += 1, mask >>>= 1) {
    if ((mask & 1) === 1) found.push(stretch);
  }
  return found;
}

interface Hashes {
  readonly place: number;
  readonly step: number;
}

function maskOf(filter: Buffer, { place, step }: Hashes): number {
  const words = Math.floor(filter.length / WORD_BYTES);
  if (words === 0) return 0;
  let mask = -1;
  for (let hash = 0; hash < HASHES && mask !== 0; hash += 1) {
    mask &= filter.readInt32LE(((place + hash * step) % words) * WORD_BYTES);
  }
  return mask;
}

/** FNV-1a over the text's UTF-8, begun in two ways; of the second one the upper 21 bits, made odd. */
function hashesOf(text: string): Hashes {
  let place: number = SEEDS.place;
  let step: number = SEEDS.step;
  for (const byte of Buffer.from(text, 'utf8')) {
    place = Math.imul(place ^ byte, FNV_PRIME);
    step = Math.imul(step ^ byte, FNV_PRIME);
  }
  return { place: place >>> 0, step: (step >>> STEP_SHIFT) | 1 };
}
