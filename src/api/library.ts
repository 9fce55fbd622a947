/**
 * Stratalog as a library: the `snapshot` package of stargz-snapshotter v0.8.0 in TypeScript.
 *
 * `NewSnapshotter(root, fileSystem, opts)` becomes `newSnapshotter({ root, fileSystem })`,
 * `AsynchronousRemove` an option of it, Go errors become one class with the errdefs kind, and a
 * context an abort signal. The promises are the same, with these kept that the original breaks:
 * `close` deletes nothing, and one layer that cannot be restored does not stop the others.
 */
import { UsageError } from '../base/errors.js';
import { snapshotName, type SnapshotName, type Usage } from '../base/units.js';
import type { FileSystem } from '../filesystems/contract.js';
import type { SnapshotInfo } from '../machines/snapshots/info.js';
import { classOf, type ErrorClass, type Refusal } from '../machines/refusals.js';
import type { MountSpec } from '../snapshotter/mounts.js';
import type { Result } from '../base/result.js';
import { assembleSnapshotter, type Assembled } from './assembly.js';
import { argument, checkArguments } from './library-arguments.js';

export type { FileSystem, MountSpec, SnapshotInfo, Usage };
export { UsageError };

/** Labels as a caller has them at hand. */
export type LabelsGiven = ReadonlyMap<string, string> | Readonly<Record<string, string>>;

export interface NewSnapshotterOptions {
  /** Absolute path of a directory that only this snapshotter writes to; made when absent. */
  readonly root: string;
  /** What stands behind remote snapshots. Null: every snapshot is an ordinary one. */
  readonly fileSystem: FileSystem | null;
  /** Remove frees the key at once and leaves the directory to `cleanup`. Default: false. */
  readonly asynchronousRemove?: boolean;
  /** Default `data`: a commit's file contents are durable before it is acknowledged. */
  readonly durability?: 'data' | 'metadata';
  /** Told what goes on without being asked: a lost layer, a leftover. Default: nobody. */
  readonly onWarning?: (message: string, fields: Readonly<Record<string, unknown>>) => void;
  /**
   * The log cannot be written any more, or an invariant is broken: every later change is
   * refused, and the process should end. Default: thrown where nobody catches it.
   */
  readonly onFatal?: (fault: unknown) => void;
}

export interface CallOptions {
  readonly labels?: LabelsGiven;
  /** Gives up waiting. A Prepare or View that is given up leaves nothing behind. */
  readonly signal?: AbortSignal;
}

/** A request that cannot be fulfilled. Nothing has changed. */
export class SnapshotError extends Error {
  override readonly name = 'SnapshotError';
  /** The errdefs class containerd would be told. */
  readonly kind: ErrorClass;
  /** The refusal by its own name, for example `ParentNotCommitted`. */
  readonly refusal: Refusal['name'];

  constructor(refusal: Refusal) {
    super(refusal.message);
    this.kind = classOf(refusal);
    this.refusal = refusal.name;
  }
}

/**
 * The snapshotter. Every method rejects with UsageError when an argument is not what it must be or
 * the snapshotter is closed, with SnapshotError when the request is impossible, with HostFault when
 * the operating system failed, with LogReadOnly once the log cannot be written.
 */
export interface SnapshotterApi {
  /** A writable snapshot; `parent` '' for none. Answers the mounts that show it. */
  prepare(key: string, parent: string, options?: CallOptions): Promise<readonly MountSpec[]>;
  /** A read-only snapshot. */
  view(key: string, parent: string, options?: CallOptions): Promise<readonly MountSpec[]>;
  /** The mounts of an active snapshot or a view. */
  mounts(key: string, options?: Pick<CallOptions, 'signal'>): Promise<readonly MountSpec[]>;
  /** Makes an active snapshot a layer named `name`. Labels replace those given to `prepare`. */
  commit(name: string, key: string, options?: CallOptions): Promise<void>;
  remove(key: string): Promise<void>;
  stat(key: string): Promise<SnapshotInfo>;
  /** `paths`: none or `labels` replaces all labels; `labels.<key>` sets or deletes one. */
  update(
    change: { readonly name: string; readonly labels: LabelsGiven },
    ...paths: readonly string[]
  ): Promise<SnapshotInfo>;
  usage(key: string, options?: Pick<CallOptions, 'signal'>): Promise<Usage>;
  /** Visits one consistent cut of all snapshots that pass a filter in containerd's grammar. */
  walk(
    visit: (info: SnapshotInfo) => void | Promise<void>,
    ...filters: readonly string[]
  ): Promise<void>;
  /** Removes the directories that the log shows to be garbage. */
  cleanup(options?: Pick<CallOptions, 'signal'>): Promise<void>;
  /**
   * Settles when what a crash had left has been dealt with, or with `close`: the next open deals
   * with the rest. Calls are served before that.
   */
  readonly recovered: Promise<void>;
  /**
   * Closes the log in order. Mounts and directories stay; the root can be opened again. What is
   * still under way fails with LogReadOnly; closing again does nothing.
   */
  close(): Promise<void>;
}

/**
 * Opens a root, or makes one.
 *
 * Fails  UsageError, RootRefused, RootLocked, LogDamaged, LogTooNew, HostFault; the message says
 *        what was found and what to do
 */
