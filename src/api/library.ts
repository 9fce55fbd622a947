/**
 * Stratalog as a library: the `snapshot` package of stargz-snapshotter v0.8.0 in TypeScript.
 *
 * `NewSnapshotter(root, fileSystem, opts)` becomes `newSnapshotter({ root, fileSystem })`,
 * `AsynchronousRemove` one of its options, Go errors one class with the errdefs kind, and a context
 * an abort signal. The guarantees are the same, plus two that the original does not keep: `close`
 * deletes nothing, and a layer that cannot be restored does not affect the others.
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

export type LabelsGiven = ReadonlyMap<string, string> | Readonly<Record<string, string>>;

export interface NewSnapshotterOptions {
  /** Absolute path of a directory that only this snapshotter writes to. Created if absent. */
  readonly root: string;
  /** Provides remote snapshots. Null: every snapshot is a normal one. */
  readonly fileSystem: FileSystem | null;
  /** `remove` frees the key and leaves the directory for `cleanup`. Default: false. */
  readonly asynchronousRemove?: boolean;
  /** Default `data`: a commit's file contents are durable before it is acknowledged. */
  readonly durability?: 'data' | 'metadata';
  /** Called for problems outside of calls: a lost layer, a leftover directory. Default: ignored. */
  readonly onWarning?: (message: string, fields: Readonly<Record<string, unknown>>) => void;
  /**
   * Called when the log can no longer be written or an invariant is broken: every later change is
   * refused, and the process should exit. Default: throws an uncaught exception.
   */
  readonly onFatal?: (fault: unknown) => void;
}

export interface CallOptions {
  readonly labels?: LabelsGiven;
  /** Aborts the call. An aborted `prepare` or `view` leaves no snapshot. */
  readonly signal?: AbortSignal;
}

/** A refused request. Nothing has changed. */
export class SnapshotError extends Error {
  override readonly name = 'SnapshotError';
  /** The errdefs class that containerd would receive. */
  readonly kind: ErrorClass;
  /** The name of the refusal, for example `ParentNotCommitted`. */
  readonly refusal: Refusal['name'];

  constructor(refusal: Refusal) {
    super(refusal.message);
    this.kind = classOf(refusal);
    this.refusal = refusal.name;
  }
}

/**
 * Every method rejects with UsageError if an argument is invalid or the snapshotter is closed, with
 * SnapshotError if the request is refused, with HostFault if a system call fails, and with
 * LogReadOnly once the log cannot be written.
 */
export interface SnapshotterApi {
  /** Creates a writable snapshot and returns its mounts. An empty `parent` means none. */
  prepare(key: string, parent: string, options?: CallOptions): Promise<readonly MountSpec[]>;
  /** Creates a read-only snapshot and returns its mounts. */
  view(key: string, parent: string, options?: CallOptions): Promise<readonly MountSpec[]>;
  /** Returns the mounts of an active snapshot or a view. */
  mounts(key: string, options?: Pick<CallOptions, 'signal'>): Promise<readonly MountSpec[]>;
  /** Commits an active snapshot as `name`. Labels replace those given to `prepare`. */
  commit(name: string, key: string, options?: CallOptions): Promise<void>;
  remove(key: string): Promise<void>;
  stat(key: string): Promise<SnapshotInfo>;
  /** `paths`: none or `labels` replaces all labels; `labels.<key>` sets or deletes one. */
  update(
    change: { readonly name: string; readonly labels: LabelsGiven },
    ...paths: readonly string[]
  ): Promise<SnapshotInfo>;
  usage(key: string, options?: Pick<CallOptions, 'signal'>): Promise<Usage>;
  /** Visits all snapshots that match a filter (containerd's syntax) at one point in time. */
  walk(
    visit: (info: SnapshotInfo) => void | Promise<void>,
    ...filters: readonly string[]
  ): Promise<void>;
  /** Deletes directories that are garbage according to the log. */
  cleanup(options?: Pick<CallOptions, 'signal'>): Promise<void>;
  /**
   * Settles when recovery from a crash is complete, or with `close`; the next open completes it
   * then. Calls are served during recovery.
   */
  readonly recovered: Promise<void>;
  /**
   * Closes the log. Mounts and directories stay, and the root can be opened again. Pending calls
   * fail with LogReadOnly. Idempotent.
   */
  close(): Promise<void>;
}

/**
 * Opens a root; creates it if absent.
 *
 * @throws UsageError, RootRefused, RootLocked, LogDamaged, LogTooNew, HostFault
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
        onWarning('effect failed', { effect, snapshot, reason });
      },
      healthChanged: (health) => onWarning('effect health changed', { health }),
      fatal: onFatal,
    },
  );
  core.failures.subscribe(onFatal);
  return new LibrarySnapshotter(core);
}

/** Rethrows what a caller's callback throws outside of our calls, so that it cannot break them. */
function guarded<Given extends readonly unknown[]>(
  callback: (...given: Given) => void,
): (...given: Given) => void {
  return (...given) => {
    try {
      callback(...given);
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

/** Calls of the library come from this process, so no caller is recorded. */
const NO_CALLER = {};

class LibrarySnapshotter implements SnapshotterApi {
  readonly recovered: Promise<void>;
  readonly #core: Assembled;
  #closing: Promise<void> | null = null;

  constructor(core: Assembled) {
    this.#core = core;
    this.recovered = core.recover();
    // Otherwise the rejection is unhandled when the caller does not await `recovered`.
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

/** Arguments for `checkArguments`: `paths[0]`, `paths[1]`. */
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
  // Copied: the caller may change its own later.
  return new Map(given instanceof Map ? given : Object.entries(given));
}

function signalOf(options: Pick<CallOptions, 'signal'>): AbortSignal {
  return options.signal ?? new AbortController().signal;
}

function unwrap<Value>(result: Result<Value, Refusal>): Value {
  if (result.ok) return result.value;
  throw new SnapshotError(result.refusal);
}
