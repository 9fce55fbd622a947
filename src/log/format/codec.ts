/**
 * A record as bytes: encoding, which goes straight into a buffer that is written as it is, and
 * decoding of what record-step.ts has checked. Knows one record at a time: no files, no groups.
 *
 * The chain hash of a record is SHA-256 over its bytes from `length` to the end of its padding,
 * where the chain field holds the chain hash of the record before. So one contiguous region is
 * hashed once, and the CRC, which covers the finished chain field, is left out.
 */
import { hash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { position, streamVersion, unixNanos } from '../../base/units.js';
import {
  aligned,
  CHAIN_BYTES,
  FLAG_CLOSES_STREAM,
  FLAG_UNIT_CONTINUES,
  FLAGS_UNKNOWN,
  NAME_BYTES_MAX,
  RECORD,
} from './layout.js';
import type { EventBody, LogRecord } from '../types.js';

/** Two 32-bit halves are cheaper than a bigint; positions are exact up to 2^53. */
const HIGH_WORD = 0x1_0000_0000;

/** What a record needs besides the chain. Names are ASCII, so their length is their byte length. */
export interface RecordToEncode {
  readonly position: number;
  readonly time: bigint;
  readonly stream: string;
  readonly streamVersion: number;
  readonly groupOffset: number;
  readonly type: string;
  readonly schemaVersion: number;
  readonly flags: number;
  readonly json: string;
  /** Byte length of `json` in UTF-8. */
  readonly jsonBytes: number;
}

/** Bytes of a record in the log, padding included. */
export function paddedLength(stream: string, type: string, jsonBytes: number): number {
  return aligned(RECORD.headBytes + stream.length + type.length + jsonBytes);
}

/** Names of streams and types: printable ASCII without blanks, 1 to 255 of them. */
export function isName(name: string): boolean {
  return name.length <= NAME_BYTES_MAX && /^[!-~]+$/.test(name);
}

/**
 * Writes a record at `at` and answers its padded length. `chain` holds the hash of the record
 * before and is overwritten with the hash of this one.
 */
export function encodeRecord(
  into: Buffer,
  at: number,
  record: RecordToEncode,
  chain: Buffer,
): number {
  const { stream, type, json } = record;
  const streamAt = at + RECORD.headBytes;
  const typeAt = streamAt + stream.length;
  const jsonAt = typeAt + type.length;
  const end = jsonAt + record.jsonBytes;
  const padded = aligned(end - at);

  into.writeUInt32LE(end - at, at + RECORD.length);
  into.writeUInt32LE(record.position % HIGH_WORD, at + RECORD.position);
  into.writeUInt32LE(Math.floor(record.position / HIGH_WORD), at + RECORD.position + 4);
  into.writeBigInt64LE(record.time, at + RECORD.time);
  into.writeUInt32LE(record.streamVersion, at + RECORD.streamVersion);
  into.writeUInt32LE(record.groupOffset, at + RECORD.groupOffset);
  into.writeUInt16LE(record.schemaVersion, at + RECORD.schemaVersion);
  into.writeUInt16LE(record.flags, at + RECORD.flags);
  into.writeUInt16LE(stream.length, at + RECORD.streamLength);
  into.writeUInt16LE(type.length, at + RECORD.typeLength);
  chain.copy(into, at + RECORD.chain, 0, CHAIN_BYTES);
  into.write(stream, streamAt, 'latin1');
  into.write(type, typeAt, 'latin1');
  into.write(json, jsonAt, 'utf8');
  if (end < at + padded) into.fill(0, end, at + padded);

  const covered = into.subarray(at + RECORD.length, at + padded);
  // Asking for text and writing it back is twice as fast as asking for a new buffer.
  chain.write(hash('sha256', covered, 'hex'), 0, 'hex');
  chain.copy(into, at + RECORD.chain, 0, CHAIN_BYTES);
  into.writeUInt32LE(crc32(covered), at + RECORD.crc);
  return padded;
}

/** Of 64 bits, and exact as a number. A bigint for each record costs more than all that is read of it. */
export function wideNumberAt(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * HIGH_WORD;
}

export function positionOf(bytes: Buffer, at: number): number {
  return wideNumberAt(bytes, at + RECORD.position);
}

export function groupOffsetOf(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at + RECORD.groupOffset);
}

