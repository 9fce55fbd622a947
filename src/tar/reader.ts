/**
 * A tar archive, bytes in and entries out: no stream, no disk, no promise. It reads what Go's
 * archive/tar reads and refuses what that refuses, because containerd unpacks layers with it:
 *
 * - The archive ends at two blocks of zeros, or where the bytes end between two entries, also
 *   within the padding of the last one. What follows the blocks of zeros is not part of it.
 * - A PAX header or a long name applies to the next entry only. Global PAX headers are entries of
 *   their own and change no other entry.
 * - Types without content have none, whatever their size field.
 *
 * Sizes are checked before anything is allocated: a PAX header, a long name and the map of a
 * sparse file may have 1 MiB each.
 */
import type { ByteString } from './byte-string.js';
import { bytesOf, readable } from './byte-string.js';
import type { Dialect, HeaderFields } from './header.js';
import { blockBytes, decodeHeader, hasContent, TarInvalid, untilNul } from './header.js';
import type { PaxRecords } from './pax.js';
import { applyPax, attributesIn, parsePax } from './pax.js';
import type { Fragment, RawMap } from './sparse.js';
import {
  addOldGnuPairs,
  fragmentsOf,
  MapInContent,
  mapBytesMax,
  mapInRecords,
  oldGnuPairs,
  oldGnuSize,
  sparseFile,
  sparseForm,
} from './sparse.js';

/** Of a PAX header or a long name. */
const extensionBytesMax = 1024 * 1024;

const typesByFlag = {
  '0': 'file',
  '1': 'link',
  '2': 'symlink',
  '3': 'character-device',
  '4': 'block-device',
  '5': 'directory',
  '6': 'fifo',
  g: 'global-header',
} as const;

/** `other` is a type that Go's archive/tar reads and containerd does not unpack. */
export type TarEntryType = (typeof typesByFlag)[keyof typeof typesByFlag] | 'other';

export interface TarHeader {
  readonly type: TarEntryType;
  /** The type flag of the header. */
  readonly typeFlag: string;
  /** As it is in the archive: not normalized, not to be trusted. */
  readonly name: ByteString;
  /** Target of a link or symlink. */
  readonly linkName: ByteString;
  /** The twelve permission bits. */
  readonly mode: number;
  readonly uid: bigint;
  readonly gid: bigint;
  /** Bytes of content, the zeros of a sparse file included. */
  readonly size: number;
  /** Nanoseconds since 1970. */
  readonly modified: bigint;
  /** Nanoseconds since 1970; null where the archive has no such time. */
  readonly accessed: bigint | null;
  readonly device: { readonly major: bigint; readonly minor: bigint };
  /** Extended attributes by name. */
  readonly attributes: ReadonlyMap<ByteString, Buffer>;
}

export type TarPart =
  | { readonly kind: 'entry'; readonly header: TarHeader }
  /** Content of the entry. The bytes are valid until the reader is given more. */
  | { readonly kind: 'content'; readonly bytes: Uint8Array }
  /** Content of a sparse file that the archive does not hold. */
  | { readonly kind: 'zeros'; readonly count: number }
  | { readonly kind: 'entry-end' };

/** What the parser hands out: a part, or that it needs more bytes. */
type Step = TarPart | 'more';

type Parsing<Result> = Generator<Step, Result, undefined>;

/** An entry and how its content is stored. */
interface Entry {
  readonly header: TarHeader;
  /** Bytes in the archive that are still to be read. */
  stored: number;
  /** Null for a file that is not sparse. */
  readonly fragments: readonly Fragment[] | null;
}

export class TarReader {
  private readonly input = new Input();
  private readonly parsing = this.archive();
  private done = false;
  private skipping = false;
  /** Where the current header begins in the archive. */
  private headerAt = 0;
  /** Bytes between the content of the last entry and the next header. */
  private padding = 0;

