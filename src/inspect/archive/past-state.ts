/**
 * The forest at a position: from the nearest usable checkpoint and the records after it. The
 * indexes limit the replay to streams that are still open at the position: a stream that began and
 * ended in between leaves only its used id. A property test compares this with a full replay.
 *
 * Skipped events are not checked; `checkEvents` checks all events.
 */
import type { Disk } from '../../base/ports.js';
import { position, type Position, type SnapshotId } from '../../base/units.js';
import { listLog } from '../../log/files.js';
import { IndexUnusable } from '../../log/index/index-head.js';
import type { IndexedLog } from '../../log/index/indexed-log.js';
import type { OpenIndexed } from '../../log/index/indexed-segment.js';
import type { SegmentIndex, StreamPart } from '../../log/index/segment-index.js';
import type { ListedSegment } from '../../log/read/segment-list.js';
import type { LogRecord } from '../../log/types.js';
import { idOfStream } from '../../machines/events/streams.js';
import { MomentUnknown, type PastState } from './archive.js';
import { Replay } from './replay.js';
import { restoreNewest } from './replay-root.js';

export async function pastState(
  disk: Disk,
  root: string,
  log: IndexedLog,
  at: Position,
): Promise<PastState> {
  const segments = await log.segments();
  for (let tries = segments.length; ; tries -= 1) {
    try {
      return await stateBy({ disk, root, log }, segments, at);
    } catch (thrown) {
      // The log does not use the faulty index again.
      if (!(thrown instanceof IndexUnusable) || tries === 0) throw thrown;
    }
  }
}

interface Source {
  readonly disk: Disk;
  readonly root: string;
  readonly log: IndexedLog;
}

async function stateBy(
  { disk, root, log }: Source,
  segments: readonly ListedSegment[],
  at: Position,
): Promise<PastState> {
  const first = segments[0]?.header.firstPosition ?? 0;
  const { begun } = await restoreNewest(disk, root, { first, upTo: at });
  const from = begun?.position ?? 0;
  if (begun === null && first > 0) {
    const { checkpoints } = await listLog(disk, root);
    const oldest = checkpoints.find((checkpoint) => checkpoint.position >= first);
    throw new MomentUnknown(
      `the log begins at position ${first}, and no checkpoint has the state at ${at}` +
        (oldest === undefined ? '' : `: the oldest known state is at ${oldest.position}`),
    );
  }
  const replay = begun ?? new Replay();
  const range = await Range.open(log, segments, from, at);
  const open = await range.openStreams(replay);
  for (const [segment, offsets] of open.places) {
    for (const record of await range.records(segment, offsets)) replay.apply(record);
  }
  forget(replay, open.ended);
  replay.position = at;
  return { position: at, time: await range.timeBefore(), forest: replay.forest };
}

/** Reserves the ids of streams that began and ended, including preallocated ones. */
function forget({ forest }: Replay, ended: readonly SnapshotId[]): void {
  let last = 0;
  const usedPreallocated: SnapshotId[] = [];
  for (const id of ended) {
    last = Math.max(last, id);
    if (forest.isPreallocated(id)) usedPreallocated.push(id);
  }
  forest.reserveIdsBelow(last + 1);
  if (usedPreallocated.length === 0) return;
  forest.takeIn({ type: 'PreallocatedReleased', data: { ids: usedPreallocated } });
}

type OffsetsBySegment = Map<ListedSegment, number[]>;

interface OpenStreams {
  /** Offsets of their records; segments and offsets in ascending order. */
  readonly places: OffsetsBySegment;
  readonly ended: readonly SnapshotId[];
}

/** The records between two positions. */
class Range {
  private constructor(
    private readonly log: IndexedLog,
    private readonly segments: readonly ListedSegment[],
    /** Index of the newest segment when the range was opened; null if not in the range. */
    private readonly newest: SegmentIndex | null,
    private readonly from: number,
    private readonly to: number,
  ) {}

  static async open(
    log: IndexedLog,
    segments: readonly ListedSegment[],
    from: number,
    to: number,
  ): Promise<Range> {
    const last = segments.at(-1);
    const isTouched = last !== undefined && to > last.header.firstPosition;
    const newest = isTouched
      ? await log.within(last, null, ({ index }) => Promise.resolve(index))
      : null;
    const next = newest?.nextPosition ?? last?.header.firstPosition ?? 0;
    if (to <= next) return new Range(log, segments, newest, from, to);
    throw new MomentUnknown(`the log ends at position ${next}: ${to} does not exist yet`);
  }

  async openStreams(replay: Replay): Promise<OpenStreams> {
    const pending = new Map<string, Map<ListedSegment, readonly number[]>>();
    const ended: SnapshotId[] = [];
    for (const segment of this.#touched()) {
      for (const part of await this.#parts(segment)) {
        const { stream, offsets, closes } = part;
        const id = idOfStream(stream);
        if (closes && id !== null && !replay.forest.has(id)) {
          pending.delete(stream);
          ended.push(id);
          continue;
        }
        const of = pending.get(stream) ?? new Map<ListedSegment, readonly number[]>();
        pending.set(stream, of.set(segment, offsets));
      }
    }
    const places: OffsetsBySegment = new Map(this.#touched().map((segment) => [segment, []]));
    for (const of of pending.values()) {
      for (const [segment, offsets] of of) {
        const all = places.get(segment) ?? [];
        for (const offset of offsets) all.push(offset);
      }
    }
    for (const offsets of places.values()) offsets.sort((one, other) => one - other);
    return { places, ended };
  }

  records(segment: ListedSegment, offsets: readonly number[]): Promise<readonly LogRecord[]> {
    if (offsets.length === 0) return Promise.resolve([]);
    return this.#within(segment, (open) => open.records(offsets));
  }

  async timeBefore(): Promise<PastState['time']> {
    const at = position(this.to - 1);
    const segment = this.segments.findLast(({ header }) => header.firstPosition <= at);
    if (this.to === 0 || segment === undefined) return null;
    return this.#within(segment, async (open) => {
      const [record] = await open.records([await open.offsetAt(at)]);
      return record?.time ?? null;
    });
  }

  /** The records of each stream within the range. */
  #parts(segment: ListedSegment): Promise<readonly StreamPart[]> {
    return this.#within(segment, async (open) => {
      const { index } = open;
      const isWhole = this.from <= index.firstPosition && this.to >= index.nextPosition;
      if (isWhole) return [...index.parts()];
      const start = this.from <= index.firstPosition ? 0 : await open.offsetAt(this.from);
      const end = await open.offsetAt(this.to);
      const within: StreamPart[] = [];
      for (const { stream, offsets, closes } of index.parts()) {
        const inRange = offsets.filter((offset) => offset >= start && offset < end);
        if (inRange.length === 0) continue;
        const endsHere = closes && inRange.at(-1) === offsets.at(-1);
        within.push({ stream, offsets: inRange, closes: endsHere });
      }
      return within;
    });
  }

  #within<Value>(
    segment: ListedSegment,
    use: (open: OpenIndexed) => Promise<Value>,
  ): Promise<Value> {
    const next = this.#next(segment);
    return this.log.within(segment, next, use, next === null ? this.newest : null);
  }

  #touched(): readonly ListedSegment[] {
    return this.segments.filter((segment) => {
      const next = this.#next(segment);
      const begins = segment.header.firstPosition < this.to;
      return begins && (next === null || next.header.firstPosition > this.from);
    });
  }

  #next(segment: ListedSegment): ListedSegment | null {
    return this.segments[this.segments.indexOf(segment) + 1] ?? null;
  }
}