/** Whether the next record belongs to the same append. */
export function unitContinues(bytes: Buffer, at: number): boolean {
  return (bytes.readUInt16LE(at + RECORD.flags) & FLAG_UNIT_CONTINUES) !== 0;
}

/** Whether the record is the last of its stream. */
export function closesStream(bytes: Buffer, at: number): boolean {
  return (bytes.readUInt16LE(at + RECORD.flags) & FLAG_CLOSES_STREAM) !== 0;
}

/** Compares without decoding: most records of a filtered read are of other streams. */
export function isOfStream(bytes: Buffer, at: number, stream: Buffer): boolean {
  if (bytes.readUInt16LE(at + RECORD.streamLength) !== stream.length) return false;
  const start = at + RECORD.headBytes;
  return bytes.compare(stream, 0, stream.length, start, start + stream.length) === 0;
}

/** Whether a record's stream is one of these. */
export function isOfStreams(streams: ReadonlySet<string>): (bytes: Buffer, at: number) => boolean {
  const [first = ''] = streams;
  const only = Buffer.from(first, 'latin1');
  if (streams.size === 1) return (bytes, at) => isOfStream(bytes, at, only);
  return (bytes, at) => {
    const start = at + RECORD.headBytes;
    const end = start + bytes.readUInt16LE(at + RECORD.streamLength);
    return streams.has(bytes.toString('latin1', start, end));
  };
}

/** Never for null. Most types have another length, and making a string of each takes time. */
export function isOfType(bytes: Buffer, at: number, type: string | null): boolean {
  if (type?.length !== bytes.readUInt16LE(at + RECORD.typeLength)) return false;
  const start = at + RECORD.headBytes + bytes.readUInt16LE(at + RECORD.streamLength);
  return bytes.toString('latin1', start, start + type.length) === type;
}

/**
 * Decodes a record whose CRC holds.
 *
 * Fails  SyntaxError when the JSON is none or no object, RangeError on unknown flags: the writer
 *        was not this program, or was broken
 */
export function decodeRecord(bytes: Buffer, at: number): LogRecord {
  const streamAt = at + RECORD.headBytes;
  const typeAt = streamAt + bytes.readUInt16LE(at + RECORD.streamLength);
  const jsonAt = typeAt + bytes.readUInt16LE(at + RECORD.typeLength);
  const end = at + bytes.readUInt32LE(at + RECORD.length);
  const flags = bytes.readUInt16LE(at + RECORD.flags);
  if ((flags & FLAGS_UNKNOWN) !== 0) throw new RangeError(`unknown flags ${flags.toString(16)}`);
  return {
    position: position(positionOf(bytes, at)),
    time: unixNanos(bytes.readBigInt64LE(at + RECORD.time)),
    stream: bytes.toString('latin1', streamAt, typeAt),
    streamVersion: streamVersion(bytes.readUInt32LE(at + RECORD.streamVersion)),
    type: bytes.toString('latin1', typeAt, jsonAt),
    schemaVersion: bytes.readUInt16LE(at + RECORD.schemaVersion),
    data: parseBody(bytes.toString('utf8', jsonAt, end)),
    closesStream: (flags & FLAG_CLOSES_STREAM) !== 0,
  };
}

/** Whether `decodeRecord` failed because of the content of the record. */
export const isUnusable = (thrown: unknown): boolean =>
  thrown instanceof SyntaxError || thrown instanceof RangeError;

/** As `decodeRecord`; null where the record is unusable. */
export function decodeIfUsable(bytes: Buffer, at: number): LogRecord | null {
  try {
    return decodeRecord(bytes, at);
  } catch (thrown) {
    if (isUnusable(thrown)) return null;
    throw thrown;
  }
}

export function parseBody(json: string): EventBody {
  const body: unknown = JSON.parse(json);
  if (!isBody(body)) throw new SyntaxError('an event body is a JSON object');
  return body;
}

function isBody(value: unknown): value is EventBody {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
