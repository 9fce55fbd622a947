/**
 * Cleanup: decides from the log which directories are garbage, and collects them.
 *
 * The durable forest is the replay of the log up to the durable position, kept up to date record by
 * record, so no record is read again. An operation in flight has its id in the accepted forest
 * before it makes a directory.
 */
import { reasonOf } from '../base/errors.js';
import type { SnapshotDirectories, SnapshotDirectoryEntry } from '../base/ports.js';
import { SingleFlight } from '../base/single-flight.js';
import type { SnapshotId } from '../base/units.js';
import type { Supervisor } from '../effects/supervisor.js';
import { unownedIn, type Candidate } from '../inspect/startup/unowned.js';
import type { Dispatcher } from './dispatcher.js';
import type { IdmappedLayers } from './idmapped-layers.js';
import type { StateRunner } from './state-runner.js';
import type { UnownedDirectories } from './unowned-directories.js';

export interface CleanupOptions {
  readonly dispatcher: Dispatcher;
  readonly runner: StateRunner;
  readonly supervisor: Supervisor;
  readonly directories: SnapshotDirectories;
  readonly unowned: UnownedDirectories;
  readonly idmapped: IdmappedLayers;
  readonly onProblem: (message: string, fields: Readonly<Record<string, unknown>>) => void;
}

export class Cleanup {
  readonly #options: CleanupOptions;
  readonly #passes = new SingleFlight(() => this.#collect());

  constructor(options: CleanupOptions) {
    this.#options = options;
  }

  /**
   * Collects what was garbage when this was called; a pass that was already under way does not
   * count. Waits for the first attempt at each removal, never for a back-off or a later attempt.
   * A directory that cannot be removed is reported and left, never an error (overlay.go, Cleanup).
   */
  run(): Promise<void> {
    return this.#passes.request();
  }

  async #collect(): Promise<void> {
    // What became garbage before the call counts, also where its event is still being written.
    await this.#options.dispatcher.flush();
    const removals = this.#collectSnapshots();
    await this.#options.unowned.exclusively(() => this.#collectUnowned(removals.length));
    await Promise.all([...removals, this.unmountIdmapped()]);
    await this.#options.dispatcher.flush();
  }

  /** Takes away mounts with mapped ids that no snapshot needs. Never rejects. */
  async unmountIdmapped(): Promise<void> {
    const { supervisor, idmapped, onProblem } = this.#options;
    const { result } = supervisor.run({
      effect: 'unmountIdmapped',
      snapshot: null,
      work: (signal) => idmapped.removeUnneeded(signal),
    });
    try {
      await result;
    } catch (thrown) {
      onProblem('idmapped mounts could not be looked through', { error: reasonOf(thrown) });
    }
  }

  /** Snapshots that were removed, and whose directories still exist. */
  #collectSnapshots(): readonly Promise<unknown>[] {
    const { dispatcher, runner } = this.#options;
    const removals: Promise<unknown>[] = [];
    const follow = (id: SnapshotId, durable?: Promise<void>) => {
      const removal = this.#attemptEnded(id, durable);
      // Awaited only after the next event is durable: if that fails, this must not be the
      // unhandled rejection that ends the process.
      removal.catch(() => undefined);
      removals.push(removal);
    };
    for (const { id, status } of dispatcher.durable.unsettled()) {
      const accepted = dispatcher.accepted.get(id);
      if (accepted?.status !== status) continue;
      if (status === 'awaitingCleanup') {
        const collecting = dispatcher.report(id, { command: 'Collect' });
        if (collecting.ok) follow(id, collecting.value?.durable);
      } else if (status === 'removing') {
        runner.retry(accepted);
        if (accepted.removal?.failure == null) follow(id);
      }
    }
    return removals;
  }

  /** Resolves when the first attempt at a removal has ended, whatever came of it. */
  async #attemptEnded(id: SnapshotId, durable?: Promise<void>): Promise<void> {
    await durable;
    await this.#options.runner.firstAttemptEnded(id);
  }

  async #collectUnowned(collected: number): Promise<void> {
    const { dispatcher, directories, supervisor, unowned } = this.#options;
    const setAside = [...dispatcher.accepted.setAside.keys()];
    const listing = supervisor.run({
      effect: 'observe',
      snapshot: null,
      work: (signal) => directories.list(signal, { namesOnly: true }),
    });
    const entries = await listing.result;
    const candidates = this.#garbageIn(entries);
    const uses = await unowned.look(candidates);
    const orphans = candidates.filter(({ name }) => uses.get(name)?.kind === 'unused').length;
    if (collected > 0 || orphans > 0) {
      const replayedTo = dispatcher.durablePosition;
      await dispatcher.record({
        type: 'DirectoriesCollected',
        data: { collected, orphans, replayedTo },
      });
    }
    await unowned.settle(candidates, uses);
    const listed = new Set(entries.map(({ name }) => name));
    unowned.forgetExcept(listed);
    await unowned.settleKept(setAside.filter((name) => !listed.has(name)));
  }

  /**
   * What neither forest owns. The durable one still owns what is being removed, the accepted one
   * owns already what is being made. An id that the log has not given yet is left to startup.
   */
  #garbageIn(entries: readonly SnapshotDirectoryEntry[]): readonly Candidate[] {
    const { accepted, durable } = this.#options.dispatcher;
    const isUnowned = ({ id, because }: Candidate) =>
      because === 'unowned' && (id === null || id < durable.nextId);
    const names = new Set(
      unownedIn(entries, durable)
        .filter(isUnowned)
        .map(({ name }) => name),
    );
    return unownedIn(entries, accepted).filter(
      (candidate) => isUnowned(candidate) && names.has(candidate.name),
    );
  }
}
