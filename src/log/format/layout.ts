/**
 * The log on disk in numbers: the offset of each field of a record and of a segment header.
 * docs/log-format.md describes the same. All integers are little-endian. Nothing here may
 * change without a new FORMAT_VERSION.
 */
import { assert } from '../../base/assert.js';

/** The format this program writes, and the newest it reads. */
export const FORMAT_VERSION = 1;

/** Records and the segment header are padded with zeros to this many bytes. */
export const ALIGNMENT = 8;

/** A SHA-256, the link of the chain. */
export const CHAIN_BYTES = 32;

/** Fields of a record. The CRC covers all bytes of the record after it, padding included. */
export const RECORD = {
  crc: 0,
  /** Bytes from the record's start to the end of its JSON, without padding. Never 0. */
  length: 4,
  position: 8,
  time: 16,
  streamVersion: 24,
  /** The number of records of the same sync group before this one. */
  groupOffset: 28,
  schemaVersion: 32,
  flags: 34,
  streamLength: 36,
  typeLength: 38,
  chain: 40,
  headBytes: 72,
} as const;

/** The record is the last of its stream. */
export const FLAG_CLOSES_STREAM = 1;
/** The record is not the last of its append: without the next one it counts as never written. */
export const FLAG_UNIT_CONTINUES = 2;
/** Bits that no release has used. A record that has one is not ours to read. */
export const FLAGS_UNKNOWN = 0xffff & ~(FLAG_CLOSES_STREAM | FLAG_UNIT_CONTINUES);

/** The longest record, padding included. */
export const RECORD_BYTES_MAX = 16 * 1024 * 1024;
/** The largest append: a unit never spans two segments. */
export const UNIT_BYTES_MAX = 64 * 1024 * 1024;
/** The longest name of a stream or a type, in bytes. */
export const NAME_BYTES_MAX = 255;

/** The first bytes of every segment, in every format version. */
export const SEGMENT_MAGIC = 'STRATLOG';

/**
 * Fields of a segment header. Magic, CRC, header length, format version and release keep their
 * places for ever, so that an old program can name the release that wrote a newer log.
 */
export const SEGMENT = {
  magic: 0,
  /** Over bytes `headerLength` … end of the header. */
  crc: 8,
  headerLength: 12,
  formatVersion: 16,
  epoch: 20,
  writtenBy: 24,
  writtenByBytes: 40,
  uuid: 64,
  firstPosition: 80,
  /** First position of the segment before; NO_SEGMENT_BEFORE in the first of a log. */
  previousFirstPosition: 88,
  created: 96,
  /** Chain hash of the record before the first; zeros at position 0. */
  chain: 104,
  headerBytes: 136,
} as const;

export const NO_SEGMENT_BEFORE = 0xffff_ffff_ffff_ffffn;

/** A segment that cannot hold a header and a small record is of no use. */
export const SEGMENT_BYTES_MIN = 4096;
export const SEGMENT_BYTES_DEFAULT = 16 * 1024 * 1024;

assert(RECORD.chain + CHAIN_BYTES === RECORD.headBytes, 'the chain ends the record head');
assert(RECORD.headBytes % ALIGNMENT === 0, 'a record head is aligned');
assert(SEGMENT.headerBytes % ALIGNMENT === 0, 'the first record is aligned');
assert(SEGMENT.chain + CHAIN_BYTES === SEGMENT.headerBytes, 'the chain ends the segment header');
assert(SEGMENT.writtenBy + SEGMENT.writtenByBytes === SEGMENT.uuid, 'the release fits its field');

/** The next multiple of ALIGNMENT. */
export const aligned = (bytes: number): number => (bytes + (ALIGNMENT - 1)) & ~(ALIGNMENT - 1);

/** A UUID of sixteen bytes, in its usual form. */
export function uuidAt(bytes: Buffer, at: number): string {
  const hex = bytes.toString('hex', at, at + 16);
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
