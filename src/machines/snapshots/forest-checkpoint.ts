/**
 * All states of a forest at one moment. Taking it copies references and one bit for each packed
 * state; the packed ones are parsed as they are read, one at a time.
 */
import type { SnapshotId } from '../../base/units.js';
import { metaOf } from '../transition-table.js';
import type { SnapshotState } from '../fold.js';
import { infoOf, type SnapshotInfo } from './info.js';
import { PackedInfo } from './packed-info.js';
import type { PackedStates } from './packed-states.js';
import { encodeState } from './state-json.js';

export class ForestCut {
  readonly size: number;
  readonly #states: readonly SnapshotState[];
  readonly #packed: PackedStates;
  readonly #taken: Uint8Array;

  constructor(states: readonly SnapshotState[], packed: PackedStates, taken = packed.takenNow()) {
    this.#states = states;
    this.#packed = packed;
    this.#taken = taken;
    this.size = states.length + packed.live;
  }

  /** The same moment with other states for some snapshots; null leaves one out. */
  with(others: ReadonlyMap<SnapshotId, SnapshotState | null>): ForestCut {
    if (others.size === 0) return this;
    const states = this.#states.filter(({ id }) => !others.has(id));
    for (const state of others.values()) if (state !== null) states.push(state);
    return new ForestCut(states, this.#packed, this.#taken);
  }

  /** By rising id. */
  states(): Iterable<SnapshotState> {
    return this.statesExcept(() => false);
  }

  /** May leave out a snapshot that rests in a directory of its own, when its id is passed over. */
  *statesExcept(isPassedOver: (id: SnapshotId) => boolean): Iterable<SnapshotState> {
    for (const entry of this.#entries()) {
      if (typeof entry !== 'number') yield entry;
      else if (!this.#packed.isAtRest(entry) || !isPassedOver(this.#packed.idOf(entry))) {
        yield this.#packed.state(entry);
      }
    }
  }

  /** What List returns of the visible ones. */
  *infos(): Iterable<SnapshotInfo> {
    for (const entry of this.#entries()) {
      if (typeof entry === 'number' && this.#packed.isAtRest(entry)) {
        yield new PackedInfo(this.#packed.bytes(entry));
        continue;
      }
      const state = typeof entry === 'number' ? this.#packed.state(entry) : entry;
      if (metaOf(state.status).shownAs !== null) yield infoOf(state);
    }
  }

  /** Each state as a line of a checkpoint, by rising id. */
  *lines(): Iterable<string> {
    for (const entry of this.#entries()) {
      yield typeof entry === 'number' ? this.#packed.line(entry) : encodeState(entry);
    }
  }

  /** States and rows of packed ones, by rising id. */
  *#entries(): Iterable<SnapshotState | number> {
    const states = this.#states.toSorted((a, b) => a.id - b.id);
    let next = 0;
    for (let row = 0; row < this.#packed.rows; row += 1) {
      if (this.#taken[row] === 1) continue;
      const id = this.#packed.idOf(row);
      for (let state = states[next]; state !== undefined && state.id < id; state = states[next]) {
        yield state;
        next += 1;
      }
      yield row;
    }
    yield* states.slice(next);
  }
}
