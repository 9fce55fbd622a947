/**
 * Reads a log to its end: newest usable checkpoint, then the records behind it, all checked.
 * Decides whether the end is clean, torn or damaged. Writes nothing: whatever is found, the
 * files are as they were when this returns or throws.
 */
import { assert } from '../../base/assert.js';
import type { Disk } from '../../base/ports.js';
import { position, type Position } from '../../base/units.js';
import {
  readCheckpoint,
  type CheckpointEnvelope,
  type CheckpointText,
} from '../checkpoint/checkpoint.js';
import { CheckpointUnusable, LogDamaged, RootRefused, type LogPlace } from '../errors.js';
import { listLog, logDirectory, withFile } from '../files.js';
import { CHAIN_BYTES } from '../format/layout.js';
import { SegmentScan, type ScanPlace, type ScanStop } from '../format/scan.js';
import { listSoundSegments, type ListedSegment, type ExpectedLog } from './segment-list.js';
import { bytesAfter, proofOfLoss } from './torn-tail.js';
import { countStreams } from '../format/stream-versions.js';
import type { LogRecord, RecordOrigin } from '../types.js';

/** What replay tells its owner. A callback that throws ends the open; nothing is changed then. */
export interface ReplayCallbacks {
  /**
   * Restores the projection from a checkpoint: the lines that were written, which the owner may
   * keep. Called before any record. May throw CheckpointUnusable.
   */
  onCheckpoint(text: CheckpointText, at: Position): Promise<void>;
  /** Records in order, in batches, checked. */
  onRecords(batch: readonly LogRecord[], origin: RecordOrigin): void;
}

export interface TornTail {
  readonly segment: ListedSegment;
  /** Everything from here on is cut. */
  readonly offset: number;
  readonly position: number;
  /** Offset behind the last byte that is not zero. */
  readonly end: number;
}

export interface IgnoredCheckpoint {
  readonly name: string;
  readonly reason: string;
}

/** The end of a sound log, where a writer goes on. */
export interface LogEnd {
  readonly segments: readonly ListedSegment[];
  /** Null when there is no segment yet. `offset` is in the last segment. */
  readonly last: { readonly segment: ListedSegment; readonly groupStart: number } | null;
  readonly place: ScanPlace;
  readonly streams: Map<string, number>;
  readonly torn: TornTail | null;
  readonly checkpoint: Position | null;
  readonly ignored: readonly IgnoredCheckpoint[];
  readonly recordsReplayed: number;
}

const NOTHING_BEFORE = Buffer.alloc(CHAIN_BYTES);

/**
 * Replays a log.
 *
 * Assumes  the caller holds the lock
 * Fails    LogDamaged, LogTooNew, RootRefused when no checkpoint covers retired segments,
 *          whatever a callback throws
 */
export async function replayLog(
  disk: Disk,
  root: string,
  expected: ExpectedLog,
  callbacks: ReplayCallbacks,
): Promise<LogEnd> {
  const { segments } = await listSoundSegments(disk, root, expected);
  const replay = new Replay(disk, root, segments, callbacks);
  await replay.restore(expected.uuid);
  return replay.run();
}

class Replay {
  readonly #ignored: IgnoredCheckpoint[] = [];
  #checkpoint: CheckpointEnvelope | null = null;
  /** Where the records behind the checkpoint begin. */
  #start: ScanPlace | null = null;
  #streams = new Map<string, number>();
  #replayed = 0;
  #torn: TornTail | null = null;
  #groupStart = 0;

  constructor(
    private readonly disk: Disk,
    private readonly root: string,
    private readonly segments: readonly ListedSegment[],
    private readonly callbacks: ReplayCallbacks,
  ) {}

