/**
 * The header block of a tar entry, in each dialect that Go's archive/tar reads, with the same
 * tolerance: containerd unpacks layers with it, so what it reads is what a layer means.
 * Sources: POSIX.1-2017 pax(1) for ustar; "Basic Tar Format" in the GNU tar manual; star(5).
 */
import type { ByteString } from './byte-string.js';

/** The bytes are not a valid tar archive. The message names the rule that is broken. */
export class TarInvalid extends Error {
  override readonly name = 'TarInvalid';
}

export const blockBytes = 512;

/** How a header was written, by its magic numbers. */
export type Dialect = 'v7' | 'ustar' | 'star' | 'gnu';

/** The fields of a header, before PAX records and long names change them. */
export interface HeaderFields {
  /** One character: `0` for a file, NUL for a file or directory of old archives, … */
  typeFlag: string;
  name: ByteString;
  linkName: ByteString;
  mode: bigint;
  uid: bigint;
  gid: bigint;
  /** Bytes of content in the archive; may be negative. */
  size: bigint;
  /** Nanoseconds since 1970. */
  modified: bigint;
  /** Null where the header has no such time. */
  accessed: bigint | null;
  deviceMajor: bigint;
  deviceMinor: bigint;
}

interface Field {
  readonly at: number;
  readonly length: number;
}

const field = (at: number, length: number): Field => ({ at, length });

/** Where each field is in the block. Those after the type flag depend on the dialect. */
const fields = {
  name: field(0, 100),
  mode: field(100, 8),
  uid: field(108, 8),
  gid: field(116, 8),
  size: field(124, 12),
  modified: field(136, 12),
  checksum: field(148, 8),
  typeFlag: field(156, 1),
  linkName: field(157, 100),
  magic: field(257, 6),
  version: field(263, 2),
  deviceMajor: field(329, 8),
  deviceMinor: field(337, 8),
  ustarPrefix: field(345, 155),
  starPrefix: field(345, 131),
  starAccessed: field(476, 12),
  starChanged: field(488, 12),
  starTrailer: field(508, 4),
  gnuAccessed: field(345, 12),
  gnuChanged: field(357, 12),
} as const satisfies Readonly<Record<string, Field>>;

/** Types that have no content, whatever their size field says. */
const withoutContent = new Set(['1', '2', '3', '4', '5', '6']);

export const hasContent = (typeFlag: string): boolean => !withoutContent.has(typeFlag);

export interface DecodedHeader {
  readonly dialect: Dialect;
  readonly fields: HeaderFields;
}

/**
 * Decodes a block of 512 bytes.
 *
 * Fails  TarInvalid for a wrong checksum, or a field that is not a number of 64 bits
 */
export function decodeHeader(block: Buffer): DecodedHeader {
  requireChecksum(block);
  const dialect = dialectOf(block);
  const decoded: HeaderFields = {
    typeFlag: latin1(block, fields.typeFlag),
    name: text(block, fields.name),
    linkName: text(block, fields.linkName),
    mode: numeric(block, fields.mode),
    uid: numeric(block, fields.uid),
    gid: numeric(block, fields.gid),
    size: numeric(block, fields.size),
    modified: instant(numeric(block, fields.modified)),
    accessed: null,
    deviceMajor: 0n,
    deviceMinor: 0n,
  };
  if (dialect === 'v7') return { dialect, fields: decoded };
  decoded.deviceMajor = numeric(block, fields.deviceMajor);
  decoded.deviceMinor = numeric(block, fields.deviceMinor);
  let prefix: ByteString = '';
  if (dialect === 'ustar') {
    prefix = text(block, fields.ustarPrefix);
  } else if (dialect === 'star') {
    prefix = text(block, fields.starPrefix);
    decoded.accessed = instant(numeric(block, fields.starAccessed));
    numeric(block, fields.starChanged);
  } else {
    try {
      decoded.accessed = gnuTime(block, fields.gnuAccessed);
      gnuTime(block, fields.gnuChanged);
    } catch (thrown) {
      if (!(thrown instanceof TarInvalid)) throw thrown;
      // Archives of Go before 1.8 have the prefix of ustar here (golang.org/issue/12594).
      decoded.accessed = null;
      const old = text(block, fields.ustarPrefix);
      if (!/[\x80-\xff]/.test(old)) prefix = old;
    }
  }
  if (prefix !== '') decoded.name = `${prefix}/${decoded.name}`;
  return { dialect, fields: decoded };
}

