/**
 * Gives each stream that is met a small number, without making a string of its name: tables by
 * stream are then arrays. For those who look at every record of a segment.
 */
import { joinName, numberAt, numberLength } from '../format/stream-name.js';

/** Streams that share a prefix: number to slot. */
export interface SlotGroup {
  readonly prefix: string;
  readonly slots: ReadonlyMap<number, number>;
}

interface OpenGroup extends SlotGroup {
  readonly bytes: Buffer;
  readonly slots: Map<number, number>;
}

export class StreamSlots {
  readonly #groups = new Map<string, OpenGroup>();
  #last: OpenGroup | null = null;
  #count = 0;

  /** How many streams were met. */
  get count(): number {
    return this.#count;
  }

  get groups(): readonly SlotGroup[] {
    return [...this.#groups.values()];
  }

  /** The slot of the stream with the name at this place; slots count from 0 in order of appearance. */
  of(bytes: Buffer, start: number, end: number): number {
    const digits = numberLength(bytes, start, end);
    const { slots } = this.#groupOf(bytes, start, end - digits);
    const number = digits === 0 ? 0 : numberAt(bytes, end - digits, end);
    const known = slots.get(number);
    if (known !== undefined) return known;
    const slot = this.#count;
    slots.set(number, slot);
    this.#count += 1;
    return slot;
  }

  *names(): Generator<readonly [name: string, slot: number], void, undefined> {
    for (const { prefix, slots } of this.#groups.values()) {
      for (const [number, slot] of slots) yield [joinName({ prefix, number }), slot];
    }
  }

  /** Most records have the prefix of the one before. */
  #groupOf(bytes: Buffer, start: number, end: number): OpenGroup {
    if (this.#last !== null && isSame(this.#last.bytes, bytes, start, end)) return this.#last;
    const prefix = bytes.toString('latin1', start, end);
    let group = this.#groups.get(prefix);
    if (group === undefined) {
      group = { prefix, bytes: Buffer.from(prefix, 'latin1'), slots: new Map() };
      this.#groups.set(prefix, group);
    }
    this.#last = group;
    return group;
  }
}

function isSame(prefix: Buffer, bytes: Buffer, start: number, end: number): boolean {
  if (prefix.length !== end - start) return false;
  for (let at = 0; at < prefix.length; at += 1) {
    if (prefix[at] !== bytes[start + at]) return false;
  }
  return true;
}
