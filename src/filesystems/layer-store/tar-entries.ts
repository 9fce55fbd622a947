/**
 * A tar stream as entries. The tar-stream package reads the archive; this file bounds it, and
 * keeps bytes as bytes: names and extended attributes in a layer need not be UTF-8, and
 * `security.capability` rarely is. So every name is a *byte string*: one character a byte
 * (latin1), from `bytesOf` to the system call.
 */
import * as tar from 'tar-stream';

/** A layer's tar breaks a rule. The message names the entry and the rule. */
export class LayerTarInvalid extends Error {
  override readonly name = 'LayerTarInvalid';
}

/** One character for each byte, 0 to 255. */
export type ByteString = string;

export const bytesOf = (text: ByteString): Buffer => Buffer.from(text, 'latin1');
export const byteString = (bytes: Uint8Array | string): ByteString =>
  Buffer.from(typeof bytes === 'string' ? Buffer.from(bytes, 'utf8') : bytes).toString('latin1');

/** For messages: the name as a person would write it. */
export const readable = (text: ByteString): string => bytesOf(text).toString('utf8');

export const entryTypes = [
  'file',
  'link',
  'symlink',
  'character-device',
  'block-device',
  'directory',
  'fifo',
] as const;
export type TarEntryType = (typeof entryTypes)[number];

export interface TarEntry {
  readonly type: TarEntryType;
  /** As it stands in the archive: not normalised, not to be trusted. */
  readonly name: ByteString;
  /** Target of a link or symlink, else empty. */
  readonly linkName: ByteString;
  /** The twelve permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes of content. */
  readonly size: number;
  readonly modifiedNanos: bigint;
  readonly device: { readonly major: number; readonly minor: number };
  /** Extended attributes by name. */
  readonly attributes: ReadonlyMap<ByteString, Buffer>;
  /** Must be read to its end before the next entry is asked for; `skip` does it. */
  readonly content: AsyncIterable<Buffer>;
}

const idMax = 0xffff_ffff;
const attributeNameBytesMax = 255;
const attributeBytesMax = 64 * 1024;
const paxAttributePrefix = 'SCHILY.xattr.';

/** PAX records of one header, values as byte strings. */
type PaxRecords = Record<string, ByteString>;

/**
 * What tar-stream keeps while it reads. It decodes PAX values as UTF-8, which destroys binary
 * ones, believes sizes that no reader should, and offers no option; `openExtract` puts that right.
 */
interface ExtractInternals {
  _header: { readonly type: string | null; size: number } | null;
  /** The header at hand is about the next entry: PAX, or a long name. */
  _longHeader: boolean;
  _pax: PaxRecords | null;
  _paxGlobal: PaxRecords | null;
  _gnuLongPath: string | null;
  _gnuLongLinkPath: string | null;
  /** The source has ended, and not in the middle of a header or of content. */
  _finished: boolean;
  /** False when no more can be read now. */
  _consumeHeader(): boolean;
  _decodeLongHeader(bytes: Uint8Array): void;
  /** Moves what long headers said into the header at hand, before its size is used. */
  _applyLongHeaders(): void;
  /** Ends a write, here with an error. */
  _continueWrite(fault: Error): void;
}

/** The methods that are replaced: without them the archive would be read as tar-stream likes. */
const replaced = [
  '_consumeHeader',
  '_decodeLongHeader',
  '_applyLongHeaders',
  '_continueWrite',
] as const satisfies readonly (keyof ExtractInternals)[];

/** Types that have no content, whatever their size field says (`isHeaderOnly` in Go's archive/tar). */
const headerOnly: ReadonlySet<string | null> = new Set(
  entryTypes.filter((type) => type !== 'file'),
);

/** What tar-stream's headers really hold; its own type leaves the nulls out. */
interface DecodedHeader {
  readonly name: ByteString;
  readonly type: string | null;
  readonly linkname: ByteString | null;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly mtime: Date;
  readonly devmajor: number;
  readonly devminor: number;
  readonly pax: PaxRecords | null;
}

/**
 * Reads a tar stream entry by entry. As with Go's archive/tar, the two blocks of zeros at the end
 * may be missing: what was cut off between two entries is found by the digest.
 *
 * Fails  LayerTarInvalid for what no layer holds (sparse files, unknown types, numbers out of
 *        range) and for an archive that ends in the middle of an entry or was not read to its
 *        end; whatever the source rejects with.
 */
