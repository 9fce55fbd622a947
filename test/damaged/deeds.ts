/** The few ways in which a log on the disk in memory is damaged. */
import { crc32 } from 'node:zlib';
import { HEADS_ONLY, recordAt } from '../../src/log/format/record-step.js';
import { RECORD, SEGMENT } from '../../src/log/format/layout.js';
import { decodeHeader, encodeHeader } from '../../src/log/format/segment-header.js';
import { segmentName } from '../../src/log/files.js';
import type { FaultyDisk } from '../support/faulty-disk.js';
import { ROOT } from './rig.js';

export class Deeds {
  constructor(readonly disk: FaultyDisk) {}

  path = (name: string): string =>
    name === 'identity.json' ? `${ROOT}/${name}` : `${ROOT}/log/${name}`;
  seg = (first: number): string => segmentName(first);
  bytes = (name: string): Buffer => this.disk.bytes(this.path(name));

  flip(name: string, offset: number, mask = 1): void {
    const bytes = this.bytes(name);
    bytes.writeUInt8(bytes.readUInt8(offset) ^ mask, offset);
  }

  fill(name: string, value: number, from: number, to: number): void {
    this.bytes(name).fill(value, from, to);
  }

  put(name: string, bytes: Buffer): void {
    this.disk.put(this.path(name), bytes);
  }

  copy(from: string, to: string): void {
    this.put(to, Buffer.from(this.bytes(from)));
  }

  remove = (name: string): Promise<void> => this.disk.remove(this.path(name));
  rename = (from: string, to: string): Promise<void> =>
    this.disk.rename(this.path(from), this.path(to));

  truncate(name: string, size: number): void {
    this.put(name, Buffer.from(this.bytes(name).subarray(0, size)));
  }

  /** Offset and padded length of the n-th record of a segment. */
  record(name: string, n: number): { readonly offset: number; readonly end: number } {
    const bytes = this.bytes(name);
    let offset: number = SEGMENT.headerBytes;
    for (let index = 0; ; index++) {
      const step = recordAt(bytes, offset, bytes.length, null, HEADS_ONLY);
      const length = typeof step === 'number' ? step : 0;
      if (index === n) return { offset, end: offset + length };
      offset += length;
    }
  }

  /** Changes a record and makes its checksum right again: somebody who knows how did it. */
  forge(name: string, n: number, change: (bytes: Buffer) => void): void {
    const { offset, end } = this.record(name, n);
    const bytes = this.bytes(name).subarray(offset, end);
    change(bytes);
    bytes.writeUInt32LE(crc32(bytes.subarray(RECORD.length)), RECORD.crc);
  }

  /** Another header, sound by itself. */
  reheader(name: string, changes: Partial<Parameters<typeof encodeHeader>[0]>): void {
    const bytes = this.bytes(name);
    const reading = decodeHeader(bytes.subarray(0, SEGMENT.headerBytes));
    if (reading.kind !== 'valid') throw new Error('the header was sound');
    encodeHeader({ ...reading.header, ...changes }).copy(bytes);
  }

  identity(changes: Readonly<Record<string, unknown>>): void {
    const fields = JSON.parse(this.bytes('identity.json').toString()) as Record<string, unknown>;
    this.put('identity.json', Buffer.from(JSON.stringify({ ...fields, ...changes })));
  }
}
