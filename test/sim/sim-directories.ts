/**
 * The directories behind the snapshots, in memory: what a process sees, and what a power cut
 * would leave. A directory's contents are one text, which a client writes and a flush makes
 * durable.
 */
import { HostFault } from '../../src/base/errors.js';
import type {
  DirectoryOwner,
  DirectoryUse,
  FileOwner,
  MeasuredDirectory,
  SnapshotDirectories,
  SnapshotDirectoryEntry,
} from '../../src/base/ports.js';
import { snapshotId, type SnapshotId } from '../../src/base/units.js';
import type { Random } from '../support/random.js';
import type { CallOptions, Life } from './life.js';
import type { MountsOfHost } from './sim-mounts.js';
import type { Weather } from './weather.js';

interface Entry {
  readonly hasFs: boolean;
  readonly hasWork: boolean;
  readonly content: string;
  /** Of `fs`. */
  readonly owner: FileOwner;
}

const OWNER: FileOwner = { uid: 0, gid: 0 };
const ABSENT: Entry = { hasFs: false, hasWork: false, content: '', owner: OWNER };

/** Is asked before anything is done to a directory. */
export interface DirectoryRules {
  mayPrepare(id: SnapshotId, signal?: AbortSignal): void;
  mayUsePreallocated(id: SnapshotId): void;
  mayEmpty(id: SnapshotId, signal?: AbortSignal): void;
  mayRemove(name: string, signal?: AbortSignal): void;
  mayRemoveUnused(name: string, signal?: AbortSignal): void;
}