export async function* readTarEntries(source: AsyncIterable<Uint8Array>): AsyncGenerator<TarEntry> {
  const { extract, internals } = openExtract();
  const faults: Error[] = [];
  extract.on('error', (fault) => faults.push(fault));
  const fed = feed(source, extract);
  // Its failure comes out of the loop below, through the destroyed stream.
  fed.catch(() => undefined);
  const faultBehind = async (thrown: unknown): Promise<unknown> => {
    extract.destroy();
    // What the source says goes before what the broken archive looks like.
    await fed;
    return tarFault(thrown);
  };
  try {
    for await (const entry of extract) {
      const header = entry.header as unknown as DecodedHeader;
      yield decodeEntry(header, contentOf(entry, faultBehind));
      // An entry that was given up half read has closed it; no next one would ever come.
      if (extract.destroyed && faults.length === 0) break;
    }
  } catch (thrown) {
    throw await faultBehind(thrown);
  } finally {
    extract.destroy();
  }
  await fed;
  requireWhole(internals);
}

async function* contentOf(
  entry: AsyncIterable<unknown>,
  faultBehind: (thrown: unknown) => Promise<unknown>,
): AsyncGenerator<Buffer> {
  try {
    for await (const piece of entry) yield piece as Buffer;
  } catch (thrown) {
    throw await faultBehind(thrown);
  }
}

/** tar-stream's loop also ends, without a word, when the stream was given up half read. */
function requireWhole(internals: ExtractInternals): void {
  const { _finished, _longHeader, _pax, _gnuLongPath, _gnuLongLinkPath } = internals;
  const awaited = _longHeader || [_pax, _gnuLongPath, _gnuLongLinkPath].some((one) => one !== null);
  if (_finished && !awaited) return;
  throw new LayerTarInvalid('the layer is not a whole tar archive: it ends before its last entry');
}

export async function skip(content: AsyncIterable<unknown>): Promise<void> {
  const pieces = content[Symbol.asyncIterator]();
  while ((await pieces.next()).done !== true);
}

async function feed(source: AsyncIterable<Uint8Array>, extract: tar.Extract): Promise<void> {
  try {
    for await (const chunk of source) {
      if (extract.destroyed) return;
      if (!extract.write(chunk)) await drained(extract);
    }
    extract.end(undefined);
  } catch (thrown) {
    extract.destroy(thrown instanceof Error ? thrown : new Error(String(thrown)));
    throw thrown;
  }
}

function drained(extract: tar.Extract): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      extract.removeListener('drain', done);
      extract.removeListener('close', done);
      resolve();
    };
    extract.on('drain', done);
    extract.on('close', done);
  });
}

/** For what reading the archive threw, once the source is known to have had no fault. */
function tarFault(thrown: unknown): unknown {
  if (!(thrown instanceof Error)) return thrown;
  // A stream that is destroyed behind the reader's back: its end came inside of an entry.
  const isCut = 'code' in thrown && thrown.code === 'STREAM_DESTROYED';
  // tar-stream throws plain errors; anything with a class or a code of its own comes from elsewhere.
  if (!isCut && (thrown.constructor !== Error || 'code' in thrown)) return thrown;
  const why = isCut ? 'it ends in the middle of an entry' : thrown.message;
  return new LayerTarInvalid(`the layer is not a whole tar archive: ${why}`, { cause: thrown });
}

interface OpenExtract {
  readonly extract: tar.Extract;
  readonly internals: ExtractInternals;
}

function openExtract(): OpenExtract {
  // The encoding is documented, but missing in the package's types.
  const options = { highWaterMark: 64 * 1024, filenameEncoding: 'latin1' };
  const extract = tar.extract(options);
  const internals = extract as unknown as ExtractInternals;
  const missing = replaced.find((method) => typeof internals[method] !== 'function');
  if (missing !== undefined) {
    throw new Error(`this release of tar-stream has no ${missing}, which a layer is read with`);
  }
  decodeLongHeadersAsBytes(internals);
  checkSizes(internals);
  return { extract, internals };
}

function decodeLongHeadersAsBytes(internals: ExtractInternals): void {
  const original = internals._decodeLongHeader.bind(internals);
  internals._decodeLongHeader = (bytes) => {
    const type = internals._header?.type;
    if (type === 'pax-global-header') internals._paxGlobal = decodePax(bytes);
    else if (type !== 'pax-header') original(bytes);
    else {
      internals._pax = Object.assign(emptyRecords(), internals._paxGlobal, decodePax(bytes));
    }
  };
}

/**
 * tar-stream waits for ever for the content of a directory whose header has a size, takes the next
 * entry for the content of a link that has one, and loses its place behind a long header with a
 * negative size.
 */