/** POSIX sums unsigned bytes, old tars of Sun signed ones; the field itself counts as spaces. */
function requireChecksum(block: Buffer): void {
  let unsigned = 0;
  let signed = 0;
  const { at, length } = fields.checksum;
  for (let index = 0; index < blockBytes; index += 1) {
    const byte = index >= at && index < at + length ? 0x20 : (block[index] ?? 0);
    unsigned += byte;
    signed += byte < 0x80 ? byte : byte - 0x100;
  }
  const sum = octal(block, fields.checksum);
  if (sum === null || (sum !== unsigned && sum !== signed)) {
    throw new TarInvalid('the checksum does not match');
  }
}

function dialectOf(block: Buffer): Dialect {
  const magic = latin1(block, fields.magic);
  if (magic === 'ustar\0') {
    return latin1(block, fields.starTrailer) === 'tar\0' ? 'star' : 'ustar';
  }
  return magic === 'ustar ' && latin1(block, fields.version) === ' \0' ? 'gnu' : 'v7';
}

const gnuTime = (block: Buffer, from: Field): bigint | null =>
  block[from.at] === 0 ? null : instant(numeric(block, from));

const latin1 = (block: Buffer, { at, length }: Field): ByteString =>
  block.toString('latin1', at, at + length);

/** Up to the first NUL, or the whole field. */
function text(block: Buffer, from: Field): ByteString {
  return untilNul(latin1(block, from));
}

export function untilNul(bytes: ByteString): ByteString {
  const end = bytes.indexOf('\0');
  return end < 0 ? bytes : bytes.slice(0, end);
}

/**
 * A number in octal, or in base 256 when the first bit is set: then all other bits are two's
 * complement, first byte first (a GNU extension).
 */
export function numeric(block: Buffer, from: { at: number; length: number }): bigint {
  const first = block[from.at] ?? 0;
  if ((first & 0x80) === 0) {
    const value = octal(block, from);
    if (value === null) throw new TarInvalid('a field is not an octal number');
    return BigInt(value);
  }
  const bits = from.length * 8 - 1;
  const hex = block.toString('hex', from.at, from.at + from.length);
  const value = BigInt.asIntN(bits, BigInt(`0x${hex}`));
  if (BigInt.asIntN(64, value) !== value) throw new TarInvalid('a field is larger than 64 bits');
  return value;
}

/** Spaces and NULs may surround the digits. An empty field is 0; null when it is no number. */
function octal(block: Buffer, { at, length }: Field): number | null {
  let begin = at;
  let end = at + length;
  while (begin < end && isPadding(block[begin])) begin += 1;
  while (end > begin && isPadding(block[end - 1])) end -= 1;
  let value = 0;
  for (let index = begin; index < end; index += 1) {
    const digit = (block[index] ?? 0) - 0x30;
    // What follows a NUL within the field is not part of the number.
    if (digit === -0x30) break;
    if (digit < 0 || digit > 7) return null;
    value = value * 8 + digit;
  }
  return value;
}

const isPadding = (byte: number | undefined): boolean => byte === 0 || byte === 0x20;

const nanosPerSecond = 1_000_000_000n;
/** Seconds from year 1, where Go's time begins, to 1970. */
const secondsToUnix = 62_135_596_800n;

/** Nanoseconds since 1970. Seconds that overflow Go's time wrap around as there. */
export function instant(seconds: bigint, nanos = 0n): bigint {
  const wrapped = BigInt.asIntN(64, seconds + secondsToUnix) - secondsToUnix;
  return wrapped * nanosPerSecond + nanos;
}
