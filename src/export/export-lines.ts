/**
 * The JSON lines format of an export: a head, one line per record, an end. A record can be rehashed
 * from its line alone (docs/export.md). The reader is strict: it rejects every line that the writer
 * would have encoded differently. Handles lines only, not files or segments.
 */
import { encodeRecord, isName, parseBody } from '../log/format/codec.js';
import {
  CHAIN_BYTES,
  FLAGS_UNKNOWN,
  RECORD,
  RECORD_BYTES_MAX,
  aligned,
} from '../log/format/layout.js';
import { ExportInvalid } from './invalid-export.js';

export { ExportInvalid } from './invalid-export.js';

export interface ExportHead {
  readonly uuid: string;
  readonly epoch: number;
  readonly formatVersion: number;
  /** Creation time of the log in nanoseconds since 1970 UTC, as text. */
  readonly created: string;
  /** The release that made the export. */
  readonly release: string;
  /** RFC 3339. */
  readonly exported: string;
  readonly from: number;
  /** Chain hash of the record before the first one. */
  readonly chainBefore: string;
}

export interface ExportEnd {
  readonly records: number;
  /** Position after the last record in the export. */
  readonly to: number;
  /** Chain hash of the last record; equal to `chainBefore` in an empty export. */
  readonly chain: string;
  /** False if the log is damaged at `to`. */
  readonly complete: boolean;
  /** SHA-256 of all bytes before this line. */
  readonly sha256: string;
}

export const headLine = (head: ExportHead): string => {
  const { uuid, epoch, formatVersion, created, release, exported, from, chainBefore } = head;
  const fields = { uuid, epoch, formatVersion, created, release, exported, from, chainBefore };
  return JSON.stringify({ schema: 'stratalog.export/v1', ...fields });
};

export const endLine = (end: ExportEnd): string => {
  const { records, to, chain, complete, sha256 } = end;
  return JSON.stringify({
    schema: 'stratalog.export-end/v1',
    ...{ records, to, chain, complete, sha256 },
  });
};

interface LineFields {
  readonly position: number;
  readonly time: string;
  readonly stream: string;
  readonly streamVersion: number;
  readonly groupOffset: number;
  readonly type: string;
  readonly schemaVersion: number;
  readonly flags: number;
  readonly chain: string;
}

/** The body comes last and unchanged, so a reader can slice it out byte for byte. */
function lineOf(fields: LineFields, json: string): string {
  const { position, time, stream, streamVersion, groupOffset } = fields;
  const { type, schemaVersion, flags, chain } = fields;
  const text = JSON.stringify({
    schema: 'stratalog.export-record/v1',
    ...{ position, time, stream, streamVersion, groupOffset, type, schemaVersion, flags, chain },
  });
  return `${text.slice(0, -1)},"data":${json}}`;
}

const HIGH_WORD = 0x1_0000_0000;
/** A segment header stores the epoch in 32 bits. */
export const EPOCH_MAX = HIGH_WORD - 1;

/**
 * The line of a verified record. Fails with ExportInvalid if the record has bytes that a line
 * cannot represent; no release of Stratalog writes such a record.
 */
