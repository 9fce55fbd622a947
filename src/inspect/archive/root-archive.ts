/**
 * The archive of a root's files: read-only and without a lock, so it works while a daemon runs and
 * on a copy. Uses segment indexes and checkpoints where they exist, and reads segments otherwise.
 */
import type { Disk } from '../../base/ports.js';
import { position, type Position, type SnapshotId, type UnixNanos } from '../../base/units.js';
import type { LogDamaged } from '../../log/errors.js';
import { readIdentityIfSound } from '../../log/root/identity.js';
import { IndexedLog, type StreamsQuery } from '../../log/index/indexed-log.js';
import { followLog, readLogBatches } from '../../log/reader.js';
import type { LogRecord } from '../../log/types.js';
import { streamOf } from '../../machines/events/streams.js';
import type { Archive, ArchiveRange, LifeRange, LogBounds, PastState } from './archive.js';
import { pastState } from './past-state.js';
import { bySnapshot } from './subject.js';
import { findChildren, findText } from './text-search.js';

export interface RootArchiveOptions {
  /** For a single query: lists the segments only once. */
  readonly asksOnce?: boolean;
  /** Called once if an index is unusable. The results are the same, but slower. */
  readonly onNotice?: (text: string) => void;
  /** Called once for damage near the end, where the results then end. May throw. */
  readonly onDamage?: (damage: LogDamaged) => void;
}

export class RootArchive implements Archive {
  readonly #disk: Disk;
  readonly #root: string;
  readonly #log: IndexedLog;

  constructor(disk: Disk, root: string, options: RootArchiveOptions = {}) {
    this.#disk = disk;
    this.#root = root;
    this.#log = new IndexedLog({ disk, root, ...options });
  }

  bounds(): Promise<LogBounds> {
    return this.#log.acrossRetiring(async () => {
      const identity = await readIdentityIfSound(this.#disk, this.#root);
      const segments = await this.#log.segments();
      return {
        uuid: identity?.uuid ?? null,
        epoch: identity?.epoch ?? null,
        first: position(segments[0]?.header.firstPosition ?? 0),
        next: await this.#log.next(segments),
      };
    });
  }

  async *read(range: ArchiveRange = {}): AsyncGenerator<readonly LogRecord[], void, undefined> {
    const { stream, from, to, reverse } = range;
    if (stream === undefined) {
      yield* readLogBatches({ root: this.#root, disk: this.#disk, ...range });
      return;
    }
    const records = await this.#streams(new Set([stream]), { from, to });
    if (records.length > 0) yield reverse === true ? records.reverse() : records;
  }

  async *follow(
    from: Position,
    signal: AbortSignal,
  ): AsyncGenerator<readonly LogRecord[], void, undefined> {
    const query = { root: this.#root, disk: this.#disk, from, signal };
    for await (const record of followLog(query)) yield [record];
  }

  stateAt(at: Position): Promise<PastState> {
    return this.#log.acrossRetiring(() => pastState(this.#disk, this.#root, this.#log, at));
  }

  historyOf(id: SnapshotId, range: LifeRange = {}): Promise<readonly LogRecord[]> {
    return this.#lives([id], range);
  }

  async historiesOf(
    ids: readonly SnapshotId[],
    range: LifeRange = {},
  ): Promise<ReadonlyMap<SnapshotId, readonly LogRecord[]>> {
    return bySnapshot(await this.#lives(ids, range));
  }

  /** Ids are never reused, so a stream ends at most once. */
  #lives(ids: readonly SnapshotId[], range: LifeRange): Promise<readonly LogRecord[]> {
    return this.#streams(new Set(ids.map(streamOf)), { ...range, endOnce: true });
  }

  #streams(streams: ReadonlySet<string>, query: StreamsQuery): Promise<LogRecord[]> {
    return this.#log.acrossRetiring(() => this.#log.streams(streams, query));
  }

  childrenOf(id: SnapshotId, range: LifeRange): Promise<readonly SnapshotId[]> {
    return this.#log.acrossRetiring(() => findChildren(this.#disk, this.#log, id, range));
  }

  positionAt(time: UnixNanos): Promise<Position> {
    return this.#log.acrossRetiring(() => this.#positionAt(time));
  }

  /** Searches backwards for the last segment that has a record with this time or an earlier one. */
  async #positionAt(time: UnixNanos): Promise<Position> {
    const segments = await this.#log.segments();
    for (let at = segments.length - 1; at >= 0; at -= 1) {
      const segment = segments[at];
      if (segment === undefined) continue;
      const found = await this.#log.within(segment, segments[at + 1] ?? null, async (open) => {
        const block = open.index.lastBlockNotAfter(time);
        if (block === null) return -1;
        let last = -1;
        await open.walk(block, (record) => {
          if (record.time <= time) last = record.position;
          // All records after the block are later.
          return record.position < block.position + block.records - 1;
        });
        return last;
      });
      if (found !== -1) return position(found + 1);
    }
    return position(segments[0]?.header.firstPosition ?? 0);
  }

  noneBefore(time: UnixNanos): Promise<Position> {
    return this.#log.noneBefore(time);
  }

  find(text: string): Promise<readonly SnapshotId[]> {
    return this.#log.acrossRetiring(() => findText(this.#disk, this.#log, text));
  }
}
