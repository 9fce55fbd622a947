/**
 * Walks a segment by the heads of its records: where each begins, its position, time and stream.
 * Parses no JSON and computes no hash, so it is as fast as the disk. Readers check each record that
 * they decode (`isIntact`); damage in other records is reported by `verifyLog`.
 */
import { unitContinues } from '../format/codec.js';
import { CHECKSUMS, HEADS_ONLY } from '../format/record-step.js';
import { RecordPages, type ReadableFile, type RecordPlace } from './record-pages.js';

const PAGE_SIZES = {
  /** Enough for a block of an index. */
  least: 32 * 1024,
  /** Large reads when no other query is running. */
  most: 2 * 1024 * 1024,
};
/** About a millisecond of work, between the calls of a daemon. */
const SMALL_PAGES = { ...PAGE_SIZES, most: 256 * 1024 };

/** Called for each record of a whole or unfinished append. False ends the walk before it. */
export type HeadVisitor = (bytes: Buffer, at: number, offset: number, padded: number) => boolean;

export interface HeadWalkOptions {
  /** Checks the CRC of each record, too. */
  readonly checks?: boolean;
  /** Reads little at a time, so that calls are served in between. */
  readonly breathes?: boolean;
  /** Called with the bytes of all records that were visited since the last call. */
  readonly onPage?: (records: Buffer) => void;
}

/** Where a walk ended: after the last whole append. */
export interface HeadsEnd extends RecordPlace {
  /** After the last record, which may belong to an append that is not whole. */
  readonly reachedPosition: number;
  /** Whether the visitor ended it. */
  readonly wasStopped: boolean;
}

/** Walks forwards from the beginning of a record until there is no next one. */
export async function walkHeads(
  file: ReadableFile,
  from: RecordPlace,
  visit: HeadVisitor,
  { checks, breathes, onPage }: HeadWalkOptions = {},
): Promise<HeadsEnd> {
  const sizes = breathes === true ? SMALL_PAGES : PAGE_SIZES;
  const pages = new RecordPages(file, from, checks === true ? CHECKSUMS : HEADS_ONLY, sizes);
  let { offset, position } = from;
  while (pages.stop === null) {
    await pages.fill();
    while (pages.step()) {
      const { bytes, at, end } = pages;
      if (!visit(bytes, at, pages.base + at, end - at)) {
        return { offset, position, reachedPosition: pages.position - 1, wasStopped: true };
      }
      if (!unitContinues(bytes, at)) ({ offset, position } = pages);
    }
    onPage?.(pages.bytes.subarray(0, pages.end));
  }
  return { offset, position, reachedPosition: pages.position, wasStopped: false };
}
