/**
 * The numbers of a segment's index on disk; docs/log-format.md says the same in prose. An index is
 * derived: one that is missing, foreign or wrong is made again, and nothing is lost.
 */

export const INDEX_MAGIC = 'STRATIDX';

/**
 * Fields of the header. `crc` covers everything behind itself, `headCrc` the header and the groups
 * behind itself, so that most questions are answered by the first bytes alone.
 */
export const INDEX = {
  magic: 0,
  crc: 8,
  headCrc: 12,
  formatVersion: 16,
  /** Of the header and the groups. The blocks follow. */
  headBytes: 20,
  uuid: 24,
  /** Of the segment's first record. */
  firstPosition: 40,
  records: 48,
  /** Offset in the segment after its last record. */
  end: 56,
  /** Chain hash of the segment's last record. */
  chain: 64,
  groups: 96,
  /** Offset in this file of the filter of texts. */
  filterAt: 100,
  filterBytes: 104,
  filterCrc: 108,
  /** The greatest time of the segment's records. */
  maxTime: 112,
  /** `IndexedTexts.version` of the texts in it; 0 without texts. */
  textsVersion: 120,
  headerBytes: 124,
  version: 4,
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

/** A segment's records are divided into so many stretches; the filter finds those that may have a text. */
export const STRETCHES = 32;

/** How many records a stretch has: whole blocks. The last stretches may have fewer, or none. */
export const stretchRecords = (records: number): number =>
  Math.max(1, Math.ceil(records / (STRETCHES * BLOCK.records))) * BLOCK.records;

/** One entry for the streams that share a prefix; the prefix follows it. */
export const GROUP = {
  streams: 0,
  /** Offset in this file of its directory of pages. */
  pagesAt: 4,
  firstNumber: 8,
  lastNumber: 16,
  prefixLength: 24,
  /** Offset of the prefix. */
  headBytes: 26,
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
