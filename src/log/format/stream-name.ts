/**
 * A stream's name as a prefix and a number, so that `snapshot-12` and `snapshot-13` cost a byte
 * each in an index and are found by a search among numbers. Any name has exactly one such form;
 * one that does not end in a plain decimal number is all prefix, with the number 0.
 */

export interface SplitName {
  readonly prefix: string;
  readonly number: number;
}

/** More digits than that are not exact as numbers. */
const DIGITS_MAX = 15;
const ZERO = 0x30;
const NINE = 0x39;

export const joinName = ({ prefix, number }: SplitName): string =>
  number === 0 ? prefix : `${prefix}${number}`;

function splitName(name: string): SplitName {
  const codes = Buffer.from(name, 'latin1');
  const digits = numberLength(codes, 0, name.length);
  if (digits === 0) return { prefix: name, number: 0 };
  return { prefix: name.slice(0, -digits), number: Number(name.slice(-digits)) };
}

/** Names to be looked for, sorted: a question about hundreds is put to hundreds of segments. */
export class NamesToFind {
  readonly #numbers = new Map<string, number[]>();

  constructor(names: Iterable<string>) {
    for (const { prefix, number } of [...names].map(splitName)) {
      const known = this.#numbers.get(prefix);
      if (known) known.push(number);
      else this.#numbers.set(prefix, [number]);
    }
    for (const numbers of this.#numbers.values()) numbers.sort((one, other) => one - other);
  }

  /** Those with the prefix and a number from `first` to `last`, both included, rising. */
  within(prefix: string, first: number, last: number): readonly SplitName[] {
    const numbers = this.#numbers.get(prefix) ?? [];
    const found: SplitName[] = [];
    for (let at = firstNotBelow(numbers, first); at < numbers.length; at += 1) {
      const number = numbers[at] ?? Infinity;
      if (number > last) break;
      found.push({ prefix, number });
    }
    return found;
  }
}

function firstNotBelow(numbers: readonly number[], least: number): number {
  let low = 0;
  let high = numbers.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((numbers[middle] ?? Infinity) < least) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** How many bytes at the end of a name are its number; 0 for none. */
export function numberLength(bytes: Uint8Array, start: number, end: number): number {
  let first = end;
  while (first > start && isDigit(bytes[first - 1] ?? 0)) first -= 1;
  const digits = end - first;
  // `a-007` and `a-7` are two names.
  return digits > DIGITS_MAX || bytes[first] === ZERO ? 0 : digits;
}

export function numberAt(bytes: Uint8Array, start: number, end: number): number {
  let number = 0;
  for (let at = start; at < end; at += 1) number = number * 10 + (bytes[at] ?? ZERO) - ZERO;
  return number;
}

const isDigit = (byte: number): boolean => byte >= ZERO && byte <= NINE;
