/**
 * A second reader of the log, who believes only bytes that no power cut can take: decodes them
 * from docs/log-format.md with a decoder of its own, checks CRC, position and chain of each
 * record, and folds them. What the daemon says and does is held against this.
 */
import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { position, streamVersion, unixNanos, type Position } from '../../src/base/units.js';
import { Replay } from '../../src/inspect/archive/replay.js';
import type { LogRecord } from '../../src/log/types.js';
import type { FaultyDisk } from '../support/faulty-disk.js';
import { Violation } from './violation.js';

const HEADER_BYTES = 136;
const HEAD_BYTES = 72;

interface Read {
  readonly record: LogRecord;
  readonly chain: Buffer;
  readonly padded: number;
  readonly unitContinues: boolean;
}

export class Witness {
  /** Everything that is durable. */
  readonly truth = new Replay();
  readonly records: LogRecord[] = [];
  /** What the daemon knows to be durable: some of it, while an answer is on its way. */
  readonly #told = new Replay();
  /** Snapshots that are gone for good: their numbers must not come again. */
  readonly #removed = new Set<number>();
  /** Numbers set aside for directories that are made ahead. */
  readonly #preallocated = new Set<number>();
  readonly #byCaller = new Map<string, LogRecord[]>();
  readonly #log: string;
  #segment: string | null = null;
  #offset = 0;
  #chain: Buffer = Buffer.alloc(32);

  constructor(root: string) {
    this.#log = `${root}/log`;
  }

  get position(): Position {
    return position(this.records.length);
  }

  /** The log folded up to a position. Positions must not fall. */
  toldUpTo(at: Position): Replay {
    for (let next = this.#told.position; next < at; next = this.#told.position) {
      const record = this.records[next];
      if (record === undefined) break;
      this.#told.apply(record);
    }
    return this.#told;
  }

  /** Events that name this caller's call as their cause. */
  eventsOf(tag: string): readonly LogRecord[] {
    return this.#byCaller.get(tag) ?? [];
  }

  /** Whether a snapshot of this number was there, and is gone. */
  isRemoved(id: number): boolean {
    return this.#removed.has(id);
  }

  isPreallocated(id: number): boolean {
    return this.#preallocated.has(id);
  }

  /** All durable events of one snapshot. */
  eventsAbout(id: number): readonly LogRecord[] {
    return this.records.filter(({ stream }) => stream === `snapshot-${id}`);
  }

  /** Reads on to the end of what is durable. */
  catchUp(disk: FaultyDisk): void {
    for (;;) {
      const unit = this.#nextUnit(disk);
      if (unit.length > 0) for (const read of unit) this.#take(read);
      else if (!this.#nextSegment(disk)) return;
    }
  }

  /** The records of the next append, all of them or none. */
  #nextUnit(disk: FaultyDisk): readonly Read[] {
    const bytes = this.#segment === null ? null : disk.durableBytes(this.#segment);
    if (bytes === null) return [];
    const unit: Read[] = [];
    let at = this.#offset;
    let chain = this.#chain;
    for (;;) {
      const read = decode(bytes, at, chain);
      if (read === null) return [];
      const expected = this.records.length + unit.length;
      if (read.record.position !== expected) {
        throw new Violation(`record ${read.record.position} stands at position ${expected}`);
      }
      unit.push(read);
      at += read.padded;
      chain = read.chain;
      if (!read.unitContinues) return unit;
    }
  }

  #take({ record, chain, padded }: Read): void {
    this.#offset += padded;
    this.#chain = chain;
    this.records.push(record);
    if (record.type === 'SnapshotPreparing' && this.#removed.has(Number(record.data['id']))) {
      throw new Violation(`id ${String(record.data['id'])} is used a second time`);
    }
    try {
      this.truth.apply(record);
    } catch (thrown) {
      throw new Violation(`the log cannot be folded: ${String(thrown)}`);
    }
    if (record.type === 'SnapshotRemoved') {
      this.#removed.add(Number(record.stream.slice('snapshot-'.length)));
    }
    this.#countPreallocated(record);
    const tag = tagOf(record);
    if (tag !== null) this.#byCaller.set(tag, [...this.eventsOf(tag), record]);
  }

  #countPreallocated({ type, data }: LogRecord): void {
    const ids = Array.isArray(data['ids']) ? data['ids'].map(Number) : [];
    if (type === 'DirectoriesPreallocated') for (const id of ids) this.#preallocated.add(id);
    else if (type === 'PreallocatedReleased') for (const id of ids) this.#preallocated.delete(id);
    else if (type === 'SnapshotPreparing') this.#preallocated.delete(Number(data['id']));
  }

  #nextSegment(disk: FaultyDisk): boolean {
    const path = `${this.#log}/${String(this.records.length).padStart(20, '0')}.seg`;
    if (path === this.#segment) return false;
    const bytes = disk.durableBytes(path);
    if (bytes === null || bytes.toString('latin1', 0, 8) !== 'STRATLOG') return false;
    if (!bytes.subarray(104, HEADER_BYTES).equals(this.#chain)) {
      throw new Violation(`${path} continues another chain`);
    }
    this.#segment = path;
    this.#offset = HEADER_BYTES;
    return true;
  }
}

function tagOf({ data }: LogRecord): string | null {
  const caller = data['caller'];
  if (typeof caller !== 'object' || caller === null || !('traceparent' in caller)) return null;
  return typeof caller.traceparent === 'string' ? caller.traceparent : null;
}

/** The record at an offset, or null when no whole one stands there. */
function decode(bytes: Buffer, at: number, before: Buffer): Read | null {
  if (at + HEAD_BYTES > bytes.length) return null;
  const length = bytes.readUInt32LE(at + 4);
  const padded = (length + 7) & ~7;
  if (length < HEAD_BYTES || at + padded > bytes.length) return null;
  const covered = bytes.subarray(at + 4, at + padded);
  if (crc32(covered) !== bytes.readUInt32LE(at)) return null;
  const hashed = Buffer.from(covered);
  before.copy(hashed, 36);
  const chain = createHash('sha256').update(hashed).digest();
  if (!chain.equals(bytes.subarray(at + 40, at + HEAD_BYTES))) {
    throw new Violation(`the chain is broken at position ${bytes.readUInt32LE(at + 8)}`);
  }
  const typeAt = at + HEAD_BYTES + bytes.readUInt16LE(at + 36);
  const jsonAt = typeAt + bytes.readUInt16LE(at + 38);
  const flags = bytes.readUInt16LE(at + 34);
  const record: LogRecord = {
    position: position(bytes.readUInt32LE(at + 8) + bytes.readUInt32LE(at + 12) * 2 ** 32),
    time: unixNanos(bytes.readBigInt64LE(at + 16)),
    stream: bytes.toString('latin1', at + HEAD_BYTES, typeAt),
    streamVersion: streamVersion(bytes.readUInt32LE(at + 24)),
    type: bytes.toString('latin1', typeAt, jsonAt),
    schemaVersion: bytes.readUInt16LE(at + 32),
    data: JSON.parse(bytes.toString('utf8', jsonAt, at + length)) as LogRecord['data'],
    closesStream: (flags & 1) !== 0,
  };
  return { record, chain, padded, unitContinues: (flags & 2) !== 0 };
}
