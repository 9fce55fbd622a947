/**
 * Directories made ahead of time, so that Prepare and View find theirs standing and wait for one
 * thing only: their own event. The log says which ids are set aside before the directories are
 * made, so each of them has an owner at every moment. An id that was not used never comes again.
 */
import { reasonOf } from '../base/errors.js';
import type { Clock, FileOwner, SnapshotDirectories } from '../base/ports.js';
import { snapshotId, type SnapshotId } from '../base/units.js';
import type { Supervisor } from '../effects/supervisor.js';
import type { Dispatcher } from './dispatcher.js';
import type { UnownedDirectories } from './unowned-directories.js';

export interface DirectoryPoolOptions {
  readonly dispatcher: Dispatcher;
  readonly supervisor: Supervisor;
  readonly directories: SnapshotDirectories;
  readonly unowned: UnownedDirectories;
  readonly clock: Clock;
  /** How many stand ready at most. 0: none are made. */
  readonly count: number;
  /** They survive a power cut before they are given out. */
  readonly durable: boolean;
  readonly onProblem: (message: string, fields: Readonly<Record<string, unknown>>) => void;
}

/** After a failure: a full disk must not be asked with every Prepare. */
const pauseMillis = 5_000;
/** How long a stop goes on removing them; the next start finds the rest. */
const closeMillisMax = 1_000;

export class DirectoryPool {
  readonly #options: DirectoryPoolOptions;
  /** Oldest first. */
  readonly #ready: SnapshotId[] = [];
  #ownerOfPreallocated: FileOwner | null = null;
  #filling: Promise<void> | null = null;
  #pausedUntil = 0;
  #closed = false;

  constructor(options: DirectoryPoolOptions) {
    this.#options = options;
  }

  /**
   * Directories for a snapshot whose parent has this owner, or null: none are ready, or theirs is
   * another one. The caller uses them at once, or gives them back.
   */
  take(owner: FileOwner | null): SnapshotId | null {
    this.#fillIfFew();
    if (!this.#fits(owner)) return null;
    return this.#ready.shift() ?? null;
  }

  giveBack(id: SnapshotId): void {
    this.#ready.unshift(id);
  }

  /** Makes no more, and removes what was not used, as far as there is time. */
  async close(): Promise<void> {
    this.#closed = true;
    const { clock } = this.#options;
    let isLate = false;
    const cancel = clock.schedule(closeMillisMax, () => {
      isLate = true;
    });
    let giveUp: () => void = () => undefined;
    const hangs = new Promise<void>((resolve) => {
      giveUp = clock.schedule(2 * closeMillisMax, resolve);
    });
    const dropped = Promise.resolve(this.#filling).then(() =>
      this.drop(this.#ready.splice(0), () => isLate),
    );
    try {
      await Promise.race([dropped, hangs]);
    } finally {
      cancel();
      giveUp();
    }
  }

  /**
   * Removes directories that were made ahead and are unused, and records it. Begins with no further
   * one once `isLate`.
   */
  async drop(ids: readonly SnapshotId[], isLate = () => false): Promise<void> {
    const { unowned } = this.#options;
    const candidates = ids.map((id) => {
      return { name: String(id), id, because: 'preallocated' } as const;
    });
    await unowned.settle(candidates, await unowned.look(candidates), isLate);
  }

  /** The paths of these ids are taken by something else, which Cleanup handles. */
  async #leave(ids: readonly SnapshotId[]): Promise<void> {
    if (ids.length === 0) return;
    const { dispatcher, onProblem } = this.#options;
    onProblem('directories that are not ours stand where new ones were to be made', { ids });
    await dispatcher.record({ type: 'PreallocatedReleased', data: { ids: [...ids] } });
  }

  #fits(owner: FileOwner | null): boolean {
    if (owner === null) return true;
    const ours = this.#ownerOfPreallocated;
    if (ours === null) return false;
    return owner.uid === ours.uid && owner.gid === ours.gid;
  }

  #fillIfFew(): void {
    const { count, clock } = this.#options;
    if (this.#closed || this.#filling !== null) return;
    if (!(this.#ready.length < count / 2) || clock.monotonicMillis() < this.#pausedUntil) return;
    // A request that comes now is served first, and gets the next id.
    this.#filling = Promise.resolve()
      .then(() => this.#fill(count - this.#ready.length))
      .catch((thrown: unknown) => {
        this.#pausedUntil = clock.monotonicMillis() + pauseMillis;
        const error = reasonOf(thrown);
        this.#options.onProblem('directories could not be made ahead', { error });
      })
      .finally(() => {
        this.#filling = null;
      });
  }

  async #fill(count: number): Promise<void> {
    const { dispatcher, supervisor, directories, durable } = this.#options;
    const first: number = dispatcher.accepted.nextId;
    const ids = Array.from({ length: count }, (_, index) => snapshotId(first + index));
    await dispatcher.record({ type: 'DirectoriesPreallocated', data: { ids } });
    const { result, idle } = supervisor.run({
      effect: 'preallocateDirectories',
      snapshot: null,
      work: (signal) => directories.preallocateDirectories(ids, { durable }, signal),
    });
    try {
      const { owner, made } = await result;
      this.#ownerOfPreallocated = owner;
      this.#ready.push(...made);
      await this.#leave(ids.filter((id) => !made.includes(id)));
    } catch (thrown) {
      // What still makes them would make them anew behind a delete.
      void idle.then(() => this.drop(ids)).catch(() => undefined);
      throw thrown;
    }
  }
}
