/**
 * Follows the records of a damaged log as far as possible. A walk begins at the first record or at
 * a sound checkpoint: a checkpoint has the state and the chain hash at its position, so nothing
 * depends on the records before it. A repair keeps the walk that reaches furthest, and of two equal
 * ones the walk with more history.
 */
import type { Disk, DiskFile } from '../../base/ports.js';
import type { UnixNanos } from '../../base/units.js';
import { logDirectory, withFile } from '../../log/files.js';
import { SEGMENT } from '../../log/format/layout.js';
import { SegmentScan, type ScanPlace, type ScanStop } from '../../log/read/scan.js';
import { bytesAfter, proofOfLoss } from '../../log/read/torn-tail.js';
import type { LogRecord } from '../../log/types.js';
import { countStreams } from '../../log/format/stream-versions.js';
import { EventNotUnderstood } from '../../machines/events/streams.js';
import { reasonOf } from '../../base/errors.js';
import { Replay } from '../../inspect/archive/replay.js';
import {
  looseRecords,
  CHAIN_START,
  type RepairEvidence,
  type SegmentFile,
  type SoundCheckpoint,
} from './repair-evidence.js';

/** Consecutive records of one file that continue the walk. */
export interface Piece {
  readonly file: SegmentFile;
  readonly from: ScanPlace;
  /** After the last whole append. */
  readonly to: ScanPlace;
  /** Offset after the last nonzero byte. */
  readonly bytesEnd: number;
}

export interface EventFault {
  readonly position: number;
  readonly detail: string;
  readonly isNewer: boolean;
}

export interface Walk {
  /** The checkpoint it begins with; null if it begins with the first record. */
  readonly base: SoundCheckpoint | null;
  readonly pieces: readonly Piece[];
  readonly start: number;
  readonly end: { readonly position: number; readonly chain: Buffer };
  /** The bytes after the end prove that acknowledged records followed. */
  readonly isLossy: boolean;
  /** The state at the end; invalid after an event fault. */
  readonly replay: Replay;
  readonly streams: ReadonlyMap<string, number>;
  /** Chain hashes at the positions of the checkpoints on the walk. */
  readonly chains: ReadonlyMap<number, Buffer>;
  readonly eventFault: EventFault | null;
  readonly lastTime: UnixNanos | null;
}

interface WalkStart {
  readonly file: SegmentFile | null;
  readonly place: ScanPlace;
  readonly base: SoundCheckpoint | null;
}

/** First position of a file, by its header or else by its name. */
export const firstOf = (file: SegmentFile): number =>
  file.header?.firstPosition ?? file.namedPosition;

/** The segments of this log, one per first position. */
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

/** Prefers a readable header, then a correct name. */
function isBetter(one: SegmentFile, other: SegmentFile): boolean {
  const score = (file: SegmentFile): number =>
    (file.header === null ? 0 : 2) + (file.namedPosition === firstOf(file) ? 1 : 0);
  return score(one) > score(other);
}