  /** Whether the end of the archive was read; bytes after it are ignored. */
  get ended(): boolean {
    return this.done;
  }

  /**
   * The parts that these bytes complete. All must be taken before more bytes are given.
   *
   * Fails  TarInvalid, with the offset of the header
   */
  read(bytes: Uint8Array): Generator<TarPart, void, undefined> {
    if (!this.done) this.input.add(bytes);
    return this.parts();
  }

  /** The parts that are left when there are no more bytes. Fails as `read` does. */
  finish(): Generator<TarPart, void, undefined> {
    this.input.ended = true;
    return this.parts();
  }

  /** Leaves out the rest of the current entry's content, and does not check it either. */
  skip(): void {
    this.skipping = true;
  }

  private *parts(): Generator<TarPart, void, undefined> {
    while (!this.done) {
      const step = this.next();
      if (step === 'more') return;
      if (step !== null) yield step;
    }
  }

  private next(): Step | null {
    try {
      const { done, value } = this.parsing.next();
      this.done = done === true;
      return value ?? null;
    } catch (thrown) {
      this.done = true;
      if (!(thrown instanceof TarInvalid)) throw thrown;
      throw new TarInvalid(`${thrown.message} (header at byte ${this.headerAt})`, {
        cause: thrown,
      });
    }
  }

  private *archive(): Parsing<void> {
    for (let entry = yield* this.entry(); entry !== null; entry = yield* this.entry()) {
      this.skipping = false;
      yield { kind: 'entry', header: entry.header };
      yield* this.content(entry);
      yield { kind: 'entry-end' };
    }
  }

  /** The next entry; null at the end. */
  private *entry(): Parsing<Entry | null> {
    let records: PaxRecords = new Map();
    let longName = '';
    let longLink = '';
    for (;;) {
      const block = yield* this.headerBlock();
      if (block === null) return null;
      const { dialect, fields } = decodeHeader(block);
      requireSize(fields);
      switch (fields.typeFlag) {
        case 'x':
          records = parsePax(yield* this.extension(fields));
          break;
        case 'g':
          return globalHeader(fields, parsePax(yield* this.extension(fields)));
        case 'L':
          longName = untilNul(yield* this.extension(fields));
          break;
        case 'K':
          longLink = untilNul(yield* this.extension(fields));
          break;
        default:
          applyPax(fields, records);
          if (longName !== '') fields.name = longName;
          if (longLink !== '') fields.linkName = longLink;
          return yield* this.completed(fields, { block, dialect, records });
      }
    }
  }

  /** A header that no other header is about to change. */
  private *completed(
    fields: HeaderFields,
    from: { readonly block: Buffer; readonly dialect: Dialect; readonly records: PaxRecords },
  ): Parsing<Entry> {
    // Archives older than POSIX know a directory by the slash at the end of its name.
    if (fields.typeFlag === '\0') fields.typeFlag = fields.name.endsWith('/') ? '5' : '0';
    requireSize(fields);
    const entry = { stored: hasContent(fields.typeFlag) ? safe(fields.size) : 0 };
    this.padding = -entry.stored & (blockBytes - 1);
    const map = yield* this.sparseMap(fields, from, entry);
    if (map === null) {
      return { ...entry, header: headerOf(fields, from.records), fragments: null };
    }
    if (!hasContent(fields.typeFlag)) throw new TarInvalid('only a file can be sparse');
    const fragments = fragmentsOf(map, fields.size);
    return { ...entry, header: headerOf(fields, from.records), fragments };
  }

