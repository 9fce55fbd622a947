/**
 * PAX records: what an extended header says about the entry after it. Each is
 * `<length> <keyword>=<value>\n`, the length in bytes and including itself (POSIX.1-2017 pax(1)).
 * Values are bytes; security.capability, for one, is rarely UTF-8.
 */
import type { ByteString } from './byte-string.js';
import type { HeaderFields } from './header.js';
import { instant, TarInvalid } from './header.js';

/** By keyword; of several records of one keyword, the last. */
export type PaxRecords = ReadonlyMap<ByteString, ByteString>;

const attributePrefix = 'SCHILY.xattr.';

/** Keywords whose value is a name, which cannot hold a NUL. */
const names = new Set(['path', 'linkpath', 'uname', 'gname']);

/** What each known keyword changes in a header. All others are kept as records. */
const keywords: ReadonlyMap<string, (fields: HeaderFields, value: ByteString) => void> = new Map<
  string,
  (fields: HeaderFields, value: ByteString) => void
>([
  ['path', (fields, value) => (fields.name = value)],
  ['linkpath', (fields, value) => (fields.linkName = value)],
  ['size', (fields, value) => (fields.size = integer(value))],
  ['uid', (fields, value) => (fields.uid = integer(value))],
  ['gid', (fields, value) => (fields.gid = integer(value))],
  ['mtime', (fields, value) => (fields.modified = paxTime(value))],
  ['atime', (fields, value) => (fields.accessed = paxTime(value))],
  // Not kept, but checked.
  ['ctime', (_fields, value) => void paxTime(value)],
]);

/**
 * Parses the content of an extended header.
 *
 * Fails  TarInvalid for a record that does not follow the form
 */
export function parsePax(content: ByteString): PaxRecords {
  const records = new Map<ByteString, ByteString>();
  const sparse: ByteString[] = [];
  for (let at = 0; at < content.length;) {
    const space = content.indexOf(' ', at);
    if (space < 0) throw malformed();
    const digits = content.slice(at, space);
    const length = /^\+?\d+$/.test(digits) ? Number(digits) : 0;
    const end = at + length;
    // Digits, space, one character of keyword, `=` and the newline.
    if (length < 5 || end > content.length || end <= space + 1) throw malformed();
    if (content[end - 1] !== '\n') throw malformed();
    const record = content.slice(space + 1, end - 1);
    const equals = record.indexOf('=');
    const keyword = record.slice(0, Math.max(equals, 0));
    const value = record.slice(equals + 1);
    if (keyword === '' || (names.has(keyword) ? value : keyword).includes('\0')) throw malformed();
    if (keyword === 'GNU.sparse.offset' || keyword === 'GNU.sparse.numbytes') {
      addSparse(sparse, keyword, value);
    } else {
      records.set(keyword, value);
    }
    at = end;
  }
  if (sparse.length > 0) records.set('GNU.sparse.map', sparse.join(','));
  return records;
}

/** Sparse format 0.0 has a pair of records for each piece of data, 0.1 one list of all numbers. */
function addSparse(sparse: ByteString[], keyword: string, value: ByteString): void {
  const expected = sparse.length % 2 === 0 ? 'GNU.sparse.offset' : 'GNU.sparse.numbytes';
  if (keyword !== expected || value.includes(',')) throw malformed();
  sparse.push(value);
}

/**
 * Applies records to a header. An empty value leaves the header's own.
 *
 * Fails  TarInvalid for a number or a time that is none
 */
export function applyPax(fields: HeaderFields, records: PaxRecords): void {
  for (const [keyword, value] of records) {
    if (value !== '') keywords.get(keyword)?.(fields, value);
  }
}

/** Extended attributes in the records, by name. */
export function attributesIn(records: PaxRecords): ReadonlyMap<ByteString, ByteString> {
  const attributes = new Map<ByteString, ByteString>();
  for (const [keyword, value] of records) {
    if (!keyword.startsWith(attributePrefix)) continue;
    attributes.set(keyword.slice(attributePrefix.length), value);
  }
  return attributes;
}

/** A decimal number of 64 bits, with or without a sign. */
export function integer(value: ByteString): bigint {
  const [, sign = '', digits] = /^([+-]?)0*(\d{1,19})$/.exec(value) ?? [];
  if (digits !== undefined) {
    const number = sign === '-' ? -BigInt(digits) : BigInt(digits);
    if (BigInt.asIntN(64, number) === number) return number;
  }
  throw new TarInvalid(`a PAX record has ${JSON.stringify(value.slice(0, 40))} for a number`);
}

/** Seconds since 1970 with any number of digits after the point; nine of them count. */
function paxTime(value: ByteString): bigint {
  const [seconds = '', ...rest] = value.split('.');
  const fraction = rest.join('.');
  if (!/^\d*$/.test(fraction)) throw new TarInvalid('a PAX record has a time that is no number');
  const nanos = BigInt(fraction.slice(0, 9).padEnd(9, '0'));
  return instant(integer(seconds), seconds.startsWith('-') ? -nanos : nanos);
}

const malformed = (): TarInvalid => new TarInvalid('a PAX record does not follow its form');