/** The best walk; null if no state can be derived. */
export async function furthestWalk(
  disk: Disk,
  root: string,
  evidence: RepairEvidence,
  endAt = Infinity,
): Promise<Walk | null> {
  const walker = new Walker(disk, root, evidence, endAt);
  let best = await walker.fromTheBeginning();
  const checkpoints = evidence.checkpoints.filter((checkpoint) => checkpoint.position <= endAt);
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
    private readonly evidence: RepairEvidence,
    private readonly endAt: number,
  ) {
    this.#ours = filesOfLog(evidence);
  }

  async fromTheBeginning(): Promise<Walk | null> {
    const file = this.#ours[0];
    if (file === undefined || firstOf(file) !== 0) return null;
    const place = { offset: SEGMENT.headerBytes, position: 0, chain: CHAIN_START };
    return this.#walk({ file, place, base: null }, this.endAt);
  }

  /** Never null: the checkpoint alone is a state. */
  async fromCheckpoint(base: SoundCheckpoint): Promise<Walk> {
    return this.#walk(await this.#beginAt(base), this.endAt);
  }

  async #beginAt(base: SoundCheckpoint): Promise<WalkStart> {
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
        const start = { ...place, offset };
        if (await this.#isNext(candidate, start)) return { file: candidate, place: start, base };
      }
    }
    return { file: null, place, base };
  }

  /** Whether the header and records of a file lead to a position with this chain hash. */
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

  async #walk(start: WalkStart, endAt: number): Promise<Walk> {
    const progress = new Progress(start.base, (await start.base?.restore()) ?? new Replay());
    progress.passed(start.place);
    const pieces: Piece[] = [];
    let end: ScanPlace = start.place;
    let isLossy = false;
    for (let file = start.file; file !== null;) {
      const from: ScanPlace =
        pieces.length === 0 ? start.place : { ...end, offset: SEGMENT.headerBytes };
      const current = file;
      const followed = await this.#open(current, (open) =>
        this.#follow(open, from, progress, endAt),
      );
      if (followed.cutAt !== null) return this.#walk(start, followed.cutAt);
      pieces.push({ file: current, from, to: followed.to, bytesEnd: followed.bytesEnd });
      end = followed.to;
      isLossy = followed.isLossy;
      file = this.#ours.find((next) => next !== current && continues(next, end)) ?? null;
      if (file !== null && !(await this.#provesNext(file, end))) file = null;
    }
    return {
      base: start.base,
      pieces,
      start: start.place.position,
      end: { position: end.position, chain: end.chain },
      isLossy,
      replay: progress.replay,
      streams: progress.streams,
      chains: progress.chains,
      eventFault: progress.fault,
      lastTime: progress.lastTime,
    };
  }

  /** A file without a readable header is the next one only if its first record proves it. */
  async #provesNext(file: SegmentFile, end: ScanPlace): Promise<boolean> {
    if (file.header !== null) return true;
    return this.#isNext(file, { ...end, offset: SEGMENT.headerBytes });
  }

  /** Follows one file to its end. If `cutAt` is set, the walk must be repeated up to there. */
  async #follow(
    open: DiskFile,
    from: ScanPlace,
    progress: Progress,
    endAt: number,
  ): Promise<{ to: ScanPlace; bytesEnd: number; isLossy: boolean; cutAt: number | null }> {
    let place = from;
    let stop: ScanStop = { kind: 'nothing' };
    let reached: ScanPlace;
    for (let scannedTo = from.position; ;) {
      const next = this.evidence.checkpoints.find(({ position }) => position > scannedTo);
      const until = Math.min(next?.position ?? Infinity, endAt);
      const scan = new SegmentScan(open, place, { until });
      for (let batch = await scan.next(); batch !== null; batch = await scan.next()) {
        const wrong = progress.apply(batch);
        if (wrong === null) continue;
        return { to: from, bytesEnd: 0, isLossy: true, cutAt: await unitBefore(open, from, wrong) };
      }
      place = scan.end;
      reached = scan.reached;
      stop = scan.stop ?? stop;
      progress.passed(place);
      scannedTo = until;
      if (stop.kind !== 'until' || until >= endAt) break;
    }
    const rest = await bytesAfter(open, reached.offset, reached.position);
    const isLossy = stop.kind === 'contradiction' || proofOfLoss(rest, reached.position) !== null;
    return { to: place, bytesEnd: Math.max(rest.end, reached.offset), isLossy, cutAt: null };
  }
}

const startOf = (file: SegmentFile): ScanPlace => ({
  offset: SEGMENT.headerBytes,
  position: firstOf(file),
  chain: file.header?.chain ?? CHAIN_START,
});

function continues(next: SegmentFile, end: ScanPlace): boolean {
  if (firstOf(next) !== end.position) return false;
  return next.header === null || next.header.chain.equals(end.chain);
}

/** The end of the last whole append before a position. */
async function unitBefore(open: DiskFile, from: ScanPlace, position: number): Promise<number> {
  const scan = new SegmentScan(open, from, { from: Infinity, until: position });
  while ((await scan.next()) !== null);
  return scan.end.position;
}

/** What the walk has derived so far: stream versions, state, chain hashes. */
class Progress {
  readonly streams: Map<string, number>;
  readonly chains = new Map<number, Buffer>();
  fault: EventFault | null = null;
  lastTime: UnixNanos | null = null;
  readonly #base: SoundCheckpoint | null;

  constructor(
    base: SoundCheckpoint | null,
    readonly replay: Replay,
  ) {
    this.#base = base;
    this.streams = new Map(base?.streams ?? []);
    if (base !== null) this.chains.set(base.position, base.chain);
  }

  passed({ position, chain }: ScanPlace): void {
    this.chains.set(position, Buffer.from(chain));
  }

  /** Returns the position of a record with a wrong stream version, or null. */
  apply(batch: readonly LogRecord[]): number | null {
    const from = this.#base?.position ?? 0;
    const records = batch.filter(({ position }) => position >= from);
    const wrong = countStreams(this.streams, records, this.#base?.streamsPosition ?? 0);
    if (wrong !== null) return wrong.record.position;
    for (const record of records) this.#apply(record);
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