function checkSizes(internals: ExtractInternals): void {
  const consumeHeader = internals._consumeHeader.bind(internals);
  internals._consumeHeader = () => {
    const goesOn = consumeHeader();
    if (!goesOn || !internals._longHeader || Number(internals._header?.size) >= 0) return goesOn;
    internals._continueWrite(new LayerTarInvalid('a PAX header or a long name has no size'));
    return false;
  };
  const applyLongHeaders = internals._applyLongHeaders.bind(internals);
  internals._applyLongHeaders = () => {
    const size = internals._pax?.['size'];
    applyLongHeaders();
    const header = internals._header;
    if (header === null) return;
    if (headerOnly.has(header.type)) header.size = 0;
    // `parseInt` takes the beginning of anything; with NaN, tar-stream refuses the header.
    else if (size !== undefined && !/^\d{1,16}$/.test(size)) header.size = NaN;
  };
}

/** Without a prototype: a record may be called `__proto__`. */
const emptyRecords = (): PaxRecords => Object.create(null) as PaxRecords;

/** `<length> <keyword>=<value>\n`, length in bytes and including itself (pax(1), POSIX.1-2017). */
function decodePax(bytes: Uint8Array): PaxRecords {
  const records = emptyRecords();
  let rest = byteString(bytes);
  while (rest.length > 0 && !rest.startsWith('\0')) {
    const form = /^([1-9]\d{0,7}) ([^=]+)=/.exec(rest.slice(0, 512));
    const length = Number(form?.[1]);
    if (form?.[2] === undefined || length > rest.length || rest[length - 1] !== '\n') {
      throw new LayerTarInvalid('a PAX header does not follow its form');
    }
    records[form[2]] = rest.slice(form[0].length, length - 1);
    rest = rest.slice(length);
  }
  return records;
}

function decodeEntry(header: DecodedHeader, content: AsyncIterable<Buffer>): TarEntry {
  const { name } = header;
  const pax = header.pax ?? emptyRecords();
  const type = header.type === 'contiguous-file' ? 'file' : header.type;
  const known = entryTypes.find((each) => each === type);
  if (known === undefined) {
    throw new LayerTarInvalid(`${readable(name)} is of a type that layers do not have`);
  }
  if (Object.keys(pax).some((key) => key.startsWith('GNU.sparse.'))) {
    throw new LayerTarInvalid(`${readable(name)} is a sparse file, which layers do not have`);
  }
  if (name.includes('\0') || header.linkname?.includes('\0')) {
    throw new LayerTarInvalid(`${readable(name)} has a name or a link target with a zero byte`);
  }
  const number = (from: string | number, max: number): number => boundedNumber(from, max, name);
  return {
    type: known,
    name,
    linkName: header.linkname ?? '',
    mode: header.mode & 0o7777,
    uid: number(pax['uid'] ?? header.uid, idMax - 1),
    gid: number(pax['gid'] ?? header.gid, idMax - 1),
    size: known === 'file' ? number(header.size, Number.MAX_SAFE_INTEGER) : 0,
    modifiedNanos: modifiedNanosOf(pax['mtime'], header.mtime),
    device: {
      major: number(header.devmajor, 0xfff),
      minor: number(header.devminor, 0xf_ffff),
    },
    attributes: attributesOf(pax, name),
    content,
  };
}

function boundedNumber(from: string | number, max: number, name: ByteString): number {
  const value = Number(from);
  if (Number.isInteger(value) && value >= 0 && value <= max) return value;
  throw new LayerTarInvalid(`${readable(name)} has the number ${String(from)} out of its range`);
}

/** PAX times are decimal seconds with any number of digits after the point, and may be negative. */
function modifiedNanosOf(pax: string | undefined, header: Date): bigint {
  const form = /^(-?)(\d{1,18})(?:\.(\d*))?$/.exec(pax ?? '');
  if (form?.[2] !== undefined) {
    const fraction = (form[3] ?? '').slice(0, 9).padEnd(9, '0');
    const nanos = BigInt(form[2]) * 1_000_000_000n + BigInt(fraction);
    return form[1] === '-' ? -nanos : nanos;
  }
  const millis = header.getTime();
  return Number.isFinite(millis) ? BigInt(Math.trunc(millis)) * 1_000_000n : 0n;
}

function attributesOf(pax: PaxRecords, name: ByteString): ReadonlyMap<ByteString, Buffer> {
  const attributes = new Map<ByteString, Buffer>();
  for (const [key, value] of Object.entries(pax)) {
    if (!key.startsWith(paxAttributePrefix)) continue;
    const attribute = key.slice(paxAttributePrefix.length);
    if (attribute === '' || attribute.length > attributeNameBytesMax || attribute.includes('\0')) {
      throw new LayerTarInvalid(`${readable(name)} has an extended attribute with a bad name`);
    }
    if (value.length > attributeBytesMax) {
      throw new LayerTarInvalid(`${readable(name)} has an extended attribute over 64 KiB`);
    }
    attributes.set(attribute, bytesOf(value));
  }
  return attributes;
}