  /** Uses the newest checkpoint that is sound and that the owner takes. */
  async restore(uuid: string): Promise<void> {
    const { checkpoints } = await listLog(this.disk, this.root);
    const first = this.segments[0]?.header.firstPosition ?? 0;
    for (const { name, position: at } of checkpoints.toReversed()) {
      const path = `${logDirectory(this.root)}/${name}`;
      const reading = await readCheckpoint(this.disk, path, uuid);
      if (reading.kind === 'unusable') {
        this.#ignored.push({ name, reason: reading.reason });
      } else if (reading.envelope.position !== at) {
        this.#ignored.push({ name, reason: `it is of position ${reading.envelope.position}` });
      } else if (at < first) {
        this.#ignored.push({ name, reason: `records behind it were retired, up to ${first}` });
      } else {
        await this.#checkAgainstLog(name, reading.envelope);
        if (await this.#offer(name, reading)) return;
      }
    }
    if (first > 0) {
      throw new RootRefused(
        this.root,
        'no-usable-checkpoint',
        `the log begins at position ${first}, and no checkpoint can be used to start there` +
          `${this.#ignored.map(({ name, reason }) => `; ${name}: ${reason}`).join('')}. ` +
          'Bring a checkpoint back from a backup, or see docs/recovery.md',
      );
    }
  }

  /**
   * A sound checkpoint is only written of durable records. If the log does not have them, or has
   * others, then acknowledged records were lost or changed.
   */
  async #checkAgainstLog(name: string, envelope: CheckpointEnvelope): Promise<void> {
    const at = position(envelope.position);
    const found = await this.#placeAt(name, envelope.position);
    if (!found.chain.equals(envelope.chain)) {
      throw new LogDamaged(
        { segment: name, offset: 0, position: at },
        'the checkpoint was taken of other records than the log now holds',
      );
    }
    this.#start = found;
  }

  /** The place in its segment where the record at a checkpoint's position stands, or will. */
  async #placeAt(name: string, at: number): Promise<ScanPlace> {
    const segment = this.segments.findLast(({ header }) => header.firstPosition <= at);
    if (!segment && at === 0) return { offset: 0, position: 0, chain: NOTHING_BEFORE };
    if (!segment) {
      throw new LogDamaged(
        { segment: name, offset: 0, position: position(at) },
        'a checkpoint was taken here, but the segment with the record before it is not there',
      );
    }
    const { reached, stop } = await scanUpTo(this.disk, segment, at);
    if (reached.position === at) return reached;
    throw new LogDamaged(
      { segment: segment.name, offset: reached.offset, position: position(reached.position) },
      `${stop && 'why' in stop ? stop.why : 'the records end here'}, but the checkpoint ` +
        `${name} was taken when the log reached position ${at}`,
    );
  }

  async #offer(
    name: string,
    { envelope, text }: { readonly envelope: CheckpointEnvelope; readonly text: CheckpointText },
  ): Promise<boolean> {
    try {
      await this.callbacks.onCheckpoint(text, position(envelope.position));
    } catch (thrown) {
      if (!(thrown instanceof CheckpointUnusable)) throw thrown;
      this.#ignored.push({ name, reason: thrown.message });
      return false;
    }
    this.#checkpoint = envelope;
    this.#streams = new Map(envelope.streams);
    return true;
  }

  async run(): Promise<LogEnd> {
    const from = this.#checkpoint?.position ?? 0;
    const begin = this.segments.findLastIndex(({ header }) => header.firstPosition <= from);
    let place: ScanPlace = { offset: 0, position: 0, chain: NOTHING_BEFORE };
    for (let index = Math.max(begin, 0); index < this.segments.length; index++) {
      const segment = this.segments[index];
      assert(segment !== undefined, 'the index is within the list');
      const start = index === begin && this.#checkpoint ? this.#start : null;
      place = await this.#replaySegment(
        segment,
        this.segments[index + 1],
        start ?? startOf(segment),
      );
    }
    const last = this.segments.at(-1);
    return {
      segments: this.segments,
      last: last ? { segment: last, groupStart: this.#groupStart } : null,
      place,
      streams: this.#streams,
      torn: this.#torn,
      checkpoint: this.#checkpoint ? position(this.#checkpoint.position) : null,
      ignored: this.#ignored,
      recordsReplayed: this.#replayed,
    };
  }

  async #replaySegment(
    segment: ListedSegment,
    next: ListedSegment | undefined,
    start: ScanPlace,
  ): Promise<ScanPlace> {
    return withFile(this.disk, segment.path, 'read', async (file) => {
      const scan = new SegmentScan(file, start);
      const origin: RecordOrigin = {
        segment: segment.name,
        writtenBy: segment.header.writtenBy,
      };
      for (let batch = await scan.next(); batch !== null; batch = await scan.next()) {
        if (batch.length > 0) await this.#handOver(segment, batch, origin);
      }
      assert(scan.stop !== null, 'a scan that ends says why');
      this.#groupStart = scan.groupStart;
      if (next) checkSealed(segment, next, scan, scan.stop);
      else {
        const behind = await bytesAfter(file, scan.reached.offset, scan.reached.position);
        this.#torn = judgeTail(segment, scan, scan.stop, behind);
      }
      return scan.end;
    });
  }

  async #handOver(
    segment: ListedSegment,
    batch: readonly LogRecord[],
    origin: RecordOrigin,
  ): Promise<void> {
    const wrong = countStreams(this.#streams, batch, this.#checkpoint?.streamsPosition ?? 0);
    if (wrong) {
      const { record, expected } = wrong;
      throw new LogDamaged(
        await placeOf(this.disk, segment, record.position),
        `stream ${record.stream} goes on with version ${record.streamVersion} instead of ${expected}`,
      );
    }
    this.#replayed += batch.length;
    this.callbacks.onRecords(batch, origin);
  }
}

