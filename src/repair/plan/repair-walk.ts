/**
 * How far the records of a damaged log can be followed, and from where. A log can be followed from
 * its first record, or from any sound checkpoint: a checkpoint holds the state and the chain hash
 * at its position, so what stands before it is history that nothing depends on. The walk that
 * reaches furthest is the one a repair keeps; of two that reach equally far, the one that keeps
 * more history.
 */
import type { Disk, DiskFile } from '../../base/ports.js';
import type { UnixNanos } from '../../base/units.js';
import { logDirectory, withFile } from '../../log/files.js';
import { SEGMENT } from '../../log/format/layout.js';
import { SegmentScan, type ScanPlace, type ScanStop } from '../../log/format/scan.js';
import { bytesAfter, proofOfLoss } from '../../log/read/torn-tail.js';
import type { LogRecord } from '../../log/types.js';
import { countStreams } from '../../log/format/stream-versions.js';
import { EventNotUnderstood } from '../../machines/events/streams.js';
import { reasonOf } from '../../base/errors.js';
import { Replay } from '../../inspect/archive/replay.js';
import {
  looseRecords,
  NOTHING_BEFORE,
  type RepairEvidence,
  type SegmentFile,
  type TakenCheckpoint,
} from './repair-evidence.js';

/** Records of one file that follow one another and what comes before them. */
export interface Piece {
  readonly file: SegmentFile;
  readonly from: ScanPlace;
  /** Behind the last append that is whole. */
  readonly to: ScanPlace;
  /** Offset behind the last byte that is not zero. */
  readonly bytesEnd: number;
}

export interface EventFault {
  readonly position: number;
  readonly detail: string;
  readonly isNewer: boolean;
}

export interface Walk {
  /** The checkpoint it rests on; null when it begins with the first record. */
  readonly base: TakenCheckpoint | null;
  readonly pieces: readonly Piece[];
  readonly start: number;
  readonly end: { readonly position: number; readonly chain: Buffer };
  /** Something that was acknowledged stood behind the end, by what stands there. */
  readonly isLossy: boolean;
  /** The state at the end; of no use behind an event fault. */
  readonly replay: Replay;
  readonly streams: ReadonlyMap<string, number>;
  /** Chain hashes at the positions of checkpoints that were passed. */
  readonly chains: ReadonlyMap<number, Buffer>;
  readonly eventFault: EventFault | null;
  readonly lastTime: UnixNanos | null;
}

interface Begin {
  readonly file: SegmentFile | null;
  readonly place: ScanPlace;
  readonly base: TakenCheckpoint | null;
}

/** Where a file's records begin, as far as its name or its header tell. */
export const firstOf = (file: SegmentFile): number =>
  file.header?.firstPosition ?? file.namedPosition;

/** The files that hold this log's records, one for each first position. */
export function filesOfLog({ segments, uuid }: RepairEvidence): readonly SegmentFile[] {
  const byFirst = new Map<number, SegmentFile>();
  for (const file of segments) {
    if (!file.isFile || (file.header !== null && file.header.uuid !== uuid)) continue;
    const first = firstOf(file);
    const other = byFirst.get(first);
    if (other === undefined || isBetter(file, other)) byFirst.set(first, file);
  }
  return [...byFirst.values()].sort((a, b) => firstOf(a) - firstOf(b));
}

/** A header tells more than a name, and a right name more than a wrong one. */
function isBetter(one: SegmentFile, other: SegmentFile): boolean {
  const worth = (file: SegmentFile): number =>
    (file.header === null ? 0 : 2) + (file.namedPosition === firstOf(file) ? 1 : 0);
  return worth(one) > worth(other);
}

/** The walk that keeps most; null when no state can be known at all. */
export async function furthestWalk(
  disk: Disk,
  root: string,
  look: RepairEvidence,
  endAt = Infinity,
): Promise<Walk | null> {
  const walker = new Walker(disk, root, look, endAt);
  let best = await walker.fromTheBeginning();
  const checkpoints = look.checkpoints.filter((taken) => taken.position <= endAt);
  const newest = checkpoints.at(-1);
  if (newest === undefined || (best !== null && best.end.position >= newest.position)) return best;
  const found = await walker.fromCheckpoint(newest);
  const reached = best?.end.position ?? -1;
  best = found;
  for (const older of checkpoints.slice(0, -1)) {
    if (older.position <= reached || best.start <= older.position) continue;
    const walk = await walker.fromCheckpoint(older);
    if (walk.end.position === found.end.position && walk.start < best.start) best = walk;
  }
  return best;
}

