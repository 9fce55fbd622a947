/**
 * An archive of records in memory, and random logs for it: whatever commands made of a world,
 * with the daemon's own events between them.
 */
import fc from 'fast-check';
import {
  position,
  snapshotName,
  streamVersion,
  unixNanos,
  type Position,
  type SnapshotId,
  type UnixNanos,
} from '../../src/base/units.js';
import type {
  Archive,
  ArchiveRange,
  LifeRange,
  LogBounds,
  PastState,
} from '../../src/inspect/archive/archive.js';
import { fitOfRecord, type Fit } from '../../src/inspect/events/event-names.js';
import { Replay } from '../../src/inspect/archive/replay.js';
import { bySnapshot, eventOf, parentOf } from '../../src/inspect/archive/subject.js';
import type { LogRecord } from '../../src/log/types.js';
import type { Command } from '../../src/machines/commands.js';
import { encodeSnapshotEvent } from '../../src/machines/events/events.js';
import { idOfStream, streamOf } from '../../src/machines/events/streams.js';
import { commandAbout, plainLabels } from './arbitraries.js';
import { World } from './world.js';

export class RecordArchive implements Archive {
  /** Records that were handed out, to measure what a question costs. */
  readCount = 0;
  readonly #records: readonly LogRecord[];

  constructor(records: readonly LogRecord[]) {
    this.#records = records;
  }

  bounds(): Promise<LogBounds> {
    const next = position(this.#records.length);
    return Promise.resolve({ uuid: null, epoch: 1, first: position(0), next });
  }

  async *read(range: ArchiveRange = {}): AsyncGenerator<readonly LogRecord[], void, undefined> {
    const { from = 0, to = Infinity, stream, reverse = false } = range;
    const wanted = this.#records.filter(
      (record) =>
        record.position >= from &&
        record.position < to &&
        (stream === undefined || record.stream === stream),
    );
    if (reverse) wanted.reverse();
    for (let at = 0; at < wanted.length; at += 7) {
      const batch = await Promise.resolve(wanted.slice(at, at + 7));
      this.readCount += batch.length;
      yield batch;
    }
  }

  follow(from: Position): AsyncGenerator<readonly LogRecord[], void, undefined> {
    return this.read({ from });
  }

  async stateAt(at: Position): Promise<PastState> {
    const replay = new Replay();
    for await (const batch of this.read({ to: at })) {
      for (const record of batch) replay.apply(record);
    }
    return { position: at, time: this.#records[at - 1]?.time ?? null, forest: replay.forest };
  }

  async historyOf(id: SnapshotId, range: LifeRange = {}): Promise<readonly LogRecord[]> {
    return (await this.historiesOf([id], range)).get(id) ?? [];
  }

  historiesOf(
    ids: readonly SnapshotId[],
    { from = position(0), to }: LifeRange = {},
  ): Promise<ReadonlyMap<SnapshotId, readonly LogRecord[]>> {
    const wanted = new Set<string>(ids.map(streamOf));
    const within = this.#records.slice(from, to);
    return Promise.resolve(bySnapshot(within.filter(({ stream }) => wanted.has(stream))));
  }

  childrenOf(id: SnapshotId): Promise<readonly SnapshotId[]> {
    const found = this.#records.filter((record) => parentOf(eventOf(record))?.id === id);
    const ids = new Set(found.flatMap(({ stream }) => idOfStream(stream) ?? []));
    return Promise.resolve([...ids].sort((one, other) => one - other));
  }

  positionAt(time: UnixNanos): Promise<Position> {
    return Promise.resolve(position(this.#records.findLastIndex((at) => at.time <= time) + 1));
  }

  noneBefore(time: UnixNanos): Promise<Position> {
    return Promise.resolve(
      position(
        Math.max(
          0,
          this.#records.findIndex((at) => at.time >= time),
        ),
      ),
    );
  }

  find(text: string): Promise<readonly SnapshotId[]> {
    const fitting = (fit: Fit) =>
      this.#records.filter((record) => fitOfRecord(record, text) === fit);
    const whole = fitting('whole');
    const found = whole.length > 0 ? whole : fitting('prefix');
    const ids = new Set(found.flatMap(({ stream }) => idOfStream(stream) ?? []));
    return Promise.resolve([...ids].sort((one, other) => one - other));
  }
}

interface WorldEvent {
  readonly id: SnapshotId;
  readonly event: World['history'][number]['event'];
}

/** A millisecond between one event and the next. */
export function recordsOf(history: readonly WorldEvent[]): LogRecord[] {
  const versions = new Map<string, number>();
  const records: LogRecord[] = [];
  const add = (stream: string, type: string, data: LogRecord['data']): void => {
    const version = versions.get(stream) ?? 0;
    versions.set(stream, version + 1);
    records.push({
      position: position(records.length),
      time: unixNanos(1_700_000_000_000_000_000n + BigInt(records.length) * 1_000_000n),
      stream,
      streamVersion: streamVersion(version),
      type,
      schemaVersion: 1,
      data,
      closesStream: type === 'SnapshotRemoved',
    });
  };
  for (const [index, { id, event }] of history.entries()) {
    if (index % 9 === 4) add('daemon', 'DaemonStopped', { why: 'SIGTERM' });
    add(streamOf(id), event.type, encodeSnapshotEvent(event));
  }
  return records;
}

const names = fc.constantFrom(...['a', 'b', 'c', 'd', 'ns/1/e'].map(snapshotName));

/** Logs of up to `length` commands, each possible where it stands. */
export function anyLog(length: number): fc.Arbitrary<LogRecord[]> {
  const command = commandAbout(names, plainLabels);
  const step = fc.tuple(command, fc.nat());
  return fc.array(step, { minLength: length, maxLength: length, size: 'max' }).map((steps) => {
    const world = new World();
    for (const [command, draw] of steps) world.execute(command, aboutWhom(world, command, draw));
    return recordsOf(world.history);
  });
}

function aboutWhom(world: World, command: Command, draw: number): SnapshotId | null {
  if ('key' in command || 'name' in command) return null;
  const ids = [...world.forest.values()].map(({ id }) => id);
  return ids[draw % Math.max(ids.length, 1)] ?? null;
}
