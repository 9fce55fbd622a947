/**
 * Goes through a log step by step, forwards and back: the states of all snapshots after each
 * event. Going back undoes what was kept of the steps before, a bounded number of them; beyond
 * that the archive is asked for an earlier state. So memory does not grow with the way.
 */
import { position, streamVersion, type Position, type SnapshotId } from '../../base/units.js';
import type { LogRecord } from '../../log/types.js';
import { fold, type SnapshotState } from '../../machines/fold.js';
import { understand } from '../../machines/events/streams.js';
import type { Archive } from '../archive/archive.js';

/** One event that was gone through. */
export interface Step {
  readonly record: LogRecord;
  /** Null for the daemon's own events. */
  readonly id: SnapshotId | null;
  /** Null where there was no such snapshot before, or is none after. */
  readonly before: SnapshotState | null;
  readonly after: SnapshotState | null;
  /** Since the event before; below zero where the clock was set back, null where that one is unknown. */
  readonly sincePrevious: bigint | null;
}

export const STEPS_KEPT = 512;

export class ReplaySteps {
  readonly #archive: Archive;
  readonly #states = new Map<SnapshotId, SnapshotState>();
  /** Steps that led here, newest last. */
  readonly #taken: Step[] = [];
  /** Records that come next, in order. */
  #ahead: LogRecord[] = [];
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

  /** The states are those before the event at this position. */
  get position(): Position {
    return this.#position;
  }

  /** The event that led here; null after a jump. */
  get last(): Step | null {
    return this.#taken.at(-1) ?? null;
  }

  /** How many steps and records are held at this moment. */
  get held(): number {
    return this.#taken.length + this.#ahead.length;
  }

  /** By rising id, those on their way included. */
  states(): readonly SnapshotState[] {
    return [...this.#states.values()].sort((one, other) => one.id - other.id);
  }

  /** The event that comes next, and stays the next; null at the end of what is there now. */
  async peek(): Promise<LogRecord | null> {
    while (this.#ahead.length === 0) {
      this.#source ??= this.#archive.read({ from: this.#position });
      const { done, value } = await this.#source.next();
      if (done === true) {
        this.#source = null;
        return null;
      }
      this.#ahead = [...value];
    }
    return this.#ahead[0] ?? null;
  }

  /** Null at the end of what is there now; may be asked again. */
  async forward(): Promise<Step | null> {
    const record = await this.peek();
    if (record === null) return null;
    this.#ahead.shift();
    const step = this.#stepOf(record);
    if (step.id !== null) this.#set(step.id, step.after);
    this.#position = position(record.position + 1);
    this.#taken.push(step);
    // In halves, so that the list is not moved at every step.
    if (this.#taken.length > STEPS_KEPT) this.#taken.splice(0, STEPS_KEPT / 2);
    return step;
  }

  /** The step that is undone; null at the first event that is kept. */
  async back(): Promise<Step | null> {
    if (this.#taken.length === 0 && !(await this.#fetchBefore())) return null;
    const step = this.#taken.pop();
    if (step === undefined) return null;
    if (step.id !== null) this.#set(step.id, step.before);
    this.#position = step.record.position;
    this.#ahead.unshift(step.record);
    if (this.#ahead.length > STEPS_KEPT * 4) await this.#forgetAhead();
    return step;
  }

  /** Fails as `Archive.stateAt` does, and then stays where it was. */
  async goTo(at: Position): Promise<void> {
    const { forest } = await this.#archive.stateAt(at);
    await this.#forgetAhead();
    this.#taken.length = 0;
    this.#states.clear();
    for (const state of forest.values()) this.#states.set(state.id, state);
    this.#position = at;
  }

  async close(): Promise<void> {
    await this.#forgetAhead();
  }

  /** Comes to the same position by steps that can be undone. */
  async #fetchBefore(): Promise<boolean> {
    const { first } = await this.#archive.bounds();
    const here = this.#position;
    if (here <= first) return false;
    await this.goTo(position(Math.max(first, here - STEPS_KEPT / 2)));
    while (this.#position < here && (await this.forward()) !== null);
    return this.#taken.length > 0;
  }

  async #forgetAhead(): Promise<void> {
    this.#ahead = [];
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
