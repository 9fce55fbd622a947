/**
 * Which texts a segment may hold, in few bytes: a Bloom filter. It never says no to one that is
 * there, and yes to about one in a thousand of those that are not. What the texts are is the
 * business of whoever keeps the log (`IndexedTexts`).
 */
import type { EventBody } from './types.js';

/** What an index can be asked for, besides streams, positions and times. */
export interface IndexedTexts {
  /** Goes up with each change of what is told; 1 or more. An index of another version is not asked. */
  readonly version: number;
  /** Types of events that may have some; the bodies of others are not parsed. */
  readonly types: ReadonlySet<string>;
  /** The texts of one event. Must not throw, whatever the body is. */
  textsIn(type: string, body: EventBody): Iterable<string>;
}

/** Of a log of hundreds of segments, next to none is read for nothing. */
const BITS_PER_TEXT = 14;
/** Bits that are set for each text: the best number for fourteen bits a text. */
const HASHES = 10;
const FNV_PRIME = 0x01000193;
const STEP_SHIFT = 11;
const STEP_MAX = 2 ** (32 - STEP_SHIFT);
const SEEDS = { place: 0x811c9dc5, step: 0x9747b28c } as const;

/** Gathers texts, each once. */
export class TextFilterBuilder {
  /** Both hashes in one exact number. */
  readonly #hashes = new Set<number>();

  add(text: string): void {
    const { place, step } = hashesOf(text);
    this.#hashes.add(place * STEP_MAX + step);
  }

  finish(): Buffer {
    const bytes = Buffer.alloc(Math.ceil((this.#hashes.size * BITS_PER_TEXT) / 8));
    for (const both of this.#hashes) {
      for (const bit of bitsOf(Math.floor(both / STEP_MAX), both % STEP_MAX, bytes.length)) {
        bytes[bit >>> 3] = (bytes[bit >>> 3] ?? 0) | (1 << (bit & 7));
      }
    }
    return bytes;
  }
}

/** False when the filter was made without the text. */
export function mayHold(filter: Buffer, text: string): boolean {
  if (filter.length === 0) return false;
  const { place, step } = hashesOf(text);
  for (const bit of bitsOf(place, step, filter.length)) {
    if (((filter[bit >>> 3] ?? 0) & (1 << (bit & 7))) === 0) return false;
  }
  return true;
}

function* bitsOf(place: number, step: number, bytes: number): Generator<number, void, undefined> {
  const bits = bytes * 8;
  for (let hash = 0; hash < HASHES; hash += 1) yield (place + hash * step) % bits;
}

/** FNV-1a over the text's UTF-8, begun in two ways; of the second one the upper 21 bits, made odd. */
function hashesOf(text: string): { readonly place: number; readonly step: number } {
  let place: number = SEEDS.place;
  let step: number = SEEDS.step;
  for (const byte of Buffer.from(text, 'utf8')) {
    place = Math.imul(place ^ byte, FNV_PRIME);
    step = Math.imul(step ^ byte, FNV_PRIME);
  }
  return { place: place >>> 0, step: (step >>> STEP_SHIFT) | 1 };
}
