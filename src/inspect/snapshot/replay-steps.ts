/**
 * Steps through a log forwards and backwards, with the states of all snapshots after each event.
 * Stepping back undoes the last steps, of which a bounded number is kept. Further back it loads an
 * earlier state from the archive, so memory use is bounded.
 */
import { position, streamVersion, type Position, type SnapshotId } from '../../base/units.js';
import type { LogRecord } from '../../log/types.js';
import { fold, type SnapshotState } from '../../machines/fold.js';
import { understand } from '../../machines/events/streams.js';
import type { Archive } from '../archive/archive.js';

/** One applied event. */
export interface Step {
  readonly record: LogRecord;
  /** Null for the daemon's own events. */
  readonly id: SnapshotId | null;
  /** Null if the snapshot did not exist before, or does not exist after. */
  readonly before: SnapshotState | null;
  readonly after: SnapshotState | null;
  /** Time since the previous step; negative if the clock was set back, null if it is unknown. */
  readonly sincePrevious: bigint | null;
}

export const STEPS_KEPT = 512;

export class ReplaySteps {
  readonly #archive: Archive;
  readonly #states = new Map<SnapshotId, SnapshotState>();
  /** Steps that can be undone, newest last. */
  readonly #done: Step[] = [];
  /** The next records, in order. */
  #upcoming: LogRecord[] = [];
  #source: AsyncGenerator<readonly LogRecord[], void, undefined> | null = null;
  #position = position(0);

  private constructor(archive: Archive) {
    this.#archive = archive;
  }

  /** Fails as `Archive.stateAt` does. */
  static async at(archive: Archive, at: Position): Promise<ReplaySteps> {
    const steps = new ReplaySteps(archive);
    await steps.goTo(at);
    return steps;
  }

  /** The position of the next event; `states` are those before it. */
  get position(): Position {
    return this.#position;
  }

  /** The last step; null after a jump. */
  get last(): Step | null {
    return this.#done.at(-1) ?? null;
  }

  /** Number of steps and records in memory. */
  get held(): number {
    return this.#done.length + this.#upcoming.length;
  }

  /** In ascending order of id, including those being prepared or removed. */
  states(): readonly SnapshotState[] {
    return [...this.#states.values()].sort((one, other) => one.id - other.id);
  }

  /** The next event, without applying it; null at the current end of the log. */
  async peek(): Promise<LogRecord | null> {
    while (this.#upcoming.length === 0) {
      this.#source ??= this.#archive.read({ from: this.#position });
      const { done, value } = await this.#source.next();
      if (done === true) {
        this.#source = null;
        return null;
      }
      this.#upcoming = [...value];
    }
    return this.#upcoming[0] ?? null;
  }

  /** Null at the current end of the log; may be called again. */
  async forward(): Promise<Step | null> {
    const record = await this.peek();
    if (record === null) return null;
    this.#upcoming.shift();
    const step = this.#stepOf(record);
    if (step.id !== null) this.#set(step.id, step.after);
    this.#position = position(record.position + 1);
    this.#done.push(step);
    // Drop half at once, so that not every step shifts the list.
    if (this.#done.length > STEPS_KEPT) this.#done.splice(0, STEPS_KEPT / 2);
    return step;
  }

  /** Returns the undone step; null at the first retained event. */
  async back(): Promise<Step | null> {
    if (this.#done.length === 0 && !(await this.#fetchBefore())) return null;
    const step = this.#done.pop();
    if (step === undefined) return null;
    if (step.id !== null) this.#set(step.id, step.before);
    this.#position = step.record.position;
    this.#upcoming.unshift(step.record);
    if (this.#upcoming.length > STEPS_KEPT * 4) await this.#dropUpcoming();
    return step;
  }

  /** Fails as `Archive.stateAt` does, and then does not move. */
  async goTo(at: Position): Promise<void> {
    const { forest } = await this.#archive.stateAt(at);
    await this.#dropUpcoming();
    this.#done.length = 0;
    this.#states.clear();
    for (const state of forest.values()) this.#states.set(state.id, state);
    this.#position = at;
  }

  async close(): Promise<void> {
    await this.#dropUpcoming();
  }

  /** Reaches the same position by steps that can be undone. */
  async #fetchBefore(): Promise<boolean> {
    const { first } = await this.#archive.bounds();
    const here = this.#position;
    if (here <= first) return false;
    await this.goTo(position(Math.max(first, here - STEPS_KEPT / 2)));
    while (this.#position < here && (await this.forward()) !== null);
    return this.#done.length > 0;
  }

  async #dropUpcoming(): Promise<void> {
    this.#upcoming = [];
    await this.#source?.return();
    this.#source = null;
  }

  #stepOf(record: LogRecord): Step {
    const understood = understand(record);
    const { last } = this;
    const sincePrevious = last === null ? null : record.time - last.record.time;
    if (understood.about === 'daemon') {
      return { record, id: null, before: null, after: null, sincePrevious };
    }
    const { id, event } = understood;
    const before = this.#states.get(id) ?? null;
    const version = streamVersion(record.streamVersion);
    const after = fold(before, { event, time: record.time, streamVersion: version });
    const shown = after.status === 'removed' ? null : after;
    return { record, id, before, after: shown, sincePrevious };
  }

  #set(id: SnapshotId, state: SnapshotState | null): void {
    if (state === null) this.#states.delete(id);
    else this.#states.set(id, state);
  }
}
