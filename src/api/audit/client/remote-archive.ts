/**
 * An archive (inspect/archive.ts) over the socket of a running daemon instead of a root's files.
 * Returns durable events only.
 *
 * A stream is read at the pace of its consumer. Faults of the log are thrown as the same errors as
 * by an archive of files; errors of the daemon or the connection are AuditFailed.
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

/** The daemon refused, does not answer, or does not serve this. `code` is gRPC's: `UNAVAILABLE`. */
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
  /** Position 0: from the first retained record. */
  readonly from: Position;
  readonly stream?: string;
  readonly types?: readonly string[];
  /** Fails if the daemon's log has another uuid, because its positions differ. */
  readonly uuid?: string;
  readonly signal: AbortSignal;
}

/** A batch of a subscription; a heartbeat has no records. */
export interface Followed {
  readonly records: readonly LogRecord[];
  /** Subscribe from here to continue after this batch. */
  readonly next: Position;
  /** The subscription has caught up; later records are new. */
  readonly isLive: boolean;
}

const NOT_SERVED =
  'the daemon does not serve stratalog.audit.v1: it is disabled (audit = false) or the release is too old';

/** Events that may name a parent. */
const PARENTED = ['SnapshotPreparing', 'SnapshotCommitting', 'SnapshotCommitted'] as const;

/** Back-off between attempts to reconnect; gRPC increases it each time. */
const BACKOFF_MILLIS = { first: 200, most: 5_000 };

export class AuditArchive implements Archive {
  readonly #client: AuditClient;
  readonly #address: string;

  /** @param address the path of a unix socket, or a gRPC target: `unix:/run/…` */
  constructor(address: string) {
    this.#address = address;
    const target = address.startsWith('/') ? `unix:${address}` : address;
    this.#client = new AuditClient(target, credentials.createInsecure(), {
      // The log limits the size of an event.
      'grpc.max_receive_message_length': -1,
      'grpc.initial_reconnect_backoff_ms': BACKOFF_MILLIS.first,
      'grpc.max_reconnect_backoff_ms': BACKOFF_MILLIS.most,
      'grpc.enable_channelz': 0,
    });
  }

  /** Closes the connection. Open streams fail. */
  close(): void {
    this.#client.close();
  }

  /**
   * Resolves on any response, including an error: the next call reports that. A connection is not
   * enough, because it can be to another program or to a daemon that hangs.
   *
   * @throws AuditFailed with DEADLINE_EXCEEDED
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
          `${this.#address}: connected, but no response within ${millis / 1000} s; check that this ` +
          'is the socket of a stratalog daemon. If it is, the daemon hangs: run ' +
          "'stratalog health', or read the files with --root";
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
      // As in an archive of files, a range past the end is empty.
      if (thrown instanceof MomentUnknown) return;
      throw thrown;
    }
  }

  /** Ends with the signal. Fails when the daemon stops; `followForever` reconnects. */
  async *follow(
    from: Position,
    signal: AbortSignal,
  ): AsyncGenerator<readonly LogRecord[], void, undefined> {
    for await (const { records } of this.subscribe({ from, signal })) {
      if (records.length > 0) yield records;
    }
  }

  /** Past records, then new ones, without gaps or duplicates. Ends with the signal. */
  async *subscribe(options: SubscribeOptions): AsyncGenerator<Followed, void, undefined> {
    yield* this.#subscribe(options, new Metadata());
  }

  /**
   * As `subscribe`, and resumes when the daemon restarts; gRPC's back-off paces the attempts. Fails
   * if the daemon then serves another log or one that ends before the position to resume from.
   */
  async *followForever(options: SubscribeOptions): AsyncGenerator<Followed, void, undefined> {
    const { signal } = options;
    // Calls are queued until there is a connection.
    const waiting = new Metadata({ waitForReady: true });
    let { from, uuid } = options;
    while (!signal.aborted) {
      try {
        uuid ??= (await this.#log(waiting, signal)).uuid;
        for await (const piece of this.#subscribe({ ...options, from, uuid }, waiting)) {
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

  /** The service has no such query, so this returns the lowest bound. */
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
    // The loop reports errors; this handles those after the consumer has left the loop.
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

/** Exact: the server limits positions to 2^53 - 1. */
const positionOf = (value: bigint): Position => position(Number(value));

function recordOf(event: Event): LogRecord {
  try {
    return fromEvent(event);
  } catch (cause) {
    const why = `cannot decode event at position ${event.position}: ${reasonOf(cause)}`;
    throw new AuditFailed('DATA_LOSS', why, { cause });
  }
}
