/**
 * Carries out what src/inspect/startup/unowned.ts decides about entries of `snapshots/` that no snapshot
 * owns, for startup, Cleanup and the pool of preallocated directories: the unused are deleted, those
 * in use are set aside by an event. What a person has released is deleted with its content.
 */
import { HostFault, NotBegun, reasonOf } from '../base/errors.js';
import { LOST_AND_FOUND } from '../base/lost-and-found.js';
import type { DirectoryUse, FailedScan, SnapshotDirectories } from '../base/ports.js';
import { ok, refuse, type Result } from '../base/result.js';
import { parseSnapshotId, type SnapshotId } from '../base/units.js';
import type { Supervisor } from '../effects/supervisor.js';
import { namesInWords } from '../inspect/events/id-ranges.js';
import {
  setAsideEvents,
  usesByName,
  type Candidate,
  type Uses,
} from '../inspect/startup/unowned.js';
import type { DaemonEvent } from '../machines/events/daemon-events.js';
import type { Caller } from '../machines/events/events.js';
import { refusals, type Refusal } from '../machines/refusals.js';
import type { Dispatcher } from './dispatcher.js';

export interface UnownedDirectoriesOptions {
  readonly dispatcher: Dispatcher;
  readonly supervisor: Supervisor;
  readonly directories: SnapshotDirectories;
  readonly snapshotsPath: string;
  readonly onProblem: (message: string, fields: Readonly<Record<string, unknown>>) => void;
}

/** A person's request to delete entries with their content. */
export interface DeletionRequest {
  readonly names: readonly string[];
  readonly caller: Caller;
}

