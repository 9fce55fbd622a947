/** The archive of a root's files: read-only, without a lock, beside a daemon or of a copy. */
import type { Disk } from '../base/ports.js';
import {
  position,
  snapshotId,
  type Position,
  type SnapshotId,
  type UnixNanos,
} from '../base/units.js';
import { listLog } from '../log/files.js';
import { readIdentityIfSound } from '../log/identity.js';
import { followLog, readLogBatches } from '../log/reader.js';
import type { LogRecord } from '../log/types.js';
import { idOfStream, streamOf } from '../machines/streams.js';
import {
  MomentUnknown,
  type Archive,
  type ArchiveRange,
  type LogBounds,
  type PastState,
} from './archive.js';
import { bearsText } from './bears-text.js';
import { replayRoot } from './replay-root.js';

export class RootArchive implements Archive {
  readonly #disk: Disk;
  readonly #root: string;

  constructor(disk: Disk, root: string) {
    this.#disk = disk;
    this.#root = root;
  }

  async bounds(): Promise<LogBounds> {
    const identity = await readIdentityIfSound(this.#disk, this.#root);
    const { segments } = await listLog(this.#disk, this.#root);
    return {
      uuid: identity?.uuid ?? null,
      epoch: identity?.epoch ?? null,
      first: position(segments[0]?.position ?? 0),
      next: await this.#next(),
    };
  }

  read(range: ArchiveRange = {}): AsyncGenerator<readonly LogRecord[], void, undefined> {
    return readLogBatches({ root: this.#root, disk: this.#disk, ...range });
  }

  async *follow(
    from: Position,
    signal: AbortSignal,
  ): AsyncGenerator<readonly LogRecord[], void, undefined> {
    const wish = { root: this.#root, disk: this.#disk, from, signal };
    for await (const record of followLog(wish)) yield [record];
  }

  async stateAt(at: Position): Promise<PastState> {
    const { first, next } = await this.bounds();
    if (at > next)
      throw new MomentUnknown(`the log ends at position ${next}: ${at} is not there yet`);
    const { replay, checkpoint } = await replayRoot(this.#disk, this.#root, at);
    if (Math.max(replay.position, checkpoint ?? 0) < at) {
      throw new MomentUnknown(
        `the log begins at position ${first}, and no checkpoint is kept of what was before ${at}`,
      );
    }
    return { position: at, time: await this.#timeBefore(at), forest: replay.forest };
  }

  async historyOf(id: SnapshotId): Promise<readonly LogRecord[]> {
    const found: LogRecord[] = [];
    for await (const batch of this.read({ stream: streamOf(id) })) found.push(...batch);
    return found;
  }

  async positionAt(time: UnixNanos): Promise<Position> {
    let at = (await this.bounds()).first;
    for await (const batch of this.read()) {
      for (const record of batch) if (record.time <= time) at = position(record.position + 1);
    }
    return at;
  }

  async find(text: string): Promise<readonly SnapshotId[]> {
    const found = new Set<SnapshotId>();
    for await (const batch of this.read()) {
      for (const record of batch) {
        const id = idOfStream(record.stream);
        if (id !== null && !found.has(id) && bearsText(record, text)) found.add(id);
      }
    }
    return [...found].sort((one, other) => one - other).map(snapshotId);
  }

  async #next(): Promise<Position> {
    for await (const batch of this.read({ reverse: true })) {
      const last = batch[0];
      if (last !== undefined) return position(last.position + 1);
    }
    return position((await listLog(this.#disk, this.#root)).segments.at(-1)?.position ?? 0);
  }

  async #timeBefore(at: Position): Promise<UnixNanos | null> {
    if (at === 0) return null;
    for await (const batch of this.read({ from: position(at - 1), to: at })) {
      return batch[0]?.time ?? null;
    }
    return null;
  }
}
