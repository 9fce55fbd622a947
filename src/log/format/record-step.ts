/**
 * What is at one place of a segment: the single step of every reader of records. Works on bytes: no
 * files, no appends. Readers refill their buffers on `short`.
 */
import { hash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { positionOf } from './codec.js';
import { aligned, CHAIN_BYTES, RECORD, RECORD_BYTES_MAX } from './layout.js';

/** Which proofs a record must pass besides a plausible head. */
export interface RecordChecks {
  readonly checksum: boolean;
  /** Chain hash of the previous record, updated with each record; null if the chain is not checked. */
  readonly chain: Buffer | null;
}

/** For readers that check the records they decode, and are otherwise as fast as the disk. */
export const HEADS_ONLY: RecordChecks = { checksum: false, chain: null };
export const CHECKSUMS: RecordChecks = { checksum: true, chain: null };

/** Why no record was read at a place. */
export type NoRecord =
  /** The bytes end before the head or the record does; the record needs so many. */
  | { readonly kind: 'short'; readonly needed: number }
  /** Zeros where a head would be. */
  | { readonly kind: 'nothing' }
  /** Bytes that are no whole record: a torn write, or damage. */
  | { readonly kind: 'unreadable'; readonly why: string }
  /** A record with a valid checksum that does not belong here: never a torn write. */
  | { readonly kind: 'contradiction'; readonly about: 'position' | 'chain'; readonly why: string };

const SHORT_HEAD: NoRecord = { kind: 'short', needed: RECORD.headBytes };
const NOTHING: NoRecord = { kind: 'nothing' };
const NO_HEAD: NoRecord = {
  kind: 'unreadable',
  why: 'the bytes here are not the head of a record',
};
const BAD_CHECKSUM: NoRecord = { kind: 'unreadable', why: 'a record fails its checksum' };
const OTHER_CHAIN: NoRecord = {
  kind: 'contradiction',
  about: 'chain',
  why: 'a record with a good checksum does not continue the hash chain',
};

/**
 * The padded length of the record at `at`, or why there is none.
 *
 * @param filled   how many of the bytes are the segment's
 * @param expected the position the record must have; null for any
 */
export function recordAt(
  bytes: Buffer,
  at: number,
  filled: number,
  expected: number | null,
  { checksum, chain }: RecordChecks,
): number | NoRecord {
  if (filled - at < RECORD.headBytes) return SHORT_HEAD;
  const padded = claimedLength(bytes, at);
  if (padded === null) return isZero(bytes, at, at + RECORD.headBytes) ? NOTHING : NO_HEAD;
  if (padded > filled - at) return { kind: 'short', needed: padded };
  const covered = checksum || chain !== null ? coveredBy(bytes, at, padded) : bytes;
  if (checksum && crc32(covered) !== bytes.readUInt32LE(at + RECORD.crc)) return BAD_CHECKSUM;
  if (expected !== null && positionOf(bytes, at) !== expected) {
    const why = `a record with position ${positionOf(bytes, at)} stands here`;
    return { kind: 'contradiction', about: 'position', why };
  }
  return chain === null || followsChain(bytes, at, covered, chain) ? padded : OTHER_CHAIN;
}

/** The padded length that a head claims; null when no record can look like this. */
function claimedLength(bytes: Buffer, at: number): number | null {
  const length = bytes.readUInt32LE(at + RECORD.length);
  if (length < RECORD.headBytes || length > RECORD_BYTES_MAX) return null;
  const names =
    bytes.readUInt16LE(at + RECORD.streamLength) + bytes.readUInt16LE(at + RECORD.typeLength);
  return RECORD.headBytes + names <= length ? aligned(length) : null;
}

/** What checksum and chain hash are taken of. As a Uint8Array, which takes half the time. */
const coveredBy = ({ buffer, byteOffset }: Buffer, at: number, padded: number): Uint8Array =>
  new Uint8Array(buffer, byteOffset + at + RECORD.length, padded - RECORD.length);

/** Whether the CRC of a whole record holds. */
export function isIntact(bytes: Buffer, at: number, padded: number): boolean {
  return crc32(coveredBy(bytes, at, padded)) === bytes.readUInt32LE(at + RECORD.crc);
}

/** Writes to the buffer for a moment; it is as before when this returns. */
function followsChain(bytes: Buffer, at: number, covered: Uint8Array, chain: Buffer): boolean {
  const field = at + RECORD.chain;
  // Texts: they are made and compared at once, and bytes one by one.
  const own = bytes.toString('latin1', field, field + CHAIN_BYTES);
  bytes.set(chain, field);
  const isNext = hash('sha256', covered, 'binary') === own;
  bytes.write(own, field, 'latin1');
  if (isNext) chain.write(own, 0, 'latin1');
  return isNext;
}

export function isZero(bytes: Buffer, from: number, to: number): boolean {
  for (let index = from; index < to; index += 1) if (bytes[index] !== 0) return false;
  return true;
}