async function placeOf(disk: Disk, segment: ListedSegment, at: Position): Promise<LogPlace> {
  const { reached } = await scanUpTo(disk, segment, at);
  return { segment: segment.name, offset: reached.offset, position: at };
}

/** Checks a segment up to a position and keeps no record; `reached` tells how far it came. */
export function scanUpTo(disk: Disk, segment: ListedSegment, at: number): Promise<SegmentScan> {
  return withFile(disk, segment.path, 'read', async (file) => {
    const scan = new SegmentScan(file, startOf(segment), { from: Infinity, until: at });
    while ((await scan.next()) !== null);
    return scan;
  });
}

/** Where the records of a segment begin. */
export function startOf(segment: ListedSegment): ScanPlace {
  const { header } = segment;
  return { offset: header.headerBytes, position: header.firstPosition, chain: header.chain };
}

/** A segment that has a successor must lead exactly up to it. */
export function checkSealed(
  segment: ListedSegment,
  next: ListedSegment,
  scan: SegmentScan,
  stop: ScanStop,
): void {
  const { reached } = scan;
  const place: LogPlace = {
    segment: segment.name,
    offset: reached.offset,
    position: position(reached.position),
  };
  if (reached.position !== next.header.firstPosition) {
    const what = 'why' in stop ? stop.why : 'the records end here';
    throw new LogDamaged(place, `${what}; the next segment begins at ${next.header.firstPosition}`);
  }
  if (scan.end.position !== reached.position) {
    throw new LogDamaged(place, 'the last append of a sealed segment is not whole');
  }
  if (!reached.chain.equals(next.header.chain)) {
    throw new LogDamaged(
      place,
      `the next segment, ${next.name}, continues another hash chain than this one ends with`,
    );
  }
}

/**
 * Decides about the end of the newest segment: clean (null), torn, or damaged.
 *
 * Fails  LogDamaged when acknowledged records are provably lost
 */
function judgeTail(
  segment: ListedSegment,
  scan: SegmentScan,
  stop: ScanStop,
  behind: Awaited<ReturnType<typeof bytesAfter>>,
): TornTail | null {
  const { reached, end } = scan;
  const place = {
    segment: segment.name,
    offset: reached.offset,
    position: position(reached.position),
  };
  if (stop.kind === 'contradiction') throw new LogDamaged(place, stop.why);
  const proof = proofOfLoss(behind, reached.position);
  if (proof) {
    throw new LogDamaged(
      place,
      `${'why' in stop ? stop.why : 'nothing stands here'}, but behind it, at offset ` +
        `${proof.offset}, stands record ${proof.position}, which was begun after this place was durable`,
    );
  }
  const tailEnd = Math.max(behind.end, reached.offset);
  if (tailEnd === end.offset) return null;
  return { segment, offset: end.offset, position: end.position, end: tailEnd };
}
