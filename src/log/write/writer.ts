/**
 * The only one that appends. Each append is checked, encoded and hashed at once, into the buffer
 * of the next sync group; appends that arrive while a group is being written join the next one.
 * A group is one write and one sync, and is begun only when the group before it is durable:
 * recovery rests on that (see tail.ts).
 *
 * A write or sync that fails ends the writer for good. After a failed fsync it is unknown what is
 * on disk, and asking again may answer "fine" for data that was dropped.
 */
import { ReplaySubject, Subject } from 'rxjs';
import { assert } from '../../base/assert.js';
import { LogReadOnly, LogShortOfRoom, reasonOf } from '../../base/errors.js';
import type { Clock } from '../../base/ports.js';
import { position, streamVersion, type Position, type UnixNanos } from '../../base/units.js';
import { encodeRecord, isName, paddedLength, parseBody } from '../format/codec.js';
import { WrongExpectedVersion } from '../errors.js';
import {
  CHAIN_BYTES,
  FLAG_CLOSES_STREAM,
  FLAG_UNIT_CONTINUES,
  RECORD,
  RECORD_BYTES_MAX,
  SEGMENT,
  UNIT_BYTES_MAX,
} from '../format/layout.js';
import { seal, type NewHeader, type OpenSegment, type SegmentSupply } from './segment-rotation.js';
import type { Appended, EventBody, EventToAppend, LogRecord, SyncGroup } from '../types.js';

const BUFFER_BYTES = 64 * 1024;
/** A buffer that a burst made larger than this is not kept. */
const BUFFER_KEPT_BYTES = 1024 * 1024;
/** Queued records are written once there are this many bytes of them. */
const QUEUED_BYTES_MAX = 1024 * 1024;

/** Why an append is refused once the log is closed. */
export const LOG_CLOSED = 'the log was closed';

export interface WriterStart {
  readonly uuid: string;
  readonly epoch: number;
  readonly writtenBy: string;
  readonly segmentBytes: number;
  /** Null begins a new segment with the first append. */
  readonly segment: {
    readonly open: OpenSegment;
    readonly used: number;
    readonly bytes: number;
  } | null;
  readonly previousFirstPosition: number | null;
  readonly position: number;
  readonly chain: Buffer;
  readonly streams: Map<string, number>;
}

/** A sync group: records of one segment that are written together. */
class Group {
  readonly records: LogRecord[] = [];
  readonly durable: Promise<void>;
  resolve!: () => void;
  reject!: (cause: unknown) => void;
  used = 0;
  /** Where the last record begins in the buffer. */
  lastAt = 0;

  constructor(
    /** The segment to begin with this group, if any. */
    readonly begins: NewHeader | null,
    readonly offset: number,
    readonly firstPosition: number,
    public buffer: Buffer,
  ) {
    this.durable = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
    // Callers that wait take the promise; the rejection of one without must not end the process.
    this.durable.catch(() => undefined);
  }
}

interface Body {
  readonly event: EventToAppend;
  readonly json: string;
  readonly jsonBytes: number;
  readonly padded: number;
}

export class LogWriter {
  readonly durableBatches = new Subject<readonly LogRecord[]>();
  readonly failures = new ReplaySubject<Error>(1);
  readonly syncGroups = new Subject<SyncGroup>();
  /** Tells that a segment will not change any more. */
  readonly sealed = new Subject<void>();
  durablePosition: Position;
  /** Chain hash of the record before `durablePosition`. */
  readonly durableChain = Buffer.alloc(CHAIN_BYTES);

  readonly #start: WriterStart;
  readonly #clock: Clock;
  readonly #supply: SegmentSupply;
  readonly #streams: Map<string, number>;
  readonly #chain = Buffer.alloc(CHAIN_BYTES);
  /** Taken in order; the last one is open for more. */
  readonly #groups: Group[] = [];
  #preallocated: Buffer | null = null;
  #refusal: LogReadOnly | null = null;
  #next: number;
  /** Groups that begin before this position are to be written. */
  #syncBefore: number;
  #draining: Promise<void> | null = null;

  /** Where the next record will be, once everything queued is written. */
  #planned: { firstPosition: number | null; previous: number | null; used: number; bytes: number };
  /** The segment that is written now. */
  #segment: OpenSegment | null;
  #segmentUsed: number;

  constructor(start: WriterStart, clock: Clock, supply: SegmentSupply) {
    this.#start = start;
    this.#clock = clock;
    this.#supply = supply;
    this.#streams = start.streams;
    start.chain.copy(this.#chain);
    start.chain.copy(this.durableChain);
    this.#next = this.#syncBefore = start.position;
    this.durablePosition = position(start.position);
    this.#segment = start.segment?.open ?? null;
    this.#segmentUsed = start.segment?.used ?? 0;
    this.#planned = {
      firstPosition: start.segment?.open.firstPosition ?? null,
      previous: start.previousFirstPosition,
      used: start.segment?.used ?? 0,
      bytes: start.segment?.bytes ?? 0,
    };
  }