export function recordLine(bytes: Buffer, at: number): string {
  const streamAt = at + RECORD.headBytes;
  const typeAt = streamAt + bytes.readUInt16LE(at + RECORD.streamLength);
  const jsonAt = typeAt + bytes.readUInt16LE(at + RECORD.typeLength);
  const length = bytes.readUInt32LE(at + RECORD.length);
  const body = bytes.subarray(jsonAt, at + length);
  const json = body.toString('utf8');
  const position =
    bytes.readUInt32LE(at + RECORD.position) +
    bytes.readUInt32LE(at + RECORD.position + 4) * HIGH_WORD;
  const fields = {
    position,
    time: bytes.readBigInt64LE(at + RECORD.time).toString(),
    stream: bytes.toString('latin1', streamAt, typeAt),
    streamVersion: bytes.readUInt32LE(at + RECORD.streamVersion),
    groupOffset: bytes.readUInt32LE(at + RECORD.groupOffset),
    type: bytes.toString('latin1', typeAt, jsonAt),
    schemaVersion: bytes.readUInt16LE(at + RECORD.schemaVersion),
    flags: bytes.readUInt16LE(at + RECORD.flags),
    chain: bytes.toString('hex', at + RECORD.chain, at + RECORD.chain + CHAIN_BYTES),
  };
  const padding = bytes.subarray(at + length, at + aligned(length));
  const isLossless =
    json.startsWith('{') &&
    !json.includes('\n') &&
    isName(fields.stream) &&
    isName(fields.type) &&
    padding.every((byte) => byte === 0) &&
    Buffer.from(json, 'utf8').equals(body);
  if (isLossless) return lineOf(fields, json);
  throw new ExportInvalid(
    `the record at position ${position} has bytes that JSON cannot represent and that no ` +
      'release of Stratalog writes; export as tar, which copies the segments unchanged',
  );
}

const count = (digits: number): string => `(0|[1-9]\\d{0,${digits - 1}})`;
const text = '("[^"\\\\]*(?:\\\\.[^"\\\\]*)*")';
const recordForm = new RegExp(
  '^\\{"schema":"stratalog\\.export-record/v1"' +
    `,"position":${count(16)},"time":"(0|-?[1-9]\\d{0,18})","stream":${text}` +
    `,"streamVersion":${count(10)},"groupOffset":${count(10)},"type":${text}` +
    `,"schemaVersion":${count(5)},"flags":${count(5)},"chain":"([0-9a-f]{64})","data":`,
);

export interface RecordRead {
  readonly position: number;
  readonly groupOffset: number;
  readonly stream: string;
  readonly bytes: Buffer;
}

/**
 * Encodes a line as a record that continues `chain`, and advances `chain` past it. Fails with
 * ExportInvalid.
 */
export function readRecordLine(line: string, chain: Buffer, expected: number): RecordRead {
  const wrong = (why: string): ExportInvalid =>
    new ExportInvalid(`the line for position ${expected} ${why}`);
  const form = recordForm.exec(line);
  if (form === null || !line.endsWith('}')) throw wrong('is not a record');
  const [all, position = '', time = '', stream = '', version = '', group = ''] = form;
  const [type = '', schemaVersion = '', flags = '', written = ''] = form.slice(6);
  const json = line.slice(all.length, -1);
  const fields: LineFields = {
    position: Number(position),
    time,
    stream: unquoted(stream),
    streamVersion: Number(version),
    groupOffset: Number(group),
    type: unquoted(type),
    schemaVersion: Number(schemaVersion),
    flags: Number(flags),
    chain: written,
  };
  if (fields.position !== expected) throw wrong(`has position ${position}`);
  if (lineOf(fields, json) !== line) throw wrong('is not encoded as export encodes it');
  checkFields(fields, json, wrong);
  const jsonBytes = Buffer.byteLength(json, 'utf8');
  const length = aligned(RECORD.headBytes + fields.stream.length + fields.type.length + jsonBytes);
  if (length > RECORD_BYTES_MAX) throw wrong('exceeds the maximum record size');
  const bytes = Buffer.alloc(length);
  encodeRecord(bytes, 0, { ...fields, time: BigInt(time), json, jsonBytes }, chain);
  if (chain.toString('hex') !== written) {
    throw wrong('does not continue the hash chain: it or an earlier line was modified');
  }
  const { groupOffset } = fields;
  return { position: expected, groupOffset, stream: fields.stream, bytes };
}

