/**
 * Maps of sparse files: where in the file the content in the archive belongs. All else is zeros.
 * Four ways to write them ("Storing Sparse Files" in the GNU tar manual): numbers in the header
 * (old GNU), PAX records (0.0, which pax.ts turns into 0.1, and 0.1), or the beginning of the
 * content (1.0).
 */
import type { ByteString } from './byte-string.js';
import { blockBytes, numeric, TarInvalid } from './header.js';
import { integer } from './pax.js';
import type { PaxRecords } from './pax.js';

/** A piece of content and where it belongs. */
export interface Fragment {
  readonly offset: number;
  readonly length: number;
}

/** A map as it was read: numbers of 64 bits, in no order yet. */
export type RawMap = (readonly [offset: bigint, length: bigint])[];

/** Where a PAX header says that the map is; null for a file that is not sparse. */
export function sparseForm(records: PaxRecords): 'records' | 'content' | null {
  const version = `${records.get('GNU.sparse.major') ?? ''}.${records.get('GNU.sparse.minor') ?? ''}`;
  if (version === '0.0' || version === '0.1') return 'records';
  if (version === '1.0') return 'content';
  // Formats 0.0 and 0.1 did not always write their version.
  return version === '.' && (records.get('GNU.sparse.map') ?? '') !== '' ? 'records' : null;
}

/** Name and size of the whole file, which the header has of the stored pieces; null where absent. */
export function sparseFile(records: PaxRecords): { name: ByteString | null; size: bigint | null } {
  const name = records.get('GNU.sparse.name') ?? '';
  const size = records.get('GNU.sparse.size') ?? '';
  const real = size === '' ? (records.get('GNU.sparse.realsize') ?? '') : size;
  return { name: name === '' ? null : name, size: real === '' ? null : integer(real) };
}

export function mapInRecords(records: PaxRecords): RawMap {
  const list = records.get('GNU.sparse.map') ?? '';
  const numbers = list === '' ? [] : list.split(',');
  const count = integer(records.get('GNU.sparse.numblocks') ?? '');
  if (BigInt(numbers.length) !== count * 2n) {
    throw new TarInvalid('the map of a sparse file has another length than it says');
  }
  return pairs(numbers);
}

/**
 * The map at the beginning of the content: lines of decimal numbers, the first of them the number
 * of pairs. Takes whole blocks until it has all numbers.
 */
export class MapInContent {
  private readonly blocks: Buffer[] = [];
  private newlines = 0;
  /** Of pairs; null until the first line is complete. */
  private count: bigint | null = null;

  /** Null when another block is needed. */
  add(block: Buffer): RawMap | null {
    this.blocks.push(block);
    for (const byte of block) if (byte === newline) this.newlines += 1;
    if (this.newlines === 0) return null;
    this.count ??= integer(this.lines()[0] ?? '');
    if (this.count < 0n) throw new TarInvalid('the map of a sparse file has a negative length');
    if (BigInt(this.newlines - 1) < this.count * 2n) return null;
    return pairs(this.lines().slice(1, 1 + Number(this.count) * 2));
  }

  private lines(): ByteString[] {
    return Buffer.concat(this.blocks).toString('latin1').split('\n');
  }
}

function pairs(numbers: readonly ByteString[]): RawMap {
  const map: RawMap = [];
  for (let index = 0; index + 1 < numbers.length; index += 2) {
    map.push([integer(numbers[index] ?? ''), integer(numbers[index + 1] ?? '')]);
  }
  return map;
}

const newline = 0x0a;
const pairBytes = 24;

/** Where pairs of numbers are in a header of old GNU sparse files, and in the blocks after it. */
export const oldGnuPairs = { header: { at: 386, count: 4 }, extension: { at: 0, count: 21 } };
const oldGnuRealSize = { at: 483, length: 12 };

/** Adds the pairs of a block to the map. Answers whether another block of them follows. */
export function addOldGnuPairs(
  map: RawMap,
  block: Buffer,
  { at, count }: { readonly at: number; readonly count: number },
): boolean {
  for (let index = 0; index < count; index += 1) {
    const offset = at + index * pairBytes;
    if (block[offset] === 0) break;
    const half = pairBytes / 2;
    map.push([
      numeric(block, { at: offset, length: half }),
      numeric(block, { at: offset + half, length: half }),
    ]);
  }
  return block[at + count * pairBytes] !== 0;
}

/** Size of the whole file in a header of an old GNU sparse file. */
export const oldGnuSize = (block: Buffer): bigint => numeric(block, oldGnuRealSize);

/** A map that takes more than this in the archive is refused, as current releases of Go do. */
export const mapBytesMax = 2048 * blockBytes;

/**
 * The fragments of a file of this size, in order, without empty ones.
 *
 * Fails  TarInvalid for fragments that overlap, go backwards or leave the file
 */
export function fragmentsOf(map: RawMap, size: bigint): readonly Fragment[] {
  const misfit = new TarInvalid('the map of a sparse file does not fit the file');
  if (size < 0n) throw misfit;
  const fragments: Fragment[] = [];
  let before = 0n;
  for (const [offset, length] of map) {
    if (offset < before || length < 0n || offset + length > size) throw misfit;
    before = offset + length;
    if (length > 0n) fragments.push({ offset: Number(offset), length: Number(length) });
  }
  return fragments;
}