  get nextPosition(): Position {
    return position(this.#next);
  }

  /** The version that the next record of each open stream gets, as of `nextPosition`. */
  get streams(): ReadonlyMap<string, number> {
    return this.#streams;
  }

  append(events: readonly EventToAppend[], options: { readonly sync: boolean }): Appended {
    this.#throwIfRefused();
    if (events.length === 0) return { records: [], durable: Promise.resolve() };
    this.#checkVersions(events);
    const bodies = events.map(bodyOf);
    const bytes = bodies.reduce((sum, body) => sum + body.padded, 0);
    if (bytes > UNIT_BYTES_MAX) throw new RangeError(`an append of ${bytes} bytes is too large`);
    const group = this.#groupFor(bytes);
    const from = group.records.length;
    for (const [index, body] of bodies.entries()) {
      this.#encode(group, body, index < bodies.length - 1);
    }
    this.#planned.used += bytes;
    if (options.sync || group.used > QUEUED_BYTES_MAX) this.#sync();
    return { records: group.records.slice(from), durable: group.durable };
  }

  /** See EventLog. */
  roomToGrow(): Promise<void> | null {
    this.#throwIfRefused();
    const attempt = this.#supply.roomToGrow();
    return (
      attempt?.catch((cause: unknown) => {
        throw new LogShortOfRoom(cause);
      }) ?? null
    );
  }

  /** Everything appended so far becomes durable. Rejects with LogReadOnly. */
  async flush(): Promise<void> {
    this.#throwIfRefused();
    const last = this.#groups.at(-1);
    this.#sync();
    if (last) await last.durable;
    else await this.#draining;
    this.#throwIfRefused();
  }

  /** Writes what is queued, then refuses further appends. Does not reject: failures were reported. */
  async close(): Promise<void> {
    await this.flush().catch(() => undefined);
    this.#refusal ??= new LogReadOnly(LOG_CLOSED);
    await this.#draining;
    await this.#supply.discard();
    await this.#segment?.file.close();
    this.#segment = null;
    this.durableBatches.complete();
    this.failures.complete();
    this.syncGroups.complete();
    this.sealed.complete();
  }

  #throwIfRefused(): void {
    if (this.#refusal) throw this.#refusal;
  }

  #checkVersions(events: readonly EventToAppend[]): void {
    // Several events of one append may be of the same stream.
    const within = events.length > 1 ? new Map<string, number>() : null;
    for (const { stream, expectedVersion, closesStream } of events) {
      const actual = within?.get(stream) ?? this.#streams.get(stream) ?? 0;
      if (actual !== expectedVersion) {
        throw new WrongExpectedVersion(stream, expectedVersion, actual);
      }
      within?.set(stream, closesStream === true ? 0 : actual + 1);
    }
  }

