/**
 * Drops the beginning of a log on request. The plan is made without a lock and without a write. It
 * is executed under the lock, and only below a checkpoint. The log is usable after a crash at any
 * step: the checkpoint becomes durable first, and then the oldest segment is dropped first.
 */
import type { Disk } from '../base/ports.js';
import { position, type Position, type UnixNanos } from '../base/units.js';
import { rawBatches, soundSegments, type SoundSegments } from '../export/export-records.js';
import { replayRoot } from '../inspect/archive/replay-root.js';
import { LogDamaged } from '../log/errors.js';
import { listLog } from '../log/files.js';
import { readLog } from '../log/reader.js';
import { SegmentAges } from '../log/housekeeping/segment-age.js';
import { DAEMON_STREAM } from '../machines/events/daemon-events.js';
import { idOfStream } from '../machines/events/streams.js';
import type { HeldRoot } from './hold-root.js';

/** Drop everything before a position, or everything written before a time. */
export type CompactOptions = { readonly before: Position } | { readonly olderThan: UnixNanos };

export interface CompactPlan {
  /** The first position that is kept. */
  readonly keepFrom: Position;
  /** First position whose state stays known; null: that of the checkpoint that compaction takes. */
  readonly statesFrom: Position | null;
  /** File names, oldest first; empty if there is nothing to drop. */
  readonly segments: readonly string[];
  readonly bytes: number;
  readonly from: Position;
  readonly records: number;
  readonly clock: CompactClock;
  /** Times of the oldest and the newest dropped record. */
  readonly oldest: UnixNanos | null;
  readonly newest: UnixNanos | null;
  /** Removed snapshots whose whole history is dropped. */
  readonly wholeLives: number;
  /** Existing snapshots whose first events are dropped. */
  readonly lostBeginnings: number;
  /** Snapshots removed later: their first events are dropped, their last ones stay. */
  readonly lostBeginningsOfRemoved: number;
}

/** The clock compared with the log, so that the operator notices a wrong clock. */
export interface CompactClock {
  readonly now: UnixNanos;
  /** Time of the newest record; null in an empty log. */
  readonly newest: UnixNanos | null;
  /** Scanned segments with times in the future. */
  readonly aheadSegments: number;
  /** The latest of these times. */
  readonly aheadTo: UnixNanos | null;
}

interface DroppedTotals {
  bytes: number;
  records: number;
  oldest: UnixNanos | null;
  newest: UnixNanos | null;
}

/**
 * Plans which segments to drop, never the newest. Reads those segments and the state of the root.
 * Times in the future are wrong and do not keep a segment (segment-age.ts).
 *
 * Fails  LogDamaged if a segment to drop cannot be read; LogTooNew, HostFault
 */
export async function planCompact(
  disk: Disk,
  root: string,
  options: CompactOptions,
  now: UnixNanos,
): Promise<CompactPlan> {
  const sound = await soundSegments(disk, root);
  const { segments, fault } = sound;
  if (fault !== null) {
    const place = { segment: fault.segment, offset: 0, position: position(fault.position) };
    throw new LogDamaged(place, fault.found);
  }
  const names: string[] = [];
  const totals: DroppedTotals = { bytes: 0, records: 0, oldest: null, newest: null };
  const open = new Set<string>();
  let wholeLives = 0;
  const from = position(segments[0]?.header.firstPosition ?? 0);
  let keepFrom = from;
  // A requested time in the future is used as given.
  const until = 'olderThan' in options && options.olderThan > now ? options.olderThan : now;
  const parts = new SegmentParts(disk, sound, until);
  const ages = new SegmentAges((index) => parts.endOf(index), until);
  for (const [index, segment] of segments.entries()) {
    const next = segments[index + 1]?.header.firstPosition;
    if (next === undefined || ('before' in options && next > options.before)) break;
    if ('olderThan' in options && (await ages.latestWrite(index)) >= options.olderThan) break;
    const part = await parts.at(index);
    names.push(segment.name);
    totals.bytes += (await disk.stat(segment.path)).size;
    totals.records += next - segment.header.firstPosition;
    totals.oldest = lesser(totals.oldest, part.oldest);
    totals.newest = greater(totals.newest, part.newest);
    for (const stream of part.seen) open.add(stream);
    for (const stream of part.ended) open.delete(stream);
    wholeLives += part.ended.size;
    keepFrom = position(next);
  }
  const existing = names.length === 0 ? 0 : await countExisting(disk, root, open);
  const { checkpoints } = await listLog(disk, root);
  const oldest = checkpoints.find((checkpoint) => checkpoint.position >= keepFrom);
  const statesFrom = keepFrom === 0 ? keepFrom : oldest ? position(oldest.position) : null;
  return {
    ...{ keepFrom, statesFrom, from, segments: names, ...totals, wholeLives },
    clock: { now, newest: await newestTime(disk, root), ...parts.ahead(now) },
    lostBeginnings: existing,
    lostBeginningsOfRemoved: open.size - existing,
  };
}

