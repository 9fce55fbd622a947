/**
 * Drops the beginning of a log, when an operator asks for it: what would be forgotten is found
 * out first, without a lock and without a write, and then done under the lock, only below a
 * checkpoint. A crash at any step leaves a log that starts: segments go oldest first, each after
 * the checkpoint that replaces it is durable.
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

/** Everything before a position, or all that was written before a time. */
export type CompactOptions = { readonly before: Position } | { readonly olderThan: UnixNanos };

export interface CompactPlan {
  /** The first position that is kept. */
  readonly keepFrom: Position;
  /** The first position whose state can still be told; null: that of the checkpoint to be made. */
  readonly statesFrom: Position | null;
  /** File names, oldest first; none when there is nothing to drop. */
  readonly segments: readonly string[];
  readonly bytes: number;
  readonly from: Position;
  readonly records: number;
  readonly clock: CompactClock;
  /** Times of the oldest and the newest record that would go. */
  readonly oldest: UnixNanos | null;
  readonly newest: UnixNanos | null;
  /** Snapshots of which nothing stays: they were removed before. */
  readonly wholeLives: number;
  /** Snapshots that live on, and whose beginnings would go. */
  readonly lostBeginnings: number;
  /** Snapshots that were removed later: of these the end stays. */
  readonly lostBeginningsOfRemoved: number;
}

/** What the clock shows, beside what the log has: a person decides by both. */
export interface CompactClock {
  readonly now: UnixNanos;
  /** Time of the newest record; null in an empty log. */
  readonly newest: UnixNanos | null;
  /** Segments that were looked at and hold times that are still to come. */
  readonly aheadSegments: number;
  /** The latest of these times. */
  readonly aheadTo: UnixNanos | null;
}

interface Counted {
  bytes: number;
  records: number;
  oldest: UnixNanos | null;
  newest: UnixNanos | null;
}

/**
 * What would be dropped: whole segments, never the newest. Reads what would go, and the snapshots.
 * Times that are still to come are wrong, and do not keep a segment (segment-age.ts).
 *
 * Fails  LogDamaged when what would go cannot be read, LogTooNew, HostFault
 */
export async function planCompact(
  disk: Disk,
  root: string,
  query: CompactOptions,
  now: UnixNanos,
): Promise<CompactPlan> {
  const sound = await soundSegments(disk, root);
  const { segments, fault } = sound;
  if (fault !== null) {
    const place = { segment: fault.segment, offset: 0, position: position(fault.position) };
    throw new LogDamaged(place, fault.found);
  }
  const names: string[] = [];
  const sum: Counted = { bytes: 0, records: 0, oldest: null, newest: null };
  const open = new Set<string>();
  let wholeLives = 0;
  const from = position(segments[0]?.header.firstPosition ?? 0);
  let keepFrom = from;
  // A moment that is still to come is taken at its word.
  const until = 'olderThan' in query && query.olderThan > now ? query.olderThan : now;
  const parts = new SegmentParts(disk, sound, until);
  const ages = new SegmentAges((index) => parts.endOf(index), until);
  for (const [index, segment] of segments.entries()) {
    const next = segments[index + 1]?.header.firstPosition;
    if (next === undefined || ('before' in query && next > query.before)) break;
    if ('olderThan' in query && (await ages.latestWrite(index)) >= query.olderThan) break;
    const part = await parts.at(index);
    names.push(segment.name);
    sum.bytes += (await disk.stat(segment.path)).size;
    sum.records += next - segment.header.firstPosition;
    sum.oldest = lesser(sum.oldest, part.oldest);
    sum.newest = greater(sum.newest, part.newest);
    for (const stream of part.seen) open.add(stream);
    for (const stream of part.ended) open.delete(stream);
    wholeLives += part.ended.size;
    keepFrom = position(next);
  }
  const living = names.length === 0 ? 0 : await countLiving(disk, root, open);
  const { checkpoints } = await listLog(disk, root);
  const oldest = checkpoints.find((checkpoint) => checkpoint.position >= keepFrom);
  const statesFrom = keepFrom === 0 ? keepFrom : oldest ? position(oldest.position) : null;
  return {
    ...{ keepFrom, statesFrom, from, segments: names, ...sum, wholeLives },
    clock: { now, newest: await newestTime(disk, root), ...parts.ahead(now) },
    lostBeginnings: living,
    lostBeginningsOfRemoved: open.size - living,
  };
}

interface SegmentPart {
  readonly oldest: UnixNanos | null;
  readonly newest: UnixNanos | null;
  /** The newest that is not still to come. */
  readonly newestPast: UnixNanos | null;
  /** Of the last record. */
  readonly last: UnixNanos | null;
  /** Streams of snapshots. A snapshot's number never comes again, so a stream ends once. */
  readonly seen: ReadonlySet<string>;
  readonly ended: ReadonlySet<string>;
}

/** Segments as they are read, each once. */
class SegmentParts {
  readonly #parts = new Map<number, Promise<SegmentPart>>();
  readonly #read: SegmentPart[] = [];

  /** `until`: what is later is still to come. */
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

  /** When a segment was last written to; where its own clock was ahead, when the next was begun. */
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
  query: { readonly first: number; readonly end: number; readonly until: UnixNanos },
): Promise<SegmentPart> {
  const { first, end, until } = query;
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

async function countLiving(disk: Disk, root: string, open: ReadonlySet<string>): Promise<number> {
  const { replay } = await replayRoot(disk, root);
  let living = 0;
  for (const stream of open) {
    const id = idOfStream(stream);
    if (id !== null && replay.forest.get(id) !== undefined) living += 1;
  }
  return living;
}

const lesser = (one: UnixNanos | null, other: UnixNanos | null): UnixNanos | null =>
  one === null || (other !== null && other < one) ? other : one;
const greater = (one: UnixNanos | null, other: UnixNanos | null): UnixNanos | null =>
  one === null || (other !== null && other > one) ? other : one;

export interface Compacted {
  /** The checkpoint that was made because none covered what was to go; null when one did. */
  readonly checkpoint: Position | null;
  readonly dropped: readonly string[];
}

/** Does what was planned. The root is held, so nobody appends meanwhile. */
export async function compact(held: HeldRoot, plan: CompactPlan): Promise<Compacted> {
  if (plan.segments.length === 0) return { checkpoint: null, dropped: [] };
  // One that a start has just used is sound, and its owner can read it.
  const isCovered = held.checkpoint !== null && held.checkpoint >= plan.keepFrom;
  const checkpoint = isCovered ? null : await held.takeCheckpoint();
  const dropped = await held.log.retire(plan.keepFrom);
  await held.record({
    type: 'SegmentsRetired',
    data: { before: plan.keepFrom, segments: [...dropped] },
  });
  return { checkpoint, dropped };
}
