/**
 * The snapshots at any position, for dragging along the time line. Keeps the forest of the last
 * reply and advances it if the next position is a little later, so that live updates and slow drags
 * read a few records instead of replaying the log.
 */
import {
  formatTime,
  position,
  type Position,
  type SnapshotId,
  type UnixNanos,
} from '../base/units.js';
import { MomentUnknown, type Archive, type LogBounds } from '../inspect/archive/archive.js';
import { Replay } from '../inspect/archive/replay.js';
import { LogDamaged } from '../log/errors.js';
import { STATUSES } from '../machines/transition-table.js';
import type { SnapshotState } from '../machines/fold.js';
import type { Forest } from '../machines/snapshots/forest.js';
import { idOfStream } from '../machines/events/streams.js';
import { failureOf } from './failure.js';
import type { Failure, SnapshotRow, StateReply } from './wire.js';

/** Up to this many records, advancing is preferred to a replay from a checkpoint. */
const advanceMax = 50_000;
/** Up to this many records between two positions, a reply has only the changes. */
const changesMax = 5_000;

export interface KnownBounds extends LogBounds {
  /** Set if the log is damaged: `next` is then the position of the damage. */
  readonly failure: Failure | null;
}

interface Moment {
  readonly replay: Replay;
  time: UnixNanos | null;
}

export class Past {
  readonly #archive: Archive;
  #kept: Moment | null = null;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(archive: Archive) {
    this.#archive = archive;
  }

  /** For a damaged log, the part before the damage. */
  async bounds(): Promise<KnownBounds> {
    try {
      return { ...(await this.#archive.bounds()), failure: null };
    } catch (thrown) {
      if (!(thrown instanceof LogDamaged)) throw thrown;
      const first = await this.#firstReadable();
      const next = position(Math.max(first, thrown.position));
      return { uuid: null, epoch: null, first, next, failure: failureOf(thrown) };
    }
  }

  /**
   * `from`: a position whose state the client already has. Rejects with the signal's reason if the
   * client disconnects before the request runs or while the forest advances.
   */
  reply(at: Position, from: Position | null, signal: AbortSignal): Promise<StateReply> {
    return this.#serialized(async () => {
      signal.throwIfAborted();
      const { replay, time } = await this.#momentAt(at, signal);
      const moment = { position: at, time: time === null ? null : formatTime(time) };
      const isNear = from !== null && Math.abs(at - from) <= changesMax;
      const difference = isNear ? await this.#difference(replay.forest, at, from) : null;
      return { ...moment, statuses: STATUSES, ...(difference ?? whole(replay.forest)) };
    });
  }

  /** Serializes requests, because each one advances the kept forest. */
  #serialized<Value>(work: () => Promise<Value>): Promise<Value> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => undefined);
    return done;
  }

  async #momentAt(at: Position, signal: AbortSignal): Promise<Moment> {
    const kept = this.#kept;
    this.#kept = null;
    const distance = kept === null ? -1 : at - kept.replay.position;
    const moment =
      kept !== null && distance >= 0 && distance <= advanceMax ? kept : await this.#replayed(at);
    await this.#advance(moment, at, signal);
    this.#kept = moment;
    return moment;
  }

  async #replayed(at: Position): Promise<Moment> {
    try {
      const { forest, time } = await this.#archive.stateAt(at);
      const replay = new Replay(forest);
      replay.position = at;
      return { replay, time };
    } catch (thrown) {
      if (!(thrown instanceof LogDamaged) || thrown.position < at) throw thrown;
      // The damage is after the position, so the records before it are readable.
      return { replay: new Replay(), time: null };
    }
  }

  async #advance(moment: Moment, at: Position, signal: AbortSignal): Promise<void> {
    const { replay } = moment;
    if (replay.position === at) return;
    for await (const batch of this.#archive.read({ from: replay.position, to: at })) {
      for (const record of batch) {
        if (record.position !== replay.position) {
          throw new MomentUnknown(`the log has no records before position ${record.position}`);
        }
        replay.apply(record);
        moment.time = record.time;
      }
      await new Promise(setImmediate);
      if (!signal.aborted) continue;
      // Whole batches were applied, so the next request can continue from here.
      this.#kept = moment;
      throw signal.reason;
    }
    if (replay.position < at) {
      throw new MomentUnknown(
        `the log ends at position ${replay.position}: ${at} does not exist yet`,
      );
    }
  }

  async #difference(
    forest: Forest,
    at: Position,
    from: Position,
  ): Promise<Pick<StateReply, 'extent' | 'rows' | 'gone'>> {
    const ids = new Set<SnapshotId>();
    const range = { from: position(Math.min(at, from)), to: position(Math.max(at, from)) };
    for await (const batch of this.#archive.read(range)) {
      for (const { stream } of batch) {
        const id = idOfStream(stream);
        if (id !== null) ids.add(id);
      }
    }
    const rows: SnapshotRow[] = [];
    const gone: number[] = [];
    for (const id of ids) {
      const state = forest.get(id);
      if (state === undefined) gone.push(id);
      else rows.push(rowOf(state));
    }
    return { extent: 'changes', rows, gone };
  }

  async #firstReadable(): Promise<Position> {
    try {
      for await (const batch of this.#archive.read()) return batch[0]?.position ?? position(0);
    } catch (thrown) {
      if (!(thrown instanceof LogDamaged)) throw thrown;
    }
    return position(0);
  }
}

function whole(forest: Forest): Pick<StateReply, 'extent' | 'rows' | 'gone'> {
  const rows: SnapshotRow[] = [];
  for (const state of forest.values()) rows.push(rowOf(state));
  return { extent: 'all', rows, gone: [] };
}

function rowOf(state: SnapshotState): SnapshotRow {
  return [
    state.id,
    state.parent?.id ?? 0,
    STATUSES.indexOf(state.status),
    state.preparedAs,
    state.name,
    state.usage?.size ?? -1,
    Number(state.createdAt / 1_000_000n),
  ];
}