export async function newSnapshotter(options: NewSnapshotterOptions): Promise<SnapshotterApi> {
  checkArguments('newSnapshotter', { options: [options, argument.opening] });
  const { root, fileSystem } = options;
  const onWarning = guarded(options.onWarning ?? (() => undefined));
  const onFatal = guarded(options.onFatal ?? throwLater);
  const core = await assembleSnapshotter(
    {
      root: root.replace(/(?<=.)\/+$/, ''),
      asynchronousRemove: options.asynchronousRemove ?? false,
      durability: options.durability ?? 'data',
    },
    () => fileSystem,
    {
      warning: onWarning,
      effectFailed: (effect, snapshot, reason) => {
        onWarning('an effect failed', { effect, snapshot, reason });
      },
      healthChanged: (health) => onWarning('effects', { health }),
      fatal: onFatal,
    },
  );
  core.failures.subscribe(onFatal);
  return new LibrarySnapshotter(core);
}

/** What a caller's function throws is thrown outside of our calls, and breaks nothing of ours. */
function guarded<Given extends readonly unknown[]>(
  tell: (...given: Given) => void,
): (...given: Given) => void {
  return (...given) => {
    try {
      tell(...given);
    } catch (thrown) {
      throwLater(thrown);
    }
  };
}

function throwLater(fault: unknown): void {
  queueMicrotask(() => {
    throw fault;
  });
}

/** Its own process: the one that mounts what it is given. */
const NO_CALLER = {};

class LibrarySnapshotter implements SnapshotterApi {
  readonly recovered: Promise<void>;
  readonly #core: Assembled;
  #closing: Promise<void> | null = null;

  constructor(core: Assembled) {
    this.#core = core;
    this.recovered = core.recover();
    // Whoever cares awaits it; the warnings have told the rest.
    this.recovered.catch(() => undefined);
  }

  /** @throws UsageError once `close` was called */
  get #open(): Assembled['snapshotter'] {
    if (this.#closing === null) return this.#core.snapshotter;
    throw new UsageError('the snapshotter is closed; open the root again with newSnapshotter');
  }

  async prepare(key: string, parent: string, options: CallOptions = {}) {
    const request = preparing('prepare', key, parent, options);
    return unwrap(await this.#open.prepare(request, signalOf(options)));
  }

  async view(key: string, parent: string, options: CallOptions = {}) {
    const request = preparing('view', key, parent, options);
    return unwrap(await this.#open.view(request, signalOf(options)));
  }

  async mounts(key: string, options: Pick<CallOptions, 'signal'> = {}) {
    checkArguments('mounts', { key: [key, argument.text], options: [options, argument.waiting] });
    return unwrap(await this.#open.mounts(snapshotName(key), NO_CALLER, signalOf(options)));
  }

  async commit(name: string, key: string, options: CallOptions = {}) {
    checkArguments('commit', {
      name: [name, argument.text],
      key: [key, argument.text],
      options: [options, argument.making],
    });
    const request = {
      key: snapshotName(key),
      name: snapshotName(name),
      parent: null,
      labels: labelsOf(options.labels),
      caller: NO_CALLER,
    };
    unwrap(await this.#open.commit(request, signalOf(options)));
  }

  async remove(key: string) {
    checkArguments('remove', { key: [key, argument.text] });
    unwrap(await this.#open.remove(snapshotName(key), NO_CALLER));
  }

  async stat(key: string) {
    checkArguments('stat', { key: [key, argument.text] });
    return unwrap(await Promise.resolve(this.#open.stat(snapshotName(key))));
  }

  async update(
    change: { readonly name: string; readonly labels: LabelsGiven },
    ...paths: readonly string[]
  ) {
    checkArguments('update', { change: [change, argument.change], ...textsIn('paths', paths) });
    const labels = labelsOf(change.labels);
    const request = { name: snapshotName(change.name), labels, paths, caller: NO_CALLER };
    return unwrap(await this.#open.update(request));
  }

  async usage(key: string, options: Pick<CallOptions, 'signal'> = {}) {
    checkArguments('usage', { key: [key, argument.text], options: [options, argument.waiting] });
    return unwrap(await this.#open.usage(snapshotName(key), signalOf(options)));
  }

  async walk(visit: (info: SnapshotInfo) => void | Promise<void>, ...filters: readonly string[]) {
    checkArguments('walk', { visit: [visit, argument.visitor], ...textsIn('filters', filters) });
    for (const info of unwrap(this.#open.list(filters))) await visit(info);
  }

  async cleanup(options: Pick<CallOptions, 'signal'> = {}) {
    checkArguments('cleanup', { options: [options, argument.waiting] });
    unwrap(await this.#open.cleanup(signalOf(options)));
  }

  close() {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close() {
    try {
      await this.#core.close('closed by its owner');
    } finally {
      await this.#core.host.close();
    }
  }
}

/** Each of several texts, by its place. */
function textsIn(name: string, texts: readonly string[]) {
  return Object.fromEntries(
    texts.map((text, at) => [`${name}[${at}]`, [text, argument.text] as const]),
  );
}

function preparing(call: 'prepare' | 'view', key: string, parent: string, options: CallOptions) {
  checkArguments(call, {
    key: [key, argument.text],
    parent: [parent, argument.text],
    options: [options, argument.making],
  });
  const parentName: SnapshotName | null = parent === '' ? null : snapshotName(parent);
  const labels = labelsOf(options.labels);
  return { key: snapshotName(key), parent: parentName, labels, caller: NO_CALLER };
}

function labelsOf(given: LabelsGiven | undefined): ReadonlyMap<string, string> {
  if (given === undefined) return new Map();
  // A copy: the caller may go on with its own.
  return new Map(given instanceof Map ? given : Object.entries(given));
}

function signalOf(options: Pick<CallOptions, 'signal'>): AbortSignal {
  return options.signal ?? new AbortController().signal;
}

function unwrap<Value>(result: Result<Value, Refusal>): Value {
  if (result.ok) return result.value;
  throw new SnapshotError(result.refusal);
}
