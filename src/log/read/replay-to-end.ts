/**
 * Reads a log to its end: the newest usable checkpoint, then all records after it, checked. Decides
 * whether the end is clean, torn or damaged. Writes nothing.
 */
import type { Disk, DiskFile } from '../../base/ports.js';
import { position, type Position } from '../../base/units.js';
import {
  readCheckpoint,
  type CheckpointEnvelope,
  type CheckpointText,
} from '../checkpoint/checkpoint.js';
import { newestCheckpoint, type IgnoredCheckpoint } from '../checkpoint/newest-checkpoint.js';
import { RootRefused, type LogDamaged } from '../errors.js';
import { withFile } from '../files.js';
import { countStreams } from '../format/stream-versions.js';
import { damageAt, judgeNewestEnd, requireGoodEnd } from './log-end.js';
import { LOG_START, placeAt } from './place-at.js';
import { SegmentScan, startOf, whyStopped, type ScanPlace } from './scan.js';
import { listSoundSegments, type ListedSegment, type ExpectedLog } from './segment-list.js';
import type { LogRecord, RecordOrigin } from '../types.js';

/** Passes the state on to the owner. If a callback throws, the log is not opened and not changed. */
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
  /** Offset after the last nonzero byte. */
  readonly end: number;
}

/** The end of a sound log, where a writer continues. */
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
  #ignored: readonly IgnoredCheckpoint[] = [];
  /** The checkpoint in use, and where the records after it begin. */
  #begin: { readonly envelope: CheckpointEnvelope; readonly place: ScanPlace } | null = null;
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
    const first = this.segments[0]?.header.firstPosition ?? 0;
    const { chosen, ignored } = await newestCheckpoint({
      ...{ disk: this.disk, root: this.root, uuid, range: { first }, read: readCheckpoint },
      take: async ({ name, envelope, text }) => {
        const place = await this.#requirePlace(name, envelope);
        await this.callbacks.onCheckpoint(text, position(envelope.position));
        return { envelope, place };
      },
    });
    this.#ignored = ignored;
    this.#begin = chosen;
    this.#streams = new Map(chosen?.envelope.streams);
    if (chosen === null && first > 0) {
      throw new RootRefused(
        this.root,
        'no-usable-checkpoint',
        `the log begins at position ${first}, and no checkpoint can be used to start there` +
          `${ignored.map(({ name, reason }) => `; ${name}: ${reason}`).join('')}. ` +
          'Bring a checkpoint back from a backup, or see docs/recovery.md',
      );
    }
  }

  /**
   * The place of a checkpoint's position. A checkpoint is only written of durable records. If the log
   * does not have them, or has others, acknowledged records were lost or changed.
   */
  async #requirePlace(
    name: string,
    { position: at, chain }: CheckpointEnvelope,
  ): Promise<ScanPlace> {
    const lost = (found: string): LogDamaged =>
      damageAt({ name }, { offset: 0, position: at }, found);
    const search = await placeAt(this.disk, this.segments, at);
    if (search.kind === 'before-log') {
      throw lost(
        'a checkpoint was taken here, but the segment with the record before it is not there',
      );
    }
    if (search.kind === 'unreached') {
      const { stop, reached } = search.scan;
      throw damageAt(
        this.segments[search.index] ?? { name },
        reached,
        `${whyStopped(stop) ?? 'the records end here'}, but the checkpoint ` +
          `${name} was taken when the log reached position ${at}`,
      );
    }
    if (search.place.chain.equals(chain)) return search.place;
    throw lost('the checkpoint was taken of other records than the log now holds');
  }

  async run(): Promise<LogEnd> {
    const from = this.#begin?.place.position ?? 0;
    const begin = this.segments.findLastIndex(({ header }) => header.firstPosition <= from);
    let place = LOG_START;
    for (const [at, segment] of this.segments.entries()) {
      if (at < begin) continue;
      const start = at === begin && this.#begin ? this.#begin.place : startOf(segment);
      place = await this.#replaySegment(segment, this.segments[at + 1], start);
    }
    const last = this.segments.at(-1);
    return {
      segments: this.segments,
      last: last ? { segment: last, groupStart: this.#groupStart } : null,
      place,
      streams: this.#streams,
      torn: this.#torn,
      checkpoint: this.#begin ? position(this.#begin.place.position) : null,
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
      this.#groupStart = scan.groupStart;
      requireGoodEnd(segment, next, scan);
      if (!next) this.#torn = await this.#tornTail(file, segment, scan);
      return scan.end;
    });
  }

  /** Fails with LogDamaged when acknowledged records are provably lost. */
  async #tornTail(
    file: DiskFile,
    segment: ListedSegment,
    scan: SegmentScan,
  ): Promise<TornTail | null> {
    const { kind, found, bytesEnd } = await judgeNewestEnd(file, scan);
    if (kind === 'damaged') throw damageAt(segment, scan.reached, found);
    const { offset, position: at } = scan.end;
    return kind === 'clean' ? null : { segment, offset, position: at, end: bytesEnd };
  }

  async #handOver(
    segment: ListedSegment,
    batch: readonly LogRecord[],
    origin: RecordOrigin,
  ): Promise<void> {
    const wrong = countStreams(this.#streams, batch, this.#begin?.envelope.streamsPosition ?? 0);
    if (wrong) {
      const { record, expected } = wrong;
      const search = await placeAt(this.disk, [segment], record.position);
      const { offset } = search.kind === 'found' ? search.place : startOf(segment);
      throw damageAt(
        segment,
        { offset, position: record.position },
        `stream ${record.stream} goes on with version ${record.streamVersion} instead of ${expected}`,
      );
    }
    this.#replayed += batch.length;
    this.callbacks.onRecords(batch, origin);
  }
}
