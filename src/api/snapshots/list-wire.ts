/**
 * Encodes the messages of List. A packed snapshot is transcoded from the bytes of its line without
 * an intermediate object, which halves the time of List and allocates nothing. The generated
 * encoder handles every other case.
 */
import {
  Info,
  Kind,
  type ListSnapshotsResponse,
} from '../generated/containerd/services/snapshots/v1/snapshots.js';
import { LineReader, type Span } from '../../machines/snapshots/line-reader.js';

const BACKSLASH = 0x5c;

/** Field tags (snapshots.proto): number and wire type. */
const TAG = {
  info: 0x0a,
  name: 0x0a,
  parent: 0x12,
  kind: 0x18,
  created: 0x22,
  updated: 0x2a,
  label: 0x32,
};
const TAG_OF_ENTRY = { key: 0x0a, value: 0x12 };
const TAG_OF_TIME = { seconds: 0x08, nanos: 0x10 };

/** A length below this takes at most two bytes; the generated encoder handles longer messages. */
const SHORT = 0x4000;
const NANO_DIGITS = 9;

/** A packed Info: a line written by `encodeState` (machines/state-json.ts). */
export interface PackedLine {
  readonly packedLine: Buffer;
}

const isPacked = (info: Info): info is Info & PackedLine => 'packedLine' in info;

/** An upper bound of the encoded size: the six bytes around a label become at most nine. */
export const lineBytesMax = (line: Buffer): number => Math.ceil(line.length * 1.5) + 64;

/** `ListSnapshotsResponse` as bytes. */
export function serializeList({ info: infos }: ListSnapshotsResponse): Buffer {
  const parts: Uint8Array[] = [];
  const quick = new QuickWriter(infos);
  for (const info of infos) {
    if (isPacked(info) && quick.info(info.packedLine)) continue;
    parts.push(quick.taken());
    const bytes = Info.encode(info).finish();
    parts.push(headOf(bytes.length), bytes);
  }
  return parts.length === 0 ? quick.taken() : Buffer.concat([...parts, quick.taken()]);
}

function headOf(length: number): Uint8Array {
  const head = [TAG.info];
  let left = length;
  for (; left > 0x7f; left = Math.floor(left / 128)) head.push((left % 128) | 0x80);
  return Uint8Array.from([...head, left]);
}

/** Writes packed Infos into one buffer, allocated at the upper bound of their size. */
class QuickWriter {
  readonly #out: Buffer;
  #at = 0;
  /** The end of the last range that `taken` returned. */
  #from = 0;
  #line: Buffer = Buffer.alloc(0);

  constructor(infos: readonly Info[]) {
    let bytes = 0;
    for (const info of infos) {
      if (isPacked(info)) bytes += lineBytesMax(info.packedLine);
    }
    this.#out = Buffer.allocUnsafeSlow(bytes);
  }

  /** The bytes written since the last call. */
  taken(): Buffer {
    const taken = this.#out.subarray(this.#from, this.#at);
    this.#from = this.#at;
    return taken;
  }

  /** Returns false, and writes nothing, if the line needs the generated encoder. */
  info(line: Buffer): boolean {
    if (lineBytesMax(line) >= SHORT || line.includes(BACKSLASH)) return false;
    const start = this.#at;
    // Reserves the tag and a length of two bytes, which most messages have.
    this.#at += 3;
    this.#line = line;
    if (!this.#fields()) {
      this.#at = start;
      return false;
    }
    const length = this.#at - start - 3;
    this.#out[start] = TAG.info;
    if (length > 0x7f) {
      this.#out[start + 1] = (length & 0x7f) | 0x80;
      this.#out[start + 2] = length >>> 7;
    } else {
      this.#out[start + 1] = length;
      this.#out.copyWithin(start + 2, start + 3, this.#at);
      this.#at -= 1;
    }
    return true;
  }

  /** Reads the fields in the order of `encodeState` (machines/state-json.ts). */
  #fields(): boolean {
    const line = new LineReader(this.#line, 0);
    line.number();
    const kind = kindBy(this.#line[line.text()?.start ?? 0]);
    line.number();
    const name = line.text();
    line.text(); // the target label is also among the labels
    if (line.text() !== null) return false; // a remote layer gets an additional label
    const parent = line.text();
    const created = line.text();
    const updated = line.text() ?? created;
    if (name === null || created === null || updated === null || kind === null) return false;
    this.#bytes(TAG.name, name);
    if (parent !== null) this.#bytes(TAG.parent, parent);
    this.#byte(TAG.kind);
    this.#byte(kind);
    if (!this.#time(TAG.created, created) || !this.#time(TAG.updated, updated)) return false;
    for (let key = line.key(); key !== null; key = line.key()) {
      const value = line.value();
      const keyLength = key.end - key.start;
      const valueLength = value.end - value.start;
      this.#byte(TAG.label);
      this.#varint(2 + keyLength + valueLength + sizeOf(keyLength) + sizeOf(valueLength));
      this.#bytes(TAG_OF_ENTRY.key, key);
      this.#bytes(TAG_OF_ENTRY.value, value);
    }
    return true;
  }

  /** Decimal nanoseconds since 1970. Returns false for earlier times and for none. */
  #time(tag: number, { start, end }: Span): boolean {
    const secondsEnd = end - NANO_DIGITS;
    const seconds = secondsEnd > start ? this.#decimal(start, secondsEnd) : 0;
    const nanos = this.#decimal(Math.max(secondsEnd, start), end);
    if (!(seconds > 0) || !(nanos >= 0)) return false;
    this.#byte(tag);
    const length = 1 + sizeOf(seconds) + (nanos === 0 ? 0 : 1 + sizeOf(nanos));
    this.#varint(length);
    this.#byte(TAG_OF_TIME.seconds);
    this.#varint(seconds);
    if (nanos === 0) return true;
    this.#byte(TAG_OF_TIME.nanos);
    this.#varint(nanos);
    return true;
  }

  /** NaN if any character is not a digit. */
  #decimal(start: number, end: number): number {
    let value = 0;
    for (let at = start; at < end; at += 1) {
      const digit = (this.#line[at] ?? 0) - 0x30;
      if (digit < 0 || digit > 9) return NaN;
      value = value * 10 + digit;
    }
    return value;
  }

  #bytes(tag: number, { start, end }: Span): void {
    this.#byte(tag);
    this.#varint(end - start);
    this.#line.copy(this.#out, this.#at, start, end);
    this.#at += end - start;
  }

  #byte(value: number): void {
    this.#out[this.#at] = value;
    this.#at += 1;
  }

  /** Exact for values above 32 bits. */
  #varint(value: number): void {
    let left = value;
    for (; left > 0x7f; left = Math.floor(left / 128)) this.#byte((left % 128) | 0x80);
    this.#byte(left);
  }
}

function sizeOf(value: number): number {
  let size = 1;
  for (let left = value; left > 0x7f; left = Math.floor(left / 128)) size += 1;
  return size;
}

/** By the first letter of a settled status: active, view, committed.available. */
function kindBy(letter: number | undefined): Kind | null {
  if (letter === 0x61) return Kind.ACTIVE;
  if (letter === 0x76) return Kind.VIEW;
  return letter === 0x63 ? Kind.COMMITTED : null;
}
