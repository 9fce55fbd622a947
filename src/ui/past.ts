/**
 * The snapshots at any position, for a time line that is dragged: the forest of the last answer is
 * kept and moved on where the next question is a little later, so that a live log and a slow drag
 * cost a few records each, not a replay.
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

/** Records that are rather read on than replayed from a checkpoint. */
const moveOnMax = 50_000;
/** Records between two positions up to which the difference is told, not the whole. */
const changesMax = 5_000;

export interface KnownBounds extends LogBounds {
  /** Set where the log is damaged: `next` is where it stops. */
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

  /** Of a damaged log, the part before the damage. */
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
   * `from`: a position whose state the asker knows already. Rejects with the signal's reason when
   * the asker left before the turn came, or while the forest was moved on.
   */
  reply(at: Position, from: Position | null, signal: AbortSignal): Promise<StateReply> {
    return this.#inTurn(async () => {
      signal.throwIfAborted();
      const { replay, time } = await this.#momentAt(at, signal);
      const told = { position: at, time: time === null ? null : formatTime(time) };
      const isNear = from !== null && Math.abs(at - from) <= changesMax;
      const difference = isNear ? await this.#difference(replay.forest, at, from) : null;
      return { ...told, statuses: STATUSES, ...(difference ?? whole(replay.forest)) };
    });
  }

  /** One after the other: the kept forest is moved by each. */
  #inTurn<Value>(work: () => Promise<Value>): Promise<Value> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => undefined);
    return done;
  }

  async #momentAt(at: Position, signal: AbortSignal): Promise<Moment> {
    const kept = this.#kept;
    this.#kept = null;
    const behind = kept === null ? -1 : at - kept.replay.position;
    const moment =
      kept !== null && behind >= 0 && behind <= moveOnMax ? kept : await this.#replayed(at);
    await this.#moveOn(moment, at, signal);
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
      // The damage comes later: what was before it can be read all the same.
      return { replay: new Replay(), time: null };
    }
  }

  async #moveOn(moment: Moment, at: Position, signal: AbortSignal): Promise<void> {
    const { replay } = moment;
    if (replay.position === at) return;
    for await (const batch of this.#archive.read({ from: replay.position, to: at })) {
      for (const record of batch) {
        if (record.position !== replay.position) {
          throw new MomentUnknown(`the log does not tell what was before ${record.position}`);
        }
        replay.apply(record);
        moment.time = record.time;
      }
      await new Promise(setImmediate);
      if (!signal.aborted) continue;
      // Whole batches were applied: the next question may go on from here.
      this.#kept = moment;
      throw signal.reason;
    }
    if (replay.position < at) {
      throw new MomentUnknown(
        `the log ends at position ${replay.position}: ${at} is not there yet`,
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