function checkFields(
  fields: LineFields,
  json: string,
  wrong: (why: string) => ExportInvalid,
): void {
  const { stream, type, streamVersion, groupOffset, schemaVersion, flags } = fields;
  if (!isName(stream) || !isName(type)) throw wrong('has an invalid stream or type');
  const time = BigInt(fields.time);
  const tooLarge = Object.entries({
    streamVersion: streamVersion >= HIGH_WORD,
    groupOffset: groupOffset >= HIGH_WORD,
    schemaVersion: schemaVersion > 0xffff,
    flags: flags > 0xffff,
    time: BigInt.asIntN(64, time) !== time,
  }).find(([, isTooLarge]) => isTooLarge);
  if (tooLarge !== undefined) throw wrong(`has a value out of range: ${tooLarge[0]}`);
  if ((flags & FLAGS_UNKNOWN) !== 0) throw wrong(`has unknown flags: ${flags}`);
  try {
    parseBody(json);
  } catch (cause) {
    throw new ExportInvalid(wrong('has a body that is not a JSON object').message, { cause });
  }
}

function unquoted(quotedText: string): string {
  try {
    return String(JSON.parse(quotedText));
  } catch {
    return '';
  }
}

/** Fails with ExportInvalid unless the line is byte for byte the head of an export. */
export function readHeadLine(line: string): ExportHead {
  const fields = objectOf(line);
  const head: ExportHead = {
    uuid: textOf(fields, 'uuid', /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/),
    epoch: numberOf(fields, 'epoch', { least: 1, most: EPOCH_MAX }),
    formatVersion: numberOf(fields, 'formatVersion', { least: 1, most: HIGH_WORD - 1 }),
    created: timeOf(fields, 'created'),
    release: textOf(fields, 'release', /^.{1,40}$/),
    exported: textOf(fields, 'exported', /^[\dTZ:.-]{20,40}$/),
    from: numberOf(fields, 'from'),
    chainBefore: textOf(fields, 'chainBefore', /^[0-9a-f]{64}$/),
  };
  if (headLine(head) !== line) {
    throw new ExportInvalid('the first line is not an export head of this format');
  }
  return head;
}

/** Null if the line is not an end line. */
export function readEndLine(line: string): ExportEnd | null {
  if (!line.startsWith('{"schema":"stratalog.export-end/')) return null;
  const fields = objectOf(line);
  const end: ExportEnd = {
    records: numberOf(fields, 'records'),
    to: numberOf(fields, 'to'),
    chain: textOf(fields, 'chain', /^[0-9a-f]{64}$/),
    complete: fields.get('complete') === true,
    sha256: textOf(fields, 'sha256', /^[0-9a-f]{64}$/),
  };
  if (endLine(end) !== line) throw new ExportInvalid('the last line is not an export end line');
  return end;
}

function objectOf(line: string): ReadonlyMap<string, unknown> {
  try {
    return new Map(Object.entries(parseBody(line)));
  } catch (cause) {
    throw new ExportInvalid('a line is not a JSON object', { cause });
  }
}

function textOf(fields: ReadonlyMap<string, unknown>, key: string, form: RegExp): string {
  const value = fields.get(key);
  if (typeof value === 'string' && form.test(value)) return value;
  throw new ExportInvalid(`"${key}" is missing or malformed`);
}

function numberOf(
  fields: ReadonlyMap<string, unknown>,
  key: string,
  { least, most } = { least: 0, most: Number.MAX_SAFE_INTEGER },
): number {
  const value = fields.get(key);
  const isWhole = typeof value === 'number' && Number.isSafeInteger(value);
  if (isWhole && value >= least && value <= most) return value;
  throw new ExportInvalid(`"${key}" is missing or malformed`);
}

/** Nanoseconds that fit in the 64 bits of the log format. */
function timeOf(fields: ReadonlyMap<string, unknown>, key: string): string {
  const value = textOf(fields, key, /^\d{1,19}$/);
  if (BigInt.asIntN(64, BigInt(value)) === BigInt(value)) return value;
  throw new ExportInvalid(`"${key}" is missing or malformed`);
}
