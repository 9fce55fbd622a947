/**
 * The log of a running daemon, over its socket: the same questions and answers as those of a
 * root's files (inspect/archive.ts), without touching them. Everything it hands out is durable.
 *
 * A stream is read as its consumer asks for more, and no faster. Faults of the log come back as
 * the errors that the files would give; what the daemon or the connection says is AuditFailed.
 */
import {
  credentials,
  Metadata,
  status,
  type CallOptions,
  type ClientReadableStream,
  type ServiceError,
} from '@grpc/grpc-js';
import { reasonOf } from '../../../base/errors.js';
import {
  position,
  snapshotId,
  type Position,
  type SnapshotId,
  type UnixNanos,
} from '../../../base/units.js';
import {
  MomentUnknown,
  type Archive,
  type ArchiveRange,
  type LifeRange,
  type LogBounds,
  type PastState,
} from '../../../inspect/archive/archive.js';
import { eventOf, parentOf } from '../../../inspect/archive/subject.js';
import type { LogRecord } from '../../../log/types.js';
import { idOfStream } from '../../../machines/events/streams.js';
import { errorInTrailers } from '../audit-faults.js';
import { forestOf } from './audit-states.js';
import { fromEvent } from '../audit-wire.js';
import {
  AuditClient,
  type Event,
  type FindResponse,
  type GetLogResponse,
  type PositionAtResponse,
} from '../../generated/stratalog/audit/v1/audit.js';
import { fromTimestamp, toTimestamp } from '../../grpc/timestamps.js';

/** The daemon refused, is gone, or does not serve this. `code` is gRPC's: `UNAVAILABLE`. */
export class AuditFailed extends Error {
  override readonly name = 'AuditFailed';
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

export interface AuditRange extends ArchiveRange {
  /** Events of these types only. */
  readonly types?: readonly string[];
}

export interface SubscribeOptions {
  /** Position 0: from the first record that is kept. */
  readonly from: Position;
  readonly stream?: string;
  readonly types?: readonly string[];
  /** Refuses a log that is not this one: positions of another mean something else. */
  readonly uuid?: string;
  readonly signal: AbortSignal;
}

/** A piece of a subscription; one without records is a sign of life. */
export interface Followed {
  readonly records: readonly LogRecord[];
  /** Subscribe from here to go on behind this piece. */
  readonly next: Position;
  /** The end is reached: what comes now is new. */
  readonly isLive: boolean;
}

const NOT_SERVED =
  'the daemon does not serve stratalog.audit.v1: it is switched off (audit = false), or its release is older';

/** Events that may name a parent. */
const PARENTED = ['SnapshotPreparing', 'SnapshotCommitting', 'SnapshotCommitted'] as const;

/** Between two tries to reach a daemon that is gone; gRPC waits longer each time. */
const BACKOFF_MILLIS = { first: 200, most: 5_000 };

export class AuditArchive implements Archive {
  readonly #client: AuditClient;
  readonly #address: string;

