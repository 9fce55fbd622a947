/**
 * Cleanup: replays the log to decide which directories are garbage, and collects them.
 *
 * The replay reads the log itself, not this process's memory of it, up to a durable position P.
 * What is younger than P is not garbage, whatever the replay says: ids are never used twice, so
 * a directory with an id that the replay has not seen belongs to an operation in flight.
 */
import type { SnapshotDirectories } from '../base/ports.js';
import { reasonOf } from '../base/errors.js';
import { SharedRun } from '../base/shared-run.js';
import type { Position, SnapshotId } from '../base/units.js';
import type { Supervisor } from '../effects/supervisor.js';
import { planRecovery } from '../inspect/plan.js';
import type { Replay } from '../inspect/replay.js';
import type { DaemonEvent } from '../machines/daemon-events.js';
import type { Dispatcher } from './dispatcher.js';
import type { StateRunner } from './state-runner.js';

export interface CleanupOptions {
  readonly dispatcher: Dispatcher;
  readonly runner: StateRunner;
  readonly supervisor: Supervisor;
  readonly directories: SnapshotDirectories;
  readonly snapshotsPath: string;
  /** Folds the log from its newest checkpoint to the position. */
  readonly replayTo: (position: Position) => Promise<Replay>;
  readonly onProblem: (message: string, fields: Readonly<Record<string, unknown>>) => void;
}

export class Cleanup {
  readonly #options: CleanupOptions;
  readonly #passes = new SharedRun(() => this.#collect());

  constructor(options: CleanupOptions) {
    this.#options = options;
  }

  /**
   * Collects what was garbage when this was called; a pass that was already under way does not
   * count. A directory that cannot be removed is logged and left, never an error
   * (overlay.go, Cleanup).
   */
  run(): Promise<void> {
    return this.#passes.request();
  }

  async #collect(): Promise<void> {
    await this.#collectGarbage();
    await this.#options.dispatcher.flush();
  }

  async #collectGarbage(): Promise<void> {
    const { dispatcher, directories, supervisor } = this.#options;
    // The directories first: one that appears while the log is read is of no concern.
    const listing = supervisor.run({
      effect: 'observe',
      snapshot: null,
      work: (signal) => directories.list(signal, { namesOnly: true }),
    });
    const entries = await listing.result;
    const upTo = dispatcher.durablePosition;
    const replay = await this.#options.replayTo(upTo);
    const removals = this.#collectSnapshots(replay);
    const orphans = this.#orphans(replay, entries);
    if (removals.length > 0 || orphans.length > 0) {
      await dispatcher.record({
        type: 'DirectoriesCollected',
        data: { collected: removals.length, orphans: orphans.length, replayedTo: upTo },
      });
    }
    await Promise.all([...removals, this.removeOrphans(orphans)]);
  }

  /** Snapshots that were removed, and whose directories are still there. */
  #collectSnapshots(replay: Replay): readonly Promise<unknown>[] {
    const { dispatcher, runner } = this.#options;
    const removals: Promise<unknown>[] = [];
    const follow = (id: SnapshotId, durable?: Promise<void>) => {
      const removal = this.#attemptEnded(id, durable);
      // Waited for only after the next event is durable: if that fails, this must not be the
      // rejection that nobody handles, which would end the process.
      removal.catch(() => undefined);
      removals.push(removal);
    };
    for (const { id } of replay.forest.unsettled()) {
      const state = dispatcher.accepted.get(id);
      if (state?.status === 'awaitingCleanup') {
        const collecting = dispatcher.report(id, { command: 'Collect' });
        if (collecting.ok) follow(id, collecting.value?.durable);
      } else if (state?.status === 'removing' && dispatcher.durable.get(id) === state) {
        runner.retry(state);
        follow(id);
      }
    }
    return removals;
  }

  /** Resolves once the directory is gone, or its removal has given up for now. */
  async #attemptEnded(id: SnapshotId, durable?: Promise<void>): Promise<void> {
    await durable;
    await this.#options.runner.attemptEnded(id);
  }

  #orphans(
    replay: Replay,
    entries: Awaited<ReturnType<SnapshotDirectories['list']>>,
  ): readonly string[] {
    const { dispatcher, snapshotsPath } = this.#options;
    const { findings } = planRecovery(
      replay.forest,
      { directories: entries, mounts: null },
      snapshotsPath,
    );
    const names = findings.flatMap((finding) =>
      finding.kind === 'OrphanDirectory' ? [finding.name] : [],
    );
    return names.filter((name) => {
      const id = entries.find((entry) => entry.name === name)?.id ?? null;
      if (id === null) return true;
      const { accepted } = dispatcher;
      const isOwned = accepted.has(id) || accepted.isSpare(id) || accepted.isKept(id);
      return id < replay.forest.nextId && !isOwned;
    });
  }

  /** Deletes entries that no snapshot owns, each told of before and after. */
  async removeOrphans(names: readonly string[]): Promise<void> {
    if (names.length === 0) return;
    const { dispatcher } = this.#options;
    await dispatcher.record(...names.map((name) => this.#event('OrphanFound', name)));
    await Promise.all(names.map((name) => this.#removeOrphan(name)));
  }

  async #removeOrphan(name: string): Promise<void> {
    const { dispatcher, directories, supervisor, onProblem } = this.#options;
    const { result } = supervisor.run({
      effect: 'removeOrphan',
      snapshot: null,
      work: (signal) => directories.remove(name, signal),
    });
    try {
      await result;
    } catch (thrown) {
      onProblem('an orphan directory could not be removed', { name, error: reasonOf(thrown) });
      return;
    }
    await dispatcher.record(this.#event('OrphanRemoved', name));
  }

  #event(type: 'OrphanFound' | 'OrphanRemoved', name: string): DaemonEvent {
    return { type, data: { name, path: `${this.#options.snapshotsPath}/${name}` } };
  }
}
