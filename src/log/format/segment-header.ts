/**
 * The header of a segment: which log it belongs to, where it begins, and the chain hash it
 * continues. Records are not looked at here.
 */
import { crc32 } from 'node:zlib';
import { assert } from '../../base/assert.js';
import type { DiskFile } from '../../base/ports.js';
import { unixNanos, type UnixNanos } from '../../base/units.js';
import {
  aligned,
  CHAIN_BYTES,
  FORMAT_VERSION,
  NO_SEGMENT_BEFORE,
  SEGMENT,
  SEGMENT_MAGIC,
  uuidAt,
} from './layout.js';

export interface SegmentHeader {
  readonly uuid: string;
  readonly epoch: number;
  readonly writtenBy: string;
  readonly firstPosition: number;
  /** Null in the first segment of a log. */
  readonly previousFirstPosition: number | null;
  readonly created: UnixNanos;
  /** Chain hash of the record before the first one; zeros at position 0. */
  readonly chain: Buffer;
  /** Offset of the first record. */
  readonly headerBytes: number;
}

export function encodeHeader(header: Omit<SegmentHeader, 'headerBytes'>): Buffer {
  const bytes = Buffer.alloc(SEGMENT.headerBytes);
  const writtenBy = Buffer.from(header.writtenBy, 'utf8');
  assert(
    writtenBy.length > 0 && writtenBy.length <= SEGMENT.writtenByBytes,
    'a release string has 1 to 40 bytes',
  );
  bytes.write(SEGMENT_MAGIC, SEGMENT.magic, 'latin1');
  bytes.writeUInt32LE(SEGMENT.headerBytes, SEGMENT.headerLength);
  bytes.writeUInt32LE(FORMAT_VERSION, SEGMENT.formatVersion);
  bytes.writeUInt32LE(header.epoch, SEGMENT.epoch);
  writtenBy.copy(bytes, SEGMENT.writtenBy);
  bytes.write(header.uuid.replaceAll('-', ''), SEGMENT.uuid, 'hex');
  bytes.writeBigUInt64LE(BigInt(header.firstPosition), SEGMENT.firstPosition);
  bytes.writeBigUInt64LE(
    header.previousFirstPosition === null
      ? NO_SEGMENT_BEFORE
      : BigInt(header.previousFirstPosition),
    SEGMENT.previousFirstPosition,
  );
  bytes.writeBigInt64LE(header.created, SEGMENT.created);
  header.chain.copy(bytes, SEGMENT.chain, 0, CHAIN_BYTES);
  bytes.writeUInt32LE(crc32(bytes.subarray(SEGMENT.headerLength)), SEGMENT.crc);
  return bytes;
}

export type HeaderReading =
  | { readonly kind: 'valid'; readonly header: SegmentHeader }
  /** Whole, but of a format that this program does not know. */
  | { readonly kind: 'too-new'; readonly formatVersion: number; readonly writtenBy: string }
  | { readonly kind: 'damaged'; readonly why: string };

/** Reads the head of a file as a segment header. Never throws for what it finds there. */
export async function readHeader(file: DiskFile): Promise<HeaderReading> {
  const bytes = Buffer.alloc(4096);
  return decodeHeader(bytes.subarray(0, await file.read(bytes, 0)));
}

/** What has the name of a segment and is a directory, a pipe, a device or a link to nothing. */
export const notAFile = {
  kind: 'damaged',
  why: 'it is not a regular file, though it has the name of one: move it out of log/',
} as const satisfies HeaderReading;

export function decodeHeader(bytes: Buffer): HeaderReading {
  const broken = (why: string): HeaderReading => ({ kind: 'damaged', why });
  if (bytes.length < SEGMENT.uuid) return broken(`the header is cut after ${bytes.length} bytes`);
  if (bytes.toString('latin1', 0, SEGMENT_MAGIC.length) !== SEGMENT_MAGIC) {
    return broken('the header does not begin with the magic bytes');
  }
  const length = bytes.readUInt32LE(SEGMENT.headerLength);
  if (length < SEGMENT.uuid || length > bytes.length) return broken('the header length is wrong');
  const covered = bytes.subarray(SEGMENT.headerLength, length);
  if (crc32(covered) !== bytes.readUInt32LE(SEGMENT.crc)) {
    return broken('the header fails its checksum');
  }
  const writtenBy = bytes
    .toString('utf8', SEGMENT.writtenBy, SEGMENT.writtenBy + SEGMENT.writtenByBytes)
    .replace(/\0+$/, '');
  const formatVersion = bytes.readUInt32LE(SEGMENT.formatVersion);
  if (formatVersion !== FORMAT_VERSION) return { kind: 'too-new', formatVersion, writtenBy };
  if (length !== SEGMENT.headerBytes) return broken('the header length is wrong');
  return { kind: 'valid', header: fieldsOf(bytes, writtenBy) };
}

function fieldsOf(bytes: Buffer, writtenBy: string): SegmentHeader {
  const previous = bytes.readBigUInt64LE(SEGMENT.previousFirstPosition);
  return {
    uuid: uuidAt(bytes, SEGMENT.uuid),
    epoch: bytes.readUInt32LE(SEGMENT.epoch),
    writtenBy,
    firstPosition: Number(bytes.readBigUInt64LE(SEGMENT.firstPosition)),
    previousFirstPosition: previous === NO_SEGMENT_BEFORE ? null : Number(previous),
    created: unixNanos(bytes.readBigInt64LE(SEGMENT.created)),
    chain: Buffer.from(bytes.subarray(SEGMENT.chain, SEGMENT.chain + CHAIN_BYTES)),
    headerBytes: aligned(SEGMENT.headerBytes),
  };
}