export class UnownedDirectories {
  readonly #options: UnownedDirectoriesOptions;
  /** Entries that could not be looked at or deleted, and why; each change is reported once. */
  readonly #failing = new Map<string, FailedScan>();
  /** Orphans whose OrphanFound is recorded and whose deletion has not succeeded yet. */
  readonly #found = new Set<string>();
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: UnownedDirectoriesOptions) {
    this.#options = options;
  }

  /** Entries that cannot be looked at or deleted now. */
  get failing(): ReadonlyMap<string, FailedScan> {
    return this.#failing;
  }

  /** One pass after the other, so that no entry is found, or deleted, twice. */
  exclusively<Value>(pass: () => Promise<Value>): Promise<Value> {
    const turn = this.#turn.then(pass, pass);
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  async look(candidates: readonly Candidate[]): Promise<Uses> {
    if (candidates.length === 0) return new Map();
    const { supervisor, directories } = this.#options;
    const names = candidates.map(({ name }) => name);
    const { result } = supervisor.run({
      effect: 'observe',
      snapshot: null,
      work: (signal) => directories.usesOf(names, signal),
    });
    return usesByName(candidates, await result);
  }

  /**
   * Sets aside what is in use and deletes what is unused. Settles when that is done as far as it
   * can be; begins with no further deletion once `isLate`.
   */
  async settle(candidates: readonly Candidate[], uses: Uses, isLate = () => false): Promise<void> {
    await this.#setAside(candidates, uses);
    const orphans = candidates.filter(
      ({ name, because }) => because === 'unowned' && uses.get(name)?.kind === 'unused',
    );
    await this.#recordFound(orphans);
    const gone: SnapshotId[] = [];
    const waiting: Candidate[] = [];
    for (const candidate of candidates) {
      const use = uses.get(candidate.name);
      if (use?.kind === 'unused') waiting.push(candidate);
      else if (use?.kind === 'unknown') this.#failed(candidate.name, use);
      else if (use?.kind === 'absent') this.#ended(candidate, gone);
    }
    const removeOneByOne = async (): Promise<void> => {
      for (let next = waiting.shift(); next !== undefined;) {
        await this.#remove(next, gone);
        next = isLate() ? undefined : waiting.shift();
      }
    };
    await Promise.all([removeOneByOne(), removeOneByOne()]);
    // Those that are left go on being preallocated, and the next startup finds them.
    gone.sort((a, b) => a - b);
    const { dispatcher } = this.#options;
    if (gone.length > 0)
      await dispatcher.record({ type: 'PreallocatedReleased', data: { ids: gone } });
  }

  /** Records a request; `settleKept` carries it out. Refuses DirectoryOwned, DirectoryUnknown. */
  async release({ names, caller }: DeletionRequest): Promise<Result<void, Refusal>> {
    const { dispatcher } = this.#options;
    for (const name of names) {
      const owner = this.#ownerOf(name);
      if (owner !== null) return refuse(refusals.directoryOwned(name, owner));
    }
    const candidates = names.map((name) => ({ name, id: null, because: 'unowned' }) as const);
    const uses = await this.look(candidates);
    const absent = names.find((name) => uses.get(name)?.kind === 'absent');
    if (absent !== undefined) return refuse(refusals.directoryUnknown(absent));
    await dispatcher.record({
      type: 'DirectoriesReleased',
      data: { names: [...names], because: 'requested', caller },
    });
    return ok(undefined);
  }

  #ownerOf(name: string): string | null {
    const { accepted } = this.#options.dispatcher;
    if (name === LOST_AND_FOUND) return 'the file system';
    const id = parseSnapshotId(name);
    if (id === null) return null;
    const state = accepted.get(id);
    if (state !== undefined) return `snapshot ${state.name}`;
    if (accepted.isPreallocated(id)) return 'the preallocated directories';
    return id < accepted.nextId ? null : 'an operation that may be in flight';
  }

  /** Forgets failures at entries that do not exist any more. */
  forgetExcept(listed: ReadonlySet<string>): void {
    for (const name of this.#failing.keys()) if (!listed.has(name)) this.#failing.delete(name);
  }

  /** Deletes what was released. `vanished`: set aside, and not among the entries any more. */
  async settleKept(vanished: readonly string[]): Promise<void> {
    const { dispatcher } = this.#options;
    const names = vanished.filter((name) => dispatcher.accepted.setAside.has(name));
    if (names.length > 0) {
      await dispatcher.record({ type: 'DirectoriesReleased', data: { names, because: 'gone' } });
    }
    await Promise.all([...dispatcher.accepted.released].map((name) => this.#removeReleased(name)));
  }

  /** Keeps the directory of an abandoned preparation, which is in use. Durable when it resolves. */
  async setAside(id: SnapshotId, evidence: string): Promise<void> {
    const candidate = { name: String(id), id, because: 'abandoned' } as const;
    await this.#setAside([candidate], new Map([[candidate.name, inUse(evidence)]]));
  }

  async #setAside(candidates: readonly Candidate[], uses: Uses): Promise<void> {
    const { dispatcher, onProblem } = this.#options;
    const events = setAsideEvents(
      // A request to delete it may have come during the look.
      candidates.filter(({ name }) => {
        const { setAside, released } = dispatcher.accepted;
        return !setAside.has(name) && !released.has(name);
      }),
      uses,
    );
    if (events.length === 0) return;
    const directories = events.flatMap(({ data }) => data.directories);
    for (const { name } of directories) this.#failing.delete(name);
    const evidence = directories.slice(0, 3).map((one) => `${one.name}: ${one.evidence}`);
    onProblem('directories that the log knows only as garbage are in use and are kept', {
      directories: namesInWords(directories.map(({ name }) => name)),
      evidence: evidence.join('; '),
      advice:
        'if an older log was put back, stop the daemon and put the newer one back; else save what is in ' +
        'them, then delete them with stratalog gc --delete <name>',
    });
    await dispatcher.record(...events);
  }

  async #recordFound(orphans: readonly Candidate[]): Promise<void> {
    const names = orphans.map(({ name }) => name).filter((name) => !this.#found.has(name));
    if (names.length === 0) return;
    for (const name of names) this.#found.add(name);
    await this.#options.dispatcher.record(...names.map((name) => this.#event('OrphanFound', name)));
  }

  async #remove(candidate: Candidate, gone: SnapshotId[]): Promise<void> {
    const { directories } = this.#options;
    const { name } = candidate;
    const use = await this.#attempt(name, (signal) => directories.removeUnused(name, signal));
    if (use === null) return;
    if (use.kind === 'unknown') this.#failed(name, use);
    // Used since the look.
    else if (use.kind === 'used') await this.#setAside([candidate], new Map([[name, use]]));
    else await this.#removed(candidate, gone);
  }

  async #removed(candidate: Candidate, gone: SnapshotId[]): Promise<void> {
    const { name, because } = candidate;
    this.#ended(candidate, gone);
    if (because !== 'unowned') return;
    await this.#options.dispatcher.record(this.#event('OrphanRemoved', name));
  }

  #ended({ name, id, because }: Candidate, gone: SnapshotId[]): void {
    this.#failing.delete(name);
    this.#found.delete(name);
    if (because === 'preallocated' && id !== null) gone.push(id);
  }

  async #removeReleased(name: string): Promise<void> {
    const { dispatcher, directories } = this.#options;
    const done = await this.#attempt(name, async (signal) => {
      await directories.remove(name, signal, { unlessUsed: true });
      return 'removed' as const;
    });
    if (done === null) return;
    this.#failing.delete(name);
    await dispatcher.record(this.#event('OrphanRemoved', name));
  }

  /** Null when it failed, which is reported. */
  async #attempt<Value>(
    name: string,
    work: (signal: AbortSignal) => Promise<Value>,
  ): Promise<Value | null> {
    const { supervisor, snapshotsPath } = this.#options;
    const { result } = supervisor.run({ effect: 'removeOrphan', snapshot: null, work });
    try {
      return await result;
    } catch (thrown) {
      if (thrown instanceof NotBegun) return null;
      const path = `${snapshotsPath}/${name}`;
      this.#failed(
        name,
        thrown instanceof HostFault
          ? thrown
          : { operation: 'remove', path, code: reasonOf(thrown) },
      );
      return null;
    }
  }

  #failed(name: string, { operation, path, code }: FailedScan): void {
    const known = this.#failing.get(name);
    this.#failing.set(name, { operation, path, code });
    if (known?.path === path && known.code === code) return;
    this.#options.onProblem('a directory that no snapshot owns could not be looked at or deleted', {
      name,
      path,
      error: `${operation} ${path}: ${code}`,
    });
  }

  #event(type: 'OrphanFound' | 'OrphanRemoved', name: string): DaemonEvent {
    return { type, data: { name, path: `${this.#options.snapshotsPath}/${name}` } };
  }
}

const inUse = (evidence: string): DirectoryUse => ({ kind: 'used', by: 'mount', evidence });
