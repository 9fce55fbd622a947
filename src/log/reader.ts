/**
 * Reading for tools: without a lock, without writing, also while a writer runs, or from a copy of a
 * root. A reader returns each whole append; only the writer knows whether the last ones are durable.
 */
import type { Disk, DiskFile } from '../base/ports.js';
import { decodeRecord } from './format/codec.js';
import { LogCursor } from './read/cursor.js';
import { damageAt, requireGoodEnd } from './read/log-end.js';
import { placeAt } from './read/place-at.js';
import { SegmentScan, startOf, type ScanOptions } from './read/scan.js';
import { readIdentityIfSound } from './root/identity.js';
import { listSoundSegments, type ListedSegment } from './read/segment-list.js';
import type { LogRecord } from './types.js';

/** Records that are decoded at once when reading backwards. */
const BACKWARDS_RECORDS = 1024;
const POLL_MILLIS = 200;

export interface ReadLogOptions {
  readonly root: string;
  readonly disk: Disk;
  /** First position; the first record that is kept by default. */
  readonly from?: number;
  /** First position that is not read; the end of the log by default. */
  readonly to?: number;
  readonly stream?: string;
  /** From `to` down to `from`. */
  readonly reverse?: boolean;
}

/**
 * Reads records in order. Ends at a torn or unfinished tail of the newest segment.
 *
 * Fails  LogDamaged at the first place that is not sound: everything before it was handed out;
 *        LogTooNew
 */
export async function* readLog(
  options: ReadLogOptions,
): AsyncGenerator<LogRecord, void, undefined> {
  const batches = options.reverse === true ? readBackwards(options) : readForwards(options);
  for await (const batch of batches) yield* batch;
}

/** As `readLog`, a batch at a time: for readers of whole logs, where a step a record is too slow. */
export async function* readLogBatches(
  options: ReadLogOptions,
): AsyncGenerator<readonly LogRecord[], void, undefined> {
  yield* options.reverse === true ? readBackwards(options) : readForwards(options);
}

async function* readForwards(
  options: ReadLogOptions,
): AsyncGenerator<readonly LogRecord[], void, undefined> {
  const { disk, root, from = 0, to = Infinity, stream } = options;
  const cursor = new LogCursor(disk, root, { from, stream });
  try {
    while ((cursor.position ?? 0) < to) {
      const batch = await cursor.next();
      if (batch === null) return;
      const wanted = batch.filter((record) => record.position < to);
      if (wanted.length > 0) yield wanted;
    }
  } finally {
    await cursor.close();
  }
}

export interface FollowLogOptions extends Omit<ReadLogOptions, 'to' | 'reverse'> {
  readonly signal: AbortSignal;
  /** How often the end is looked at; 200 ms by default. */
  readonly pollMillis?: number;
}

/**
 * Past records, then each new one soon after it is written, until the signal. To resume, follow
 * again from the position after the last record seen.
 */
export async function* followLog(
  options: FollowLogOptions,
): AsyncGenerator<LogRecord, void, undefined> {
  const { disk, root, from = 0, stream, signal } = options;
  const cursor = new LogCursor(disk, root, { from, stream });
  try {
    while (!signal.aborted) {
      const batch = await cursor.next();
      if (batch === null) await pause(options.pollMillis ?? POLL_MILLIS, signal);
      yield* batch ?? [];
    }
  } finally {
    await cursor.close();
  }
}

/** Ends early, without an error, when the signal comes. */
function pause(millis: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, millis);
    signal.addEventListener('abort', done);
  });
}

async function* readBackwards(
  options: ReadLogOptions,
): AsyncGenerator<readonly LogRecord[], void, undefined> {
  const { disk, root, from = 0, to = Infinity } = options;
  const { segments } = await listSoundSegments(disk, root, await readIdentityIfSound(disk, root));
  for (let index = segments.length - 1; index >= 0; index--) {
    const segment = segments[index];
    if (!segment || segment.header.firstPosition >= to) continue;
    const end = segments[index + 1]?.header.firstPosition ?? Infinity;
    if (end <= from) return;
    const file = await disk.open(segment.path, 'read');
    try {
      const offsets = await offsetsIn(file, segment, segments[index + 1], options);
      for await (const batch of decodeBackwards(file, offsets)) {
        const wanted = batch.filter((record) => record.position < to);
        if (wanted.length > 0) yield wanted;
      }
    } finally {
      await file.close();
    }
  }
}

/** Where the requested records begin, after a check of the segment; the last entry is its end. */
async function offsetsIn(
  file: DiskFile,
  segment: ListedSegment,
  next: ListedSegment | undefined,
  { from = 0, to = Infinity, stream }: ReadLogOptions,
): Promise<readonly number[]> {
  const query: ScanOptions = {
    from,
    keepOffsets: true,
    ...(stream === undefined ? {} : { stream }),
  };
  const scan = new SegmentScan(file, startOf(segment), query);
  while ((await scan.next()) !== null) {
    if (scan.end.position >= to) return [...scan.offsets, scan.end.offset];
  }
  requireGoodEnd(segment, next, scan);
  return [...scan.offsets, scan.end.offset];
}

async function* decodeBackwards(
  file: DiskFile,
  offsets: readonly number[],
): AsyncGenerator<LogRecord[], void, undefined> {
  for (let end = offsets.length - 1; end > 0; end -= BACKWARDS_RECORDS) {
    const first = Math.max(0, end - BACKWARDS_RECORDS);
    const start = offsets[first] ?? 0;
    const bytes = Buffer.allocUnsafe((offsets[end] ?? 0) - start);
    await file.read(bytes, start);
    const records = offsets.slice(first, end).map((offset) => decodeRecord(bytes, offset - start));
    yield records.reverse();
  }
}

/** Chain hash of the record before a position, which must be in the log. */
export async function chainBefore(disk: Disk, root: string, at: number): Promise<Buffer> {
  const { segments } = await listSoundSegments(disk, root, await readIdentityIfSound(disk, root));
  const search = await placeAt(disk, segments, at);
  if (search.kind === 'found') return search.place.chain;
  if (search.kind === 'before-log')
    throw new RangeError(`position ${at} is not in the log any more`);
  const found = `the log cannot be read up to position ${at}, which was durable`;
  throw damageAt(segments[search.index] ?? { name: '' }, search.scan.reached, found);
}