class Walker {
  readonly #ours: readonly SegmentFile[];

  constructor(
    private readonly disk: Disk,
    private readonly root: string,
    private readonly look: RepairEvidence,
    private readonly endAt: number,
  ) {
    this.#ours = filesOfLog(look);
  }

  async fromTheBeginning(): Promise<Walk | null> {
    const file = this.#ours[0];
    if (file === undefined || firstOf(file) !== 0) return null;
    const place = { offset: SEGMENT.headerBytes, position: 0, chain: NOTHING_BEFORE };
    return this.#walk({ file, place, base: null }, this.endAt);
  }

  /** There is always one: the checkpoint alone is a state. */
  async fromCheckpoint(base: TakenCheckpoint): Promise<Walk> {
    return this.#walk(await this.#beginAt(base), this.endAt);
  }

  async #beginAt(base: TakenCheckpoint): Promise<Begin> {
    const index = this.#ours.findLastIndex((file) => firstOf(file) <= base.position);
    const file = this.#ours[index];
    if (file !== undefined && (await this.#leadsTo(file, base.position, base.chain))) {
      const first = await this.#earliest(index);
      return { file: first, place: startOf(first), base };
    }
    const place = { offset: SEGMENT.headerBytes, position: base.position, chain: base.chain };
    for (const candidate of this.#ours) {
      const loose = await looseRecords(this.disk, this.root, candidate, SEGMENT.headerBytes);
      for (const { offset, position } of loose) {
        if (position !== base.position) continue;
        const there = { ...place, offset };
        if (await this.#isNext(candidate, there)) return { file: candidate, place: there, base };
      }
    }
    return { file: null, place, base };
  }

  /** Whether a file's own header and records lead to a position with this chain hash. */
  async #leadsTo(file: SegmentFile, position: number, chain: Buffer): Promise<boolean> {
    if (file.header === null) return false;
    return this.#open(file, async (open) => {
      const scan = new SegmentScan(open, startOf(file), { from: Infinity, until: position });
      while ((await scan.next()) !== null);
      return scan.end.position === position && scan.end.chain.equals(chain);
    });
  }

  /** The first of the segments that lead up to this one without a gap. */
  async #earliest(index: number): Promise<SegmentFile> {
    let file = this.#ours[index] as SegmentFile;
    for (let before = index - 1; before >= 0; before--) {
      const earlier = this.#ours[before] as SegmentFile;
      const chain = file.header?.chain ?? null;
      if (chain === null || !(await this.#leadsTo(earlier, firstOf(file), chain))) break;
      file = earlier;
    }
    return file;
  }

  async #isNext(file: SegmentFile, place: ScanPlace): Promise<boolean> {
    return this.#open(file, async (open) => {
      const scan = new SegmentScan(open, place, { until: place.position + 1 });
      while ((await scan.next()) !== null);
      return scan.reached.position > place.position;
    });
  }

  #open<T>(file: SegmentFile, use: (open: DiskFile) => Promise<T>): Promise<T> {
    return withFile(this.disk, `${logDirectory(this.root)}/${file.name}`, 'read', use);
  }

  async #walk(begin: Begin, endAt: number): Promise<Walk> {
    const course = new Course(begin.base, (await begin.base?.restore()) ?? new Replay());
    course.passed(begin.place);
    const pieces: Piece[] = [];
    let end: ScanPlace = begin.place;
    let isLossy = false;
    for (let file = begin.file; file !== null;) {
      const from: ScanPlace =
        pieces.length === 0 ? begin.place : { ...end, offset: SEGMENT.headerBytes };
      const here = file;
      const taken = await this.#open(here, (open) => this.#follow(open, from, course, endAt));
      if (taken.cutAt !== null) return this.#walk(begin, taken.cutAt);
      pieces.push({ file: here, from, to: taken.to, bytesEnd: taken.bytesEnd });
      end = taken.to;
      isLossy = taken.isLossy;
      file = this.#ours.find((next) => next !== here && continues(next, end)) ?? null;
      if (file !== null && !(await this.#goesOn(file, end))) file = null;
    }
    return {
      base: begin.base,
      pieces,
      start: begin.place.position,
      end: { position: end.position, chain: end.chain },
      isLossy,
      replay: course.replay,
      streams: course.streams,
      chains: course.chains,
      eventFault: course.fault,
      lastTime: course.lastTime,
    };
  }

  /** A file without a header is taken for the next one when its first record proves it. */
  async #goesOn(file: SegmentFile, end: ScanPlace): Promise<boolean> {
    if (file.header !== null) return true;
    return this.#isNext(file, { ...end, offset: SEGMENT.headerBytes });
  }

  /** Follows one file as far as it goes. `cutAt`: the log must be walked again up to there. */
  async #follow(
    open: DiskFile,
    from: ScanPlace,
    course: Course,
    endAt: number,
  ): Promise<{ to: ScanPlace; bytesEnd: number; isLossy: boolean; cutAt: number | null }> {
    let place = from;
    let stop: ScanStop = { kind: 'nothing' };
    let reached: ScanPlace;
    for (let asked = from.position; ;) {
      const wanted = this.look.checkpoints.find((taken) => taken.position > asked);
      const until = Math.min(wanted?.position ?? Infinity, endAt);
      const scan = new SegmentScan(open, place, { until });
      for (let batch = await scan.next(); batch !== null; batch = await scan.next()) {
        const wrong = course.take(batch);
        if (wrong === null) continue;
        return { to: from, bytesEnd: 0, isLossy: true, cutAt: await unitBefore(open, from, wrong) };
      }
      place = scan.end;
      reached = scan.reached;
      stop = scan.stop ?? stop;
      course.passed(place);
      asked = until;
      if (stop.kind !== 'until' || until >= endAt) break;
    }
    const behind = await bytesAfter(open, reached.offset, reached.position);
    const isLossy = stop.kind === 'contradiction' || proofOfLoss(behind, reached.position) !== null;
    return { to: place, bytesEnd: Math.max(behind.end, reached.offset), isLossy, cutAt: null };
  }
}