  /** The map of a sparse file, whose name and size it puts into the fields; null for others. */
  private *sparseMap(
    fields: HeaderFields,
    {
      block,
      dialect,
      records,
    }: { readonly block: Buffer; readonly dialect: Dialect; readonly records: PaxRecords },
    entry: { stored: number },
  ): Parsing<RawMap | null> {
    if (fields.typeFlag === 'S') {
      if (dialect !== 'gnu') throw new TarInvalid('a sparse file of an unknown form');
      fields.size = oldGnuSize(block);
      return yield* this.oldGnuMap(block);
    }
    const form = sparseForm(records);
    if (form === null) return null;
    const { name, size } = sparseFile(records);
    if (name !== null) fields.name = name;
    if (size !== null) fields.size = size;
    return form === 'records' ? mapInRecords(records) : yield* this.mapInContent(entry);
  }

  private *oldGnuMap(block: Buffer): Parsing<RawMap> {
    const map: RawMap = [];
    let more = addOldGnuPairs(map, block, oldGnuPairs.header);
    for (let bytes = 0; more; bytes += blockBytes) {
      requireMapBytes(bytes);
      more = addOldGnuPairs(map, yield* this.whole(blockBytes), oldGnuPairs.extension);
    }
    return map;
  }

  private *mapInContent(entry: { stored: number }): Parsing<RawMap> {
    const reading = new MapInContent();
    for (let bytes = 0; ; bytes += blockBytes) {
      requireMapBytes(bytes);
      if (entry.stored < blockBytes) throw new TarInvalid('the map of a sparse file is cut off');
      const map = reading.add(yield* this.whole(blockBytes));
      entry.stored -= blockBytes;
      if (map !== null) return map;
    }
  }

  private *content(entry: Entry): Parsing<void> {
    if (entry.fragments === null) {
      yield* this.stored(entry, entry.stored);
    } else {
      yield* this.sparse(entry, entry.fragments);
    }
    // What was skipped.
    while (entry.stored > 0) {
      const piece = yield* this.piece(entry.stored);
      entry.stored -= piece.length;
    }
  }

  private *sparse(entry: Entry, fragments: readonly Fragment[]): Parsing<void> {
    let at = 0;
    for (const { offset, length } of fragments) {
      yield* this.zeros(offset - at);
      if (entry.stored < length && !this.skipping) {
        throw new TarInvalid('a sparse file has less content than its map says');
      }
      yield* this.stored(entry, length);
      at = offset + length;
    }
    yield* this.zeros(entry.header.size - at);
    if (entry.stored > 0 && !this.skipping) {
      throw new TarInvalid('a sparse file has more content than its map says');
    }
  }

  private *zeros(count: number): Parsing<void> {
    if (count > 0 && !this.skipping) yield { kind: 'zeros', count };
  }

  private *stored(entry: Entry, length: number): Parsing<void> {
    for (let left = length; left > 0 && !this.skipping;) {
      const bytes = yield* this.piece(left);
      left -= bytes.length;
      entry.stored -= bytes.length;
      yield { kind: 'content', bytes };
    }
  }

  /** The block of the next header; null at the end of the archive. */
  private *headerBlock(): Parsing<Buffer | null> {
    const padding = yield* this.upTo(this.padding);
    if (padding.length < this.padding) return null;
    this.padding = 0;
    this.headerAt = this.input.position;
    const block = yield* this.block();
    if (block === null || !isZero(block)) return block;
    const second = yield* this.block();
    if (second === null || isZero(second)) return null;
    throw new TarInvalid('a block of zeros is followed by something else');
  }

  /** A block; null when the archive ends here. */
  private *block(): Parsing<Buffer | null> {
    const block = yield* this.upTo(blockBytes);
    if (block.length === 0) return null;
    if (block.length < blockBytes) throw new TarInvalid('the archive ends within a header');
    return block;
  }

  /** The content of a PAX header or a long name. */
  private *extension(fields: HeaderFields): Parsing<ByteString> {
    if (fields.size > BigInt(extensionBytesMax)) {
      throw new TarInvalid('a PAX header or a long name has more than 1 MiB');
    }
    const length = Number(fields.size);
    this.padding = -length & (blockBytes - 1);
    return (yield* this.whole(length)).toString('latin1');
  }