  /** A path of a unix socket, or anything that gRPC can name: `unix:/run/…`. */
  constructor(address: string) {
    this.#address = address;
    const target = address.startsWith('/') ? `unix:${address}` : address;
    this.#client = new AuditClient(target, credentials.createInsecure(), {
      // One event may be as long as the log allows.
      'grpc.max_receive_message_length': -1,
      'grpc.initial_reconnect_backoff_ms': BACKOFF_MILLIS.first,
      'grpc.max_reconnect_backoff_ms': BACKOFF_MILLIS.most,
      'grpc.enable_channelz': 0,
    });
  }

  /** Ends the connection. Streams that still run fail. */
  close(): void {
    this.#client.close();
  }

  /**
   * Resolves when the daemon has answered anything at all: a connection alone is none, it may be
   * to another program, or to a daemon that hangs. What it answers is for whoever asks in earnest.
   *
   * Fails with AuditFailed, DEADLINE_EXCEEDED.
   */
  answersWithin(millis: number): Promise<void> {
    const deadline = Date.now() + millis;
    return new Promise((resolve, reject) => {
      this.#client.getLog({}, new Metadata(), { deadline }, (fault) => {
        if (fault?.code !== status.DEADLINE_EXCEEDED) {
          resolve();
          return;
        }
        const why =
          `${this.#address}: a connection was taken, and nothing answered for ${millis / 1000} s. ` +
          'Is this the socket of a stratalog daemon? If it is, the daemon hangs: look with ' +
          '`stratalog health`, and read the files with --root meanwhile';
        reject(new AuditFailed(status[fault.code], why, { cause: fault }));
      });
    });
  }

  async bounds(): Promise<LogBounds> {
    const { uuid, epoch, first, next } = await this.#ask<GetLogResponse>((done) =>
      this.#client.getLog({}, done),
    );
    return { uuid, epoch: Number(epoch), first: positionOf(first), next: positionOf(next) };
  }

  async *read(range: AuditRange = {}): AsyncGenerator<readonly LogRecord[], void, undefined> {
    const { from = position(0), to, stream = '', types = [], reverse = false } = range;
    if (to !== undefined && to <= from) return;
    const request = {
      from: BigInt(from),
      to: to === undefined ? undefined : BigInt(to),
      ...{ stream, types: [...types], reverse },
    };
    try {
      for await (const { events } of this.#receive(this.#client.read(request))) {
        yield events.map(recordOf);
      }
    } catch (thrown) {
      // As files do it: what is not there yet is simply not read.
      if (thrown instanceof MomentUnknown) return;
      throw thrown;
    }
  }

  /** Ends with the signal; fails when the daemon stops. `followForever` goes on. */
  async *follow(
    from: Position,
    signal: AbortSignal,
  ): AsyncGenerator<readonly LogRecord[], void, undefined> {
    for await (const { records } of this.subscribe({ from, signal })) {
      if (records.length > 0) yield records;
    }
  }

  /** Past records, then live ones, without a gap or a double; ends with the signal. */
  async *subscribe(options: SubscribeOptions): AsyncGenerator<Followed, void, undefined> {
    yield* this.#subscribe(options, new Metadata());
  }

  /**
   * As `subscribe`, and when the daemon stops or is killed, again from where it was, as soon as
   * one serves on that address; gRPC's own backoff paces the tries. Fails when the log is another
   * one then, or does not reach as far.
   */
  async *followForever(options: SubscribeOptions): AsyncGenerator<Followed, void, undefined> {
    const { signal } = options;
    // Queued until there is a connection, instead of failing for want of one.
    const patient = new Metadata({ waitForReady: true });
    let { from, uuid } = options;
    while (!signal.aborted) {
      try {
        uuid ??= (await this.#log(patient, signal)).uuid;
        for await (const piece of this.#subscribe({ ...options, from, uuid }, patient)) {
          yield piece;
          from = piece.next;
        }
      } catch (thrown) {
        if (!(thrown instanceof AuditFailed) || thrown.code !== 'UNAVAILABLE') throw thrown;
      }
    }
  }

  async stateAt(at: Position): Promise<PastState> {
    const messages = this.#receive(this.#client.stateAt({ position: BigInt(at) }));
    const { head, forest } = await forestOf(messages);
    const time = head.time === undefined ? null : fromTimestamp(head.time);
    return { position: at, time, forest };
  }

  async historyOf(
    id: SnapshotId,
    { from = position(0), to }: LifeRange = {},
  ): Promise<readonly LogRecord[]> {
    const found: LogRecord[] = [];
    const call = this.#client.history({ snapshotId: BigInt(id) });
    for await (const { events } of this.#receive(call)) found.push(...events.map(recordOf));
    return found.filter(({ position: at }) => at >= from && at < (to ?? Infinity));
  }

  async historiesOf(
    ids: readonly SnapshotId[],
    range: LifeRange = {},
  ): Promise<ReadonlyMap<SnapshotId, readonly LogRecord[]>> {
    const lives = new Map<SnapshotId, readonly LogRecord[]>();
    for (const id of ids) {
      const records = await this.historyOf(id, range);
      if (records.length > 0) lives.set(id, records);
    }
    return lives;
  }

  async childrenOf(id: SnapshotId, range: LifeRange): Promise<readonly SnapshotId[]> {
    const children = new Set<SnapshotId>();
    for await (const batch of this.read({ ...range, types: PARENTED })) {
      for (const record of batch) {
        const child = idOfStream(record.stream);
        if (child !== null && parentOf(eventOf(record))?.id === id) children.add(child);
      }
    }
    return [...children].sort((one, other) => one - other);
  }

  async positionAt(time: UnixNanos): Promise<Position> {
    const answer = await this.#ask<PositionAtResponse>((done) =>
      this.#client.positionAt({ time: toTimestamp(time) }, done),
    );
    return positionOf(answer.position);
  }

  /** The service has no such question: all that is kept may be as young. */
  async noneBefore(): Promise<Position> {
    return (await this.bounds()).first;
  }

  async find(text: string): Promise<readonly SnapshotId[]> {
    const { snapshotIds } = await this.#ask<FindResponse>((done) =>
      this.#client.find({ text }, done),
    );
    return snapshotIds.map((id) => snapshotId(Number(id)));
  }

  async *#subscribe(
    { from, stream = '', types = [], uuid = '', signal }: SubscribeOptions,
    metadata: Metadata,
  ): AsyncGenerator<Followed, void, undefined> {
    if (signal.aborted) return;
    const request = { from: BigInt(from), stream, types: [...types], uuid };
    const call = this.#client.subscribe(request, metadata);
    for await (const { events, next, live } of this.#receive(call, signal)) {
      yield { records: events.map(recordOf), next: positionOf(next), isLive: live };
    }
  }

  #log(metadata: Metadata, signal: AbortSignal): Promise<GetLogResponse> {
    return this.#ask<GetLogResponse>((done) => {
      const call = this.#client.getLog({}, metadata, {} satisfies CallOptions, done);
      signal.addEventListener('abort', () => call.cancel(), { once: true });
    });
  }

  #ask<Answer>(
    call: (done: (fault: ServiceError | null, answer: Answer) => void) => unknown,
  ): Promise<Answer> {
    return new Promise((resolve, reject) => {
      call((fault, answer) => {
        if (fault === null) resolve(answer);
        else reject(this.#explained(fault));
      });
    });
  }

  /** The messages of a stream at the consumer's pace. Leaving the loop cancels the call. */
  async *#receive<Message>(
    call: ClientReadableStream<Message>,
    signal?: AbortSignal,
  ): AsyncGenerator<Message, void, undefined> {
    const cancel = (): void => call.cancel();
    signal?.addEventListener('abort', cancel);
    // Told through the loop; this is for what comes after it was left.
    call.on('error', () => undefined);
    try {
      for await (const message of call as AsyncIterable<Message>) yield message;
    } catch (thrown) {
      if (signal?.aborted !== true) throw this.#explained(thrown);
    } finally {
      signal?.removeEventListener('abort', cancel);
      call.cancel();
    }
  }

  #explained(thrown: unknown): Error {
    if (!isServiceError(thrown)) return new AuditFailed('UNKNOWN', reasonOf(thrown));
    const ofLog = errorInTrailers(thrown.metadata);
    if (ofLog !== null) return ofLog;
    const { code, details } = thrown;
    if (code === status.OUT_OF_RANGE) return new MomentUnknown(details);
    const why = code === status.UNIMPLEMENTED ? NOT_SERVED : details;
    return new AuditFailed(status[code], `${this.#address}: ${why}`, { cause: thrown });
  }
}

function isServiceError(thrown: unknown): thrown is ServiceError {
  return thrown instanceof Error && 'code' in thrown && 'details' in thrown && 'metadata' in thrown;
}

/** The server promises that it can be told exactly. */
const positionOf = (value: bigint): Position => position(Number(value));

function recordOf(event: Event): LogRecord {
  try {
    return fromEvent(event);
  } catch (cause) {
    const why = `the event at position ${event.position} cannot be understood: ${reasonOf(cause)}`;
    throw new AuditFailed('DATA_LOSS', why, { cause });
  }
}