const startOf = (file: SegmentFile): ScanPlace => ({
  offset: SEGMENT.headerBytes,
  position: firstOf(file),
  chain: file.header?.chain ?? NOTHING_BEFORE,
});

function continues(next: SegmentFile, end: ScanPlace): boolean {
  if (firstOf(next) !== end.position) return false;
  return next.header === null || next.header.chain.equals(end.chain);
}

/** The end of the last append that is whole before a position. */
async function unitBefore(open: DiskFile, from: ScanPlace, position: number): Promise<number> {
  const scan = new SegmentScan(open, from, { from: Infinity, until: position });
  while ((await scan.next()) !== null);
  return scan.end.position;
}

/** What is known on the way: versions, states, chain hashes. */
class Course {
  readonly streams: Map<string, number>;
  readonly chains = new Map<number, Buffer>();
  fault: EventFault | null = null;
  lastTime: UnixNanos | null = null;
  readonly #base: TakenCheckpoint | null;

  constructor(
    base: TakenCheckpoint | null,
    readonly replay: Replay,
  ) {
    this.#base = base;
    this.streams = new Map(base?.streams ?? []);
    if (base !== null) this.chains.set(base.position, base.chain);
  }

  passed({ position, chain }: ScanPlace): void {
    this.chains.set(position, Buffer.from(chain));
  }

  /** Answers the position of a record whose version does not fit, or null. */
  take(batch: readonly LogRecord[]): number | null {
    const from = this.#base?.position ?? 0;
    const wanted = batch.filter(({ position }) => position >= from);
    const wrong = countStreams(this.streams, wanted, this.#base?.streamsPosition ?? 0);
    if (wrong !== null) return wrong.record.position;
    for (const record of wanted) this.#apply(record);
    return null;
  }

  #apply(record: LogRecord): void {
    this.lastTime = record.time;
    if (this.fault !== null) return;
    try {
      this.replay.apply(record);
    } catch (thrown) {
      const isNewer = thrown instanceof EventNotUnderstood && thrown.isNewer;
      this.fault = { position: record.position, detail: reasonOf(thrown), isNewer };
    }
  }
}