  private *whole(length: number): Parsing<Buffer> {
    const bytes = yield* this.upTo(length);
    if (bytes.length < length) throw cutOff();
    return bytes;
  }

  /** So many bytes in one piece; fewer when the archive ends before. */
  private *upTo(length: number): Parsing<Buffer> {
    while (this.input.available < length && !this.input.ended) yield 'more';
    return this.input.take(Math.min(length, this.input.available));
  }

  /** At least one byte and at most so many, as they arrived. */
  private *piece(lengthMax: number): Parsing<Uint8Array> {
    while (this.input.available === 0) {
      if (this.input.ended) throw cutOff();
      yield 'more';
    }
    return this.input.takeFirst(lengthMax);
  }
}

/** Bytes that have arrived and are not read yet. */
class Input {
  ended = false;
  available = 0;
  /** Bytes read so far. */
  position = 0;
  private chunks: Uint8Array[] = [];
  /** Where the first chunk goes on. */
  private offset = 0;

  add(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    this.chunks.push(chunk);
    this.available += chunk.length;
  }

  /** Must be available. Copies only what came in several pieces. */
  take(length: number): Buffer {
    const first = this.takeFirst(length);
    if (first.length === length) return Buffer.from(first.buffer, first.byteOffset, length);
    const whole = Buffer.allocUnsafe(length);
    whole.set(first);
    for (let at = first.length; at < length;) {
      const next = this.takeFirst(length - at);
      whole.set(next, at);
      at += next.length;
    }
    return whole;
  }

  takeFirst(lengthMax: number): Uint8Array {
    const chunk = this.chunks[0];
    if (chunk === undefined) return new Uint8Array(0);
    const end = Math.min(chunk.length, this.offset + lengthMax);
    const taken = chunk.subarray(this.offset, end);
    this.offset = end;
    if (end === chunk.length) {
      this.chunks.shift();
      this.offset = 0;
    }
    this.available -= taken.length;
    this.position += taken.length;
    return taken;
  }
}

function globalHeader(fields: HeaderFields, records: PaxRecords): Entry {
  const path = records.get('path') ?? '';
  const header = headerOf({ ...fields, size: 0n, name: path === '' ? fields.name : path }, records);
  return { header, stored: 0, fragments: null };
}

function headerOf(fields: HeaderFields, records: PaxRecords): TarHeader {
  const { typeFlag, name, linkName, uid, gid, modified, accessed } = fields;
  const type: TarEntryType =
    typeFlag in typesByFlag ? typesByFlag[typeFlag as keyof typeof typesByFlag] : 'other';
  const attributes = new Map<ByteString, Buffer>();
  for (const [key, value] of attributesIn(records)) attributes.set(key, bytesOf(value));
  return {
    type,
    typeFlag,
    name,
    linkName,
    mode: Number(BigInt.asUintN(12, fields.mode)),
    uid,
    gid,
    size: hasContent(typeFlag) ? safe(fields.size) : 0,
    modified,
    accessed,
    device: { major: fields.deviceMajor, minor: fields.deviceMinor },
    attributes,
  };
}

function requireSize({ typeFlag, size, name }: HeaderFields): void {
  if (size >= 0n || !hasContent(typeFlag)) return;
  throw new TarInvalid(`${readable(name)} has a negative size`);
}

/** No archive holds more; what says so is cut off or would be written for years. */
function safe(size: bigint): number {
  if (size >= 0n && size <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(size);
  throw new TarInvalid(`an entry cannot have a size of ${size}`);
}

function requireMapBytes(bytes: number): void {
  if (bytes < mapBytesMax) return;
  throw new TarInvalid(`the map of a sparse file has more than ${mapBytesMax / 2 ** 20} MiB`);
}

const cutOff = (): TarInvalid => new TarInvalid('the archive ends in the middle of an entry');

const isZero = (block: Buffer): boolean => block.every((byte) => byte === 0);