interface SegmentPart {
  readonly oldest: UnixNanos | null;
  readonly newest: UnixNanos | null;
  /** The newest that is not in the future. */
  readonly newestPast: UnixNanos | null;
  /** Of the last record. */
  readonly last: UnixNanos | null;
  /** Streams of snapshots. Ids are never reused, so a stream ends once. */
  readonly seen: ReadonlySet<string>;
  readonly ended: ReadonlySet<string>;
}

/** Reads segments on demand, each once. */
class SegmentParts {
  readonly #parts = new Map<number, Promise<SegmentPart>>();
  readonly #read: SegmentPart[] = [];

  /** `until`: times after this are in the future. */
  constructor(
    private readonly disk: Disk,
    private readonly sound: SoundSegments,
    private readonly until: UnixNanos,
  ) {}

  at(index: number): Promise<SegmentPart> {
    let part = this.#parts.get(index);
    if (part === undefined) {
      part = this.#readAt(index);
      this.#parts.set(index, part);
    }
    return part;
  }

  /** When a segment was last written to, or when the next one was created if its times are ahead. */
  async endOf(index: number): Promise<UnixNanos | null> {
    const segment = this.sound.segments[index];
    if (segment === undefined) return null;
    const { last, newestPast } = await this.at(index);
    if (last === null) return segment.header.created;
    if (last <= this.until && newestPast !== null) return newestPast;
    return this.sound.segments[index + 1]?.header.created ?? last;
  }

  ahead(now: UnixNanos): Pick<CompactClock, 'aheadSegments' | 'aheadTo'> {
    const ahead = this.#read.flatMap(({ newest }) =>
      newest !== null && newest > now ? [newest] : [],
    );
    const aheadTo = ahead.reduce<UnixNanos | null>(greater, null);
    return { aheadSegments: ahead.length, aheadTo };
  }

  async #readAt(index: number): Promise<SegmentPart> {
    const { segments } = this.sound;
    const first = segments[index]?.header.firstPosition ?? 0;
    const end = segments[index + 1]?.header.firstPosition ?? Infinity;
    const part = await readSegment(this.disk, this.sound, { first, end, until: this.until });
    this.#read.push(part);
    return part;
  }
}

async function newestTime(disk: Disk, root: string): Promise<UnixNanos | null> {
  for await (const { time } of readLog({ root, disk, reverse: true })) return time;
  return null;
}

async function readSegment(
  disk: Disk,
  sound: SoundSegments,
  options: { readonly first: number; readonly end: number; readonly until: UnixNanos },
): Promise<SegmentPart> {
  const { first, end, until } = options;
  let oldest: UnixNanos | null = null;
  let newest: UnixNanos | null = null;
  let newestPast: UnixNanos | null = null;
  let last: UnixNanos | null = null;
  const seen = new Set<string>();
  const ended = new Set<string>();
  for await (const { records } of rawBatches(disk, sound, first, end)) {
    for (const { time, stream, closesStream } of records) {
      oldest = lesser(oldest, time);
      newest = greater(newest, time);
      if (time <= until) newestPast = greater(newestPast, time);
      last = time;
      if (stream === DAEMON_STREAM) continue;
      seen.add(stream);
      if (closesStream) ended.add(stream);
    }
  }
  return { oldest, newest, newestPast, last, seen, ended };
}

async function countExisting(disk: Disk, root: string, open: ReadonlySet<string>): Promise<number> {
  const { replay } = await replayRoot(disk, root);
  let existing = 0;
  for (const stream of open) {
    const id = idOfStream(stream);
    if (id !== null && replay.forest.get(id) !== undefined) existing += 1;
  }
  return existing;
}

const lesser = (one: UnixNanos | null, other: UnixNanos | null): UnixNanos | null =>
  one === null || (other !== null && other < one) ? other : one;
const greater = (one: UnixNanos | null, other: UnixNanos | null): UnixNanos | null =>
  one === null || (other !== null && other > one) ? other : one;

export interface Compacted {
  /** The checkpoint that compaction took; null if one already covered the dropped segments. */
  readonly checkpoint: Position | null;
  readonly dropped: readonly string[];
}

/** Executes the plan. The root is held, so no other process appends. */
export async function compact(held: HeldRoot, plan: CompactPlan): Promise<Compacted> {
  if (plan.segments.length === 0) return { checkpoint: null, dropped: [] };
  // The replay has just used this checkpoint, so it is sound.
  const isCovered = held.checkpoint !== null && held.checkpoint >= plan.keepFrom;
  const checkpoint = isCovered ? null : await held.takeCheckpoint();
  const dropped = await held.log.retire(plan.keepFrom);
  await held.record({
    type: 'SegmentsRetired',
    data: { before: plan.keepFrom, segments: [...dropped] },
  });
  return { checkpoint, dropped };
}