/** The directories themselves: they outlive the daemon. */
export class DirectoryTree {
  #live = new Map<string, Entry>();
  #durable = new Map<string, Entry>();
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  get names(): readonly string[] {
    return [...this.#live.keys()].sort();
  }

  get(name: string): Entry | undefined {
    return this.#live.get(name);
  }

  durableContent(id: number): string | undefined {
    return this.#durable.get(String(id))?.content;
  }

  change(name: string, change: Partial<Entry>): void {
    this.#live.set(name, { ...(this.#live.get(name) ?? ABSENT), ...change });
  }

  drop(name: string): void {
    this.#live.delete(name);
  }

  /** A removal is durable. */
  settleRemoval(name: string): void {
    if (!this.#live.has(name)) this.#durable.delete(name);
  }

  /** The directories are durable, what stands in their files is not. */
  settleDirectory(name: string): void {
    const live = this.#live.get(name);
    if (live === undefined) return;
    this.#durable.set(name, { ...live, content: this.#durable.get(name)?.content ?? '' });
  }

  /** What a flush that begins now will have made durable when it ends. */
  flush(): () => void {
    const begun = new Map(this.#live);
    return () => {
      this.#durable = begun;
    };
  }

  powerCut(random: Random): void {
    const left = new Map<string, Entry>();
    for (const name of [...new Set([...this.#live.keys(), ...this.#durable.keys()])].sort()) {
      const live = this.#live.get(name);
      const durable = this.#durable.get(name);
      const kept = live === durable || random.chance(0.5) ? live : durable;
      if (kept === undefined) continue;
      const isWritten = kept.content === durable?.content || random.chance(0.3);
      left.set(name, { ...kept, content: isWritten ? kept.content : (durable?.content ?? '') });
    }
    this.#live = left;
    this.#durable = new Map(left);
  }
}

export class SimDirectories implements SnapshotDirectories {
  constructor(
    private readonly life: Life,
    private readonly weather: Weather,
    private readonly tree: DirectoryTree,
    private readonly mounts: MountsOfHost,
    private readonly rules: DirectoryRules,
  ) {}

  fsPath(id: SnapshotId): string {
    return `${this.tree.path}/${id}/fs`;
  }

  workPath(id: SnapshotId): string {
    return `${this.tree.path}/${id}/work`;
  }

  async prepare(
    id: SnapshotId,
    options: { readonly work: boolean; readonly owner: DirectoryOwner; readonly durable: boolean },
    signal?: AbortSignal,
  ): Promise<void> {
    const name = String(id);
    this.rules.mayPrepare(id, signal);
    const steps = [() => this.tree.change(name, {}), () => this.#makeFs(name, options.owner)];
    if (options.work) steps.push(() => this.tree.change(name, { hasWork: true }));
    if (options.durable) steps.push(() => this.tree.settleDirectory(name));
    await this.#steps(`prepare ${name}`, steps, signal);
  }

  async preallocateDirectories(
    ids: readonly SnapshotId[],
    options: { readonly durable: boolean },
    signal?: AbortSignal,
  ): Promise<{ readonly owner: FileOwner; readonly made: readonly SnapshotId[] }> {
    for (const id of ids) this.rules.mayUsePreallocated(id);
    const names = ids.map(String);
    const steps = names.map((name) => () => this.tree.change(name, { hasFs: true, hasWork: true }));
    if (options.durable) {
      steps.push(() => {
        for (const name of names) this.tree.settleDirectory(name);
      });
    }
    await this.#steps(`prepare spares ${names.join(' ')}`, steps, signal);
    return { owner: OWNER, made: ids };
  }

  measure(id: SnapshotId, signal?: AbortSignal): Promise<MeasuredDirectory> {
    return this.#call(
      `measure ${id}`,
      () => {
        const entry = this.tree.get(String(id));
        if (entry === undefined) throw new HostFault('lstat', this.fsPath(id), 'ENOENT');
        const usage = { size: 512 * Math.ceil(entry.content.length / 8), inodes: 1 };
        return { usage, owner: entry.owner };
      },
      signal,
    );
  }

  ownerOf(id: SnapshotId, signal?: AbortSignal): Promise<FileOwner> {
    // The layers of the remote file system belong to root.
    const isMounted = this.mounts.isAtOrBelow(this.fsPath(id));
    const owner = () => (isMounted ? OWNER : (this.tree.get(String(id))?.owner ?? OWNER));
    return this.#call(`owner ${id}`, owner, signal);
  }

  async syncFileSystem(signal?: AbortSignal): Promise<void> {
    const settle = this.tree.flush();
    await this.#call('syncfs', settle, signal);
  }

  empty(id: SnapshotId, signal?: AbortSignal): Promise<void> {
    this.rules.mayEmpty(id, signal);
    const work = () => {
      this.#refuseMounts(String(id));
      if (this.tree.get(String(id)) !== undefined) this.tree.change(String(id), { content: '' });
    };
    return this.#call(`empty ${id}`, work, signal);
  }

  remove(name: string, signal?: AbortSignal): Promise<void> {
    this.rules.mayRemove(name, signal);
    const change = (to: Partial<Entry>) => () => {
      if (this.tree.get(name) !== undefined) this.tree.change(name, to);
    };
    const steps = [
      () => this.#refuseMounts(name),
      change({ content: '' }),
      change({ hasWork: false }),
      change({ hasFs: false }),
      () => this.tree.drop(name),
      () => this.tree.settleRemoval(name),
    ];
    return this.#steps(`remove ${name}`, steps, signal);
  }

  usesOf(names: readonly string[], signal?: AbortSignal): Promise<readonly DirectoryUse[]> {
    return this.#call('uses', () => names.map((name) => this.#useOf(name)), signal);
  }

  async removeUnused(name: string, signal?: AbortSignal): Promise<DirectoryUse> {
    this.rules.mayRemoveUnused(name, signal);
    const found: { use: DirectoryUse } = { use: { kind: 'absent' } };
    // Each rmdir fails where something has come into the directory since the look.
    const rmdir = (work: () => void) => () => {
      if (found.use.kind === 'unused') found.use = this.#useOf(name);
      if (found.use.kind === 'unused') work();
    };
    const steps = [
      () => {
        found.use = this.#useOf(name);
      },
      rmdir(() => this.tree.change(name, { hasFs: false })),
      rmdir(() => this.tree.change(name, { hasWork: false })),
      rmdir(() => this.tree.drop(name)),
    ];
    await this.#steps(`remove unused ${name}`, steps, signal);
    return found.use.kind === 'unused' ? { kind: 'absent' } : found.use;
  }

  hasFs(id: SnapshotId, signal?: AbortSignal): Promise<boolean> {
    return this.#call(`has ${id}`, () => this.tree.get(String(id))?.hasFs === true, signal);
  }

  #useOf(name: string): DirectoryUse {
    const entry = this.tree.get(name);
    if (this.mounts.isAtOrBelow(`${this.tree.path}/${name}`)) {
      return { kind: 'used', by: 'mount', evidence: 'something is mounted on it' };
    }
    if (entry === undefined) return { kind: 'absent' };
    if (entry.content === '') return { kind: 'unused' };
    return { kind: 'used', by: 'content', evidence: `fs holds ${entry.content}` };
  }

  list(
    signal?: AbortSignal,
    query?: { readonly namesOnly: boolean },
  ): Promise<readonly SnapshotDirectoryEntry[]> {
    const namesOnly = query?.namesOnly === true;
    const entryOf = (name: string): SnapshotDirectoryEntry => ({
      name,
      id: /^[1-9]\d*$/.test(name) ? snapshotId(Number(name)) : null,
      isDirectory: true,
      parts: namesOnly
        ? { kind: 'unchecked' }
        : {
            kind: 'seen',
            fs: this.tree.get(name)?.hasFs ?? false,
            work: this.tree.get(name)?.hasWork ?? false,
          },
    });
    return this.#call('list directories', () => this.tree.names.map(entryOf), signal);
  }

  #makeFs(name: string, owner: DirectoryOwner): void {
    // One that is there keeps its owner, unless another one is requested.
    const isNew = this.tree.get(name)?.hasFs !== true;
    if (owner === 'kept' || (owner === 'process' && !isNew)) return;
    this.tree.change(name, { hasFs: true, owner: owner === 'process' ? OWNER : owner });
  }

  #refuseMounts(name: string): void {
    const path = `${this.tree.path}/${name}`;
    if (this.mounts.isAtOrBelow(path)) throw new HostFault('remove', path, 'EBUSY');
  }

  /** Work of several system calls, at any of which it may end. */
  async #steps(what: string, steps: readonly (() => void)[], signal?: AbortSignal): Promise<void> {
    for (const [index, step] of steps.entries()) {
      await this.#call(`${what} step ${index}`, step, signal, index === 0);
    }
  }

  #call<Value>(
    what: string,
    work: () => Value,
    signal: AbortSignal | undefined,
    mayHang = true,
  ): Promise<Value> {
    const options: CallOptions = { signal, mayHang };
    return this.life.call(
      what,
      () => {
        const code = this.weather.hostFault();
        if (code !== null) throw new HostFault(what, this.tree.path, code);
        return work();
      },
      options,
    );
  }
}