  /** The open group, with room for this many bytes; a new one where a segment must begin. */
  #groupFor(bytes: number): Group {
    const planned = this.#planned;
    const isEmpty = planned.used === SEGMENT.headerBytes;
    if (planned.firstPosition === null || (planned.used + bytes > planned.bytes && !isEmpty)) {
      const previous = planned.firstPosition ?? planned.previous;
      this.#planned = {
        firstPosition: this.#next,
        previous,
        used: SEGMENT.headerBytes,
        bytes: this.#start.segmentBytes,
      };
      this.#groups.push(this.#newGroup(this.#headerFor(previous)));
    }
    // A single append that is larger than a segment just makes its segment longer.
    if (this.#groups.length === 0) this.#groups.push(this.#newGroup(null));
    const group = this.#groups.at(-1);
    assert(group !== undefined, 'there is an open group');
    if (group.used + bytes > group.buffer.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(group.buffer.length * 2, group.used + bytes));
      group.buffer.copy(larger, 0, 0, group.used);
      group.buffer = larger;
    }
    return group;
  }

  #headerFor(previousFirstPosition: number | null): NewHeader {
    return {
      uuid: this.#start.uuid,
      epoch: this.#start.epoch,
      writtenBy: this.#start.writtenBy,
      firstPosition: this.#next,
      previousFirstPosition,
      created: this.#clock.now(),
      chain: Buffer.from(this.#chain),
    };
  }

  #newGroup(begins: NewHeader | null): Group {
    const buffer = this.#preallocated ?? Buffer.allocUnsafeSlow(BUFFER_BYTES);
    this.#preallocated = null;
    return new Group(begins, this.#planned.used, this.#next, buffer);
  }

  #encode(group: Group, body: Body, unitContinues: boolean): void {
    const { event, json } = body;
    const closesStream = event.closesStream === true;
    const time = event.time ?? this.#clock.now();
    group.lastAt = group.used;
    group.used += encodeRecord(
      group.buffer,
      group.used,
      {
        position: this.#next,
        time,
        stream: event.stream,
        streamVersion: event.expectedVersion,
        groupOffset: group.records.length,
        type: event.type,
        schemaVersion: event.schemaVersion,
        flags: (closesStream ? FLAG_CLOSES_STREAM : 0) | (unitContinues ? FLAG_UNIT_CONTINUES : 0),
        json,
        jsonBytes: body.jsonBytes,
      },
      this.#chain,
    );
    group.records.push(recordOf(event, position(this.#next), time, json));
    this.#next += 1;
    if (closesStream) this.#streams.delete(event.stream);
    else this.#streams.set(event.stream, event.expectedVersion + 1);
  }

  #sync(): void {
    this.#syncBefore = this.#next;
    // Not at once: appends made in the same turn share the group.
    this.#draining ??= Promise.resolve().then(() => this.#drain());
  }

  async #drain(): Promise<void> {
    for (;;) {
      const group = this.#groups[0];
      if (!group || group.firstPosition >= this.#syncBefore) break;
      // From here on the group is closed: what is appended now begins the next one.
      this.#groups.shift();
      const begun = this.#clock.monotonicMillis();
      try {
        await this.#write(group);
      } catch (cause) {
        this.#fail(group, cause);
        break;
      }
      group.buffer.copy(
        this.durableChain,
        0,
        group.lastAt + RECORD.chain,
        group.lastAt + RECORD.headBytes,
      );
      this.durablePosition = position(group.firstPosition + group.records.length);
      if (group.buffer.length <= BUFFER_KEPT_BYTES) this.#preallocated = group.buffer;
      this.durableBatches.next(group.records);
      group.resolve();
      const seconds = (this.#clock.monotonicMillis() - begun) / 1000;
      this.syncGroups.next({ events: group.records.length, seconds });
    }
    this.#draining = null;
  }

  async #write(group: Group): Promise<void> {
    if (group.begins) {
      const full = this.#segment;
      const used = this.#segmentUsed;
      this.#segment = await this.#supply.begin(group.begins);
      if (full) {
        await seal(full, used);
        this.sealed.next();
      }
    }
    assert(this.#segment !== null, 'a group is written to a segment');
    await this.#segment.file.writeDurably(group.buffer.subarray(0, group.used), group.offset);
    this.#segmentUsed = group.offset + group.used;
    // Half a segment is time enough to fill the next one with zeros.
    if (this.#segmentUsed > this.#start.segmentBytes / 2) this.#supply.prepare();
  }

  #fail(group: Group, cause: unknown): void {
    const refusal = new LogReadOnly(`the log cannot be written any longer: ${reasonOf(cause)}`, {
      cause,
    });
    this.#refusal = refusal;
    this.failures.next(refusal);
    this.failures.complete();
    for (const lost of [group, ...this.#groups.splice(0)]) lost.reject(refusal);
  }
}

function bodyOf(event: EventToAppend): Body {
  if (!isName(event.stream) || !isName(event.type)) {
    throw new RangeError(
      `a stream or type is 1 to 255 printable ASCII characters: ${event.stream}, ${event.type}`,
    );
  }
  const { schemaVersion } = event;
  if (!Number.isInteger(schemaVersion) || schemaVersion < 0 || schemaVersion > 0xffff) {
    throw new RangeError(`a schema version has 16 bits: ${schemaVersion}`);
  }
  const json = JSON.stringify(event.data);
  const jsonBytes = Buffer.byteLength(json, 'utf8');
  const padded = paddedLength(event.stream, event.type, jsonBytes);
  if (padded > RECORD_BYTES_MAX) {
    throw new RangeError(`a record of ${padded} bytes is too large (${event.type})`);
  }
  return { event, json, jsonBytes, padded };
}

/** As a replay will see it: no undefined, no shared objects that change later. */
function recordOf(event: EventToAppend, at: Position, time: UnixNanos, json: string): LogRecord {
  // Few ask for the body of what they have just appended, and parsing it costs as much as writing.
  let data: EventBody | null = null;
  return {
    position: at,
    time,
    stream: event.stream,
    streamVersion: streamVersion(event.expectedVersion),
    type: event.type,
    schemaVersion: event.schemaVersion,
    get data() {
      return (data ??= parseBody(json));
    },
    closesStream: event.closesStream === true,
  };
}
