/**
 * The numbers of a segment's index on disk; docs/log-format.md says the same in prose. An index is
 * derived: one that is missing, foreign or wrong is made again, and nothing is lost.
 */

export const INDEX_MAGIC = 'STRATIDX';

/** Fields of the header. The CRC covers everything from `formatVersion` to the end of the file. */
export const INDEX = {
  magic: 0,
  crc: 8,
  formatVersion: 12,
  uuid: 16,
  /** Of the segment's first record. */
  firstPosition: 32,
  records: 40,
  /** Offset in the segment behind its last record. */
  end: 48,
  /** Chain hash of the segment's last record. */
  chain: 56,
  groups: 88,
  /** Offset in this file of the table of groups; the blocks stand before it. */
  groupsAt: 92,
  /** Offset in this file of the filter of texts, which reaches to its end. */
  filterAt: 96,
  /** `IndexedTexts.version` of the texts in it; 0 when none were asked for. */
  textsVersion: 100,
  /** The greatest time of the segment's records. */
  maxTime: 104,
  headerBytes: 112,
  version: 3,
} as const;

/** One entry for so many records. */
export const BLOCK = {
  records: 64,
  /** Of the block's first record in the segment, in units of 8 bytes. */
  offset: 0,
  /** The least time of the block's records. */
  minTime: 4,
  bytes: 12,
} as const;

/** One entry for the streams that share a prefix; the prefix stands behind it. */
export const GROUP = {
  streams: 0,
  /** Offset in this file of its directory of pages. */
  pagesAt: 4,
  /** Number of its last stream. */
  lastNumber: 8,
  prefixLength: 16,
  /** Where the prefix stands. */
  headBytes: 18,
} as const;

/** Streams in one page: what is decoded to find one. */
export const PAGE_STREAMS = 64;

/** One entry of a directory of pages. */
export const PAGE = {
  firstNumber: 0,
  /** Offset in this file. */
  at: 8,
  bytes: 12,
} as const;
