/**
 * Checks one sealed segment, on a thread. Segments are checked independently of one another, because
 * each header has the chain hash that it continues.
 *
 * Either record by record, or by one SHA-256 over all records, which is many times as fast: if a
 * later event of the log recorded the same digest, the bytes are those that were checked record by
 * record before that event.
 *
 * Returns the facts that the check of the whole log needs, or null if anything is unusual. Then
 * `verifyLog` reads the segment again and reports why.
 */
import { createHash } from 'node:crypto';
import { decodeIfUsable, isOfType } from '../format/codec.js';
import { CHAIN_BYTES, RECORD } from '../format/layout.js';
import { recordAt } from '../format/record-step.js';
import { walkHeads } from '../read/heads.js';
import type { ReadableFile, RecordPlace } from '../read/record-pages.js';
import { SegmentScan, type ScanPlace } from '../read/scan.js';
import { bytesAfter } from '../read/torn-tail.js';
import type { EventBody, LogRecord } from '../types.js';

export interface SegmentToCheck {
  readonly path: string;
  /** Of its first record. */
  readonly offset: number;
  readonly position: number;
  readonly chain: Uint8Array;
  /** From the header of the next segment. */
  readonly nextPosition: number;
  readonly nextChain: Uint8Array;
  /** Positions in it whose chain hash is requested, in ascending order. */
  readonly marks: readonly number[];
  /** Type of the events that record digests (`SumEvents`); null if not requested. */
  readonly sumType: string | null;
}

/** Facts about a sound segment. */
export interface SegmentFacts {
  readonly records: number;
  /** From the first record to the end of the last. */
  readonly bytes: number;
  /** SHA-256 of these bytes, in hex. */
  readonly sha256: string;
  readonly firstTime: bigint;
  readonly lastTime: bigint;
  /** Chain hash of the record before each mark. */
  readonly marks: ReadonlyMap<number, Uint8Array>;
  /** Bodies of its events of `sumType`. */
  readonly sums: readonly EventBody[];
}

export interface StreamsMoved {
  /** Names of streams that begin and end within the segment, one a line. */
  readonly contained: string;
  /** Other streams: the version of its first record here, and of the next one; -1 when closed. */
  readonly moved: readonly (readonly [stream: string, first: number, next: number])[];
}

/** Null streams were not checked: the segment has its recorded digest. */
export interface SoundSegment extends SegmentFacts {
  readonly streams: StreamsMoved | null;
}

/** Every record's CRC, position, chain hash and body, its stream's version, and that time rises. */
export async function checkSegment(
  file: ReadableFile,
  segment: SegmentToCheck,
): Promise<SoundSegment | null> {
  const { offset, position, nextPosition, sumType } = segment;
  const sha256 = createHash('sha256');
  const onPage = (records: Buffer): void => void sha256.update(records);
  const marks = new Map<number, Uint8Array>();
  const tally = new RecordTally(sumType);
  let place: ScanPlace = { offset, position, chain: Buffer.from(segment.chain) };
  for (const until of [...segment.marks, nextPosition]) {
    const scan = new SegmentScan(file, place, { until, onPage });
    for (let batch = await scan.next(); batch !== null; batch = await scan.next()) {
      if (!batch.every((record) => tally.take(record))) return null;
    }
    place = scan.end;
    if (place.position !== until) return null;
    marks.set(until, place.chain);
  }
  const { firstTime, lastTime, sums } = tally;
  if (firstTime === null || !place.chain.equals(segment.nextChain)) return null;
  if (await hasBytesAfter(file, place)) return null;
  return {
    records: nextPosition - position,
    bytes: place.offset - offset,
    sha256: sha256.digest('hex'),
    firstTime,
    lastTime,
    marks,
    sums,
    streams: tally.streams(),
  };
}

class RecordTally {
  firstTime: bigint | null = null;
  lastTime = 0n;
  readonly sums: EventBody[] = [];
  readonly #versions = new Map<string, { readonly first: number; next: number }>();

  constructor(private readonly sumType: string | null) {}

  take({ time, stream, streamVersion, closesStream, type, data }: LogRecord): boolean {
    this.firstTime ??= time;
    if (time < this.lastTime) return false;
    this.lastTime = time;
    const next = closesStream ? -1 : streamVersion + 1;
    const known = this.#versions.get(stream);
    if (known === undefined) this.#versions.set(stream, { first: streamVersion, next });
    // A name that is used again after its end: the slow path decides.
    else if (known.next !== streamVersion) return false;
    else known.next = next;
    if (type === this.sumType) this.sums.push(data);
    return true;
  }

  streams(): StreamsMoved {
    const contained: string[] = [];
    const moved: [string, number, number][] = [];
    for (const [name, { first, next }] of this.#versions) {
      if (first === 0 && next === -1) contained.push(name);
      else moved.push([name, first, next]);
    }
    return { contained: contained.join('\n'), moved };
  }
}

/**
 * The digest of all records. Also checks what a digest does not cover: that the records lead from the
 * chain hash in this header to the one in the next, and that only zeros follow them.
 */
export async function digestSegment(
  file: ReadableFile,
  segment: SegmentToCheck,
): Promise<SegmentFacts | null> {
  const { offset, position: first, nextPosition, sumType } = segment;
  const sha256 = createHash('sha256');
  const wanted = new Set([...segment.marks, nextPosition]);
  const marks = new Map<number, Uint8Array>(
    wanted.has(first) ? [[first, Uint8Array.from(segment.chain)]] : [],
  );
  const sums: EventBody[] = [];
  const times = { first: 0n, last: 0n };
  let at = first;
  const end = await walkHeads(
    file,
    { offset, position: first },
    (bytes, start, _offset, padded) => {
      if (at === nextPosition) return false;
      if (at === first) {
        times.first = bytes.readBigInt64LE(start + RECORD.time);
        const checks = { checksum: true, chain: Buffer.from(segment.chain) };
        if (typeof recordAt(bytes, start, start + padded, first, checks) !== 'number') return false;
      }
      at += 1;
      if (wanted.has(at)) {
        times.last = bytes.readBigInt64LE(start + RECORD.time);
        const chainAt = start + RECORD.chain;
        marks.set(at, Uint8Array.from(bytes.subarray(chainAt, chainAt + CHAIN_BYTES)));
      }
      if (isOfType(bytes, start, sumType)) {
        const record = decodeIfUsable(bytes, start);
        if (record !== null) sums.push(record.data);
      }
      return true;
    },
    { onPage: (records) => void sha256.update(records) },
  );
  const last = marks.get(nextPosition);
  if (end.wasStopped || end.position !== nextPosition || at === first) return null;
  if (last === undefined || Buffer.compare(last, segment.nextChain) !== 0) return null;
  if (await hasBytesAfter(file, end)) return null;
  const records = nextPosition - first;
  const bytes = end.offset - offset;
  return {
    ...{ records, bytes, marks, sums, sha256: sha256.digest('hex') },
    firstTime: times.first,
    lastTime: times.last,
  };
}

async function hasBytesAfter(
  file: ReadableFile,
  { offset, position }: RecordPlace,
): Promise<boolean> {
  return (await bytesAfter(file, offset, position)).end > offset;
}
