/**
 * A FileSystem that serves layers from a layer store: a directory as a read-only bind mount, an
 * EROFS image as a file-backed mount, a squashfs image through a loop device. Nothing is fetched: a
 * layer that is not in the store is refused at once.
 *
 * All access to the store or a mountpoint runs on worker threads, in lanes for mounts that may
 * hang. The only state in memory is a cache of what each mountpoint last showed, so that a check
 * need not read the mount table again.
 */
import { dirname } from 'node:path';

import { errnoOf, reasonOf, UsageError } from '../../base/errors.js';
import type { MountTable } from '../../base/ports.js';
import type { Labels } from '../../base/units.js';
import { jobModule } from '../../host/threads/job-module.js';
import type { WorkerPool } from '../../host/threads/workers.js';
import { TARGET_LABEL } from '../../base/target-label.js';
import type { FileSystem } from '../contract.js';
import type { ChainId } from './digest.js';
import { isDigest } from './digest.js';
import { describeHolders } from './busy-mounts.js';
import type * as layerJobs from './layer-jobs.js';
import type { Observation } from './layer-jobs.js';
import { contentPath, manifestPath, storeFilePath } from './layout.js';
import type { LayerManifest } from './manifest.js';
import { parseManifest } from './manifest.js';
import { showLayer } from './show-layer.js';
import type { LayerPaths, Shown } from './layer-check.js';
import { changeSince, contentFault, isSameFile } from './layer-check.js';
import { mountFault, mountpointFault, topMount } from './layer-check.js';

export interface LayerStoreOptions {
  /** Absolute path of the store. It need not exist yet: an NFS export may be mounted later. */
  readonly directory: string;
  readonly mountTable: MountTable;
  readonly workers: WorkerPool;
  /** How long to wait before each new try to unmount a busy mountpoint, in milliseconds. */
  readonly busyRetriesMillis?: readonly number[];
}

/** The layer cannot be served. The message has the reason and what to do. */
export class LayerUnusable extends Error {
  override readonly name = 'LayerUnusable';
}

/** Mounts stacked at one mountpoint that an unmount goes through, tries at busy ones included. */
const unmountPassesMax = 16;

const jobs = jobModule<typeof layerJobs>(new URL('./layer-jobs.js', import.meta.url));

/**
 * A layer store as a FileSystem. Does not access the store yet: while it is absent, each mount
 * fails with that reason.
 *
 * @throws UsageError if the path is not absolute
 */
export function openLayerStore(options: LayerStoreOptions): LayerStore {
  if (!options.directory.startsWith('/')) {
    throw new UsageError(
      `cannot use ${options.directory} as layer store: the path is not absolute`,
    );
  }
  return new LayerStore(options);
}

export class LayerStore implements FileSystem {
  readonly name = 'layer-store';
  readonly directory: string;
  private readonly options: LayerStoreOptions;
  private readonly shown = new Map<string, Shown>();

  constructor(options: LayerStoreOptions) {
    this.options = options;
    this.directory = options.directory.replace(/(?<=.)\/+$/, '');
  }

  async mount(mountpoint: string, labels: Labels, signal: AbortSignal): Promise<void> {
    const chainId = this.chainIdOf(labels);
    const { manifest, mark } = await this.manifestOf(chainId, signal);
    const paths = this.pathsOf(manifest, mountpoint);
    const before = await this.observe(paths, chainId, signal);
    refuseOn(contentFault(manifest, before, paths));
    if (before.mountpoint?.kind !== 'directory') {
      throw new LayerUnusable(`the mountpoint ${mountpoint} is not a directory`);
    }
    const present = await this.mountEntryAt(mountpoint, signal);
    if (present.entry === undefined) {
      await showLayer(manifest, paths.content, mountpoint, this.options, signal);
    } else if (mountpointFault(manifest, before, paths) !== null) {
      throw new LayerUnusable(
        `${mountpoint} already shows something else: ${present.entry.source} (${present.entry.fileSystemType})`,
      );
    }
    try {
      const seen = await this.confirm(manifest, paths, signal);
      this.remember(mountpoint, manifest, mark, seen);
    } catch (thrown) {
      // Unmounts only what this call has mounted.
      if (present.entry === undefined) await this.takeAway(present.path);
      throw thrown;
    }
  }

  async check(mountpoint: string, labels: Labels, signal: AbortSignal): Promise<void> {
    const chainId = this.chainIdOf(labels);
    const known = this.shown.get(mountpoint);
    if (known?.manifest.chainId === chainId) {
      const paths = this.pathsOf(known.manifest, mountpoint);
      const seen = await this.observe(paths, chainId, signal);
      if (seen.manifest !== null && isUnchanged(seen.manifest, known.manifestMark)) {
        refuseOn(
          contentFault(known.manifest, seen, paths) ??
            changeSince(known, seen, paths) ??
            mountpointFault(known.manifest, seen, paths),
        );
        // The same root as when the mount table was last asked: the same mount, unless someone
        // mounted the layer here anew, which shows the same.
        if (seen.mountpoint !== null && isSameFile(seen.mountpoint, known.root)) return;
      }
    }
    await this.checkAfresh(chainId, mountpoint, signal);
  }

  async unmount(mountpoint: string, signal: AbortSignal): Promise<void> {
    this.shown.delete(mountpoint);
    const waits = this.options.busyRetriesMillis ?? [20, 100, 400];
    const { path } = await this.mountEntryAt(mountpoint, signal, { mayBeAbsent: true });
    let busy = 0;
    // Layers may be stacked at one mountpoint; the bound is against a mount that cannot go.
    for (let passes = 0; passes < unmountPassesMax; passes += 1) {
      const table = await this.options.mountTable.read(signal);
      if (topMount(table, path) === undefined) return;
      try {
        await this.options.mountTable.unmount(path, { detach: false }, signal);
      } catch (thrown) {
        const code = errnoOf(thrown);
        if (code === 'EINVAL' || code === 'ENOENT') continue;
        if (code !== 'EBUSY') throw thrown;
        const wait = waits[busy];
        busy += 1;
        if (wait === undefined) throw await busyFault(path, thrown);
        await pause(wait, signal);
      }
    }
    throw new LayerUnusable(`${path} is still mounted after ${unmountPassesMax} tries`);
  }

  /** Checks at startup that the store exists and is readable. Rejects with the reason. */
  async probe(signal: AbortSignal): Promise<void> {
    const path = storeFilePath(this.directory);
    const found = await this.options.workers.run(
      jobs,
      'readManifest',
      { path },
      { lane: 'through', path, signal },
    );
    if (found === null) {
      throw new LayerUnusable(`${this.directory} is not a layer store: it has no store.json`);
    }
  }

  private async checkAfresh(
    chainId: ChainId,
    mountpoint: string,
    signal: AbortSignal,
  ): Promise<void> {
    this.shown.delete(mountpoint);
    const { manifest, mark } = await this.manifestOf(chainId, signal);
    const paths = this.pathsOf(manifest, mountpoint);
    const seen = await this.confirm(manifest, paths, signal);
    this.remember(mountpoint, manifest, mark, seen);
  }

  private chainIdOf(labels: Labels): ChainId {
    const ref = labels.get(TARGET_LABEL);
    if (ref === undefined) throw new LayerUnusable(`the snapshot has no label ${TARGET_LABEL}`);
    if (!isDigest(ref)) {
      throw new LayerUnusable(`the label ${TARGET_LABEL} is not a chain id: ${ref.slice(0, 100)}`);
    }
    return ref;
  }

  private pathsOf(manifest: LayerManifest, mountpoint: string): LayerPaths {
    return {
      store: this.directory,
      content: contentPath(this.directory, manifest.chainId, manifest.format),
      mountpoint,
    };
  }

  private async manifestOf(
    chainId: ChainId,
    signal: AbortSignal,
  ): Promise<{ manifest: LayerManifest; mark: layerJobs.FileMark }> {
    const path = manifestPath(this.directory, chainId);
    const found = await this.options.workers.run(
      jobs,
      'readManifest',
      { path },
      { lane: 'through', path, signal },
    );
    if (found === null) throw await this.absence(chainId, signal);
    return { manifest: parseManifest(found.text, chainId, path), mark: found.mark };
  }

  private async absence(chainId: ChainId, signal: AbortSignal): Promise<LayerUnusable> {
    try {
      await this.probe(signal);
    } catch (thrown) {
      signal.throwIfAborted();
      return new LayerUnusable(
        `the layer store at ${this.directory} has vanished: ${reasonOf(thrown)}`,
      );
    }
    return new LayerUnusable(`layer ${chainId} is not in the layer store at ${this.directory}`);
  }

  private observe(paths: LayerPaths, chainId: ChainId, signal: AbortSignal): Promise<Observation> {
    const { content, mountpoint } = paths;
    const input = {
      storeFile: storeFilePath(this.directory),
      manifest: manifestPath(this.directory, chainId),
      content,
      mountpoint,
    };
    return this.options.workers.run(jobs, 'observe', input, {
      lane: 'through',
      path: content,
      signal,
    });
  }

  /** Checks everything, including the mount table. */
  private async confirm(
    manifest: LayerManifest,
    paths: LayerPaths,
    signal: AbortSignal,
  ): Promise<Observation> {
    const seen = await this.observe(paths, manifest.chainId, signal);
    refuseOn(contentFault(manifest, seen, paths) ?? mountpointFault(manifest, seen, paths));
    const { entry } = await this.mountEntryAt(paths.mountpoint, signal);
    refuseOn(mountFault(entry, manifest, paths));
    return seen;
  }

  private async mountEntryAt(
    mountpoint: string,
    signal: AbortSignal,
    options: { readonly mayBeAbsent: boolean } = { mayBeAbsent: false },
  ): Promise<{ path: string; entry: ReturnType<typeof topMount> }> {
    let path = mountpoint;
    try {
      // The parent only: the mountpoint itself may be a mount that hangs.
      const parent = await this.options.workers.run(
        jobs,
        'resolvePath',
        { path: dirname(mountpoint) },
        { lane: 'through', path: mountpoint, signal },
      );
      path = `${parent === '/' ? '' : parent}/${mountpoint.slice(mountpoint.lastIndexOf('/') + 1)}`;
    } catch (thrown) {
      if (!options.mayBeAbsent || errnoOf(thrown) !== 'ENOENT') throw thrown;
    }
    return { path, entry: topMount(await this.options.mountTable.read(signal), path) };
  }

  private remember(
    mountpoint: string,
    manifest: LayerManifest,
    manifestMark: layerJobs.FileMark,
    seen: Observation,
  ): void {
    if (seen.content === null || seen.mountpoint === null) return;
    this.shown.set(mountpoint, {
      manifest,
      manifestMark,
      content: seen.content,
      root: seen.mountpoint,
    });
  }

  private async takeAway(path: string): Promise<void> {
    // Detached: the new mount was not reported to a client, but another process may be using it.
    await this.options.mountTable.unmount(path, { detach: true }).catch(() => undefined);
  }
}

function refuseOn(fault: string | null): void {
  if (fault !== null) throw new LayerUnusable(fault);
}

function isUnchanged(one: layerJobs.FileMark, other: layerJobs.FileMark): boolean {
  return (
    isSameFile(one, other) && one.size === other.size && one.modifiedNanos === other.modifiedNanos
  );
}

async function busyFault(path: string, cause: unknown): Promise<LayerUnusable> {
  const holders = await describeHolders(path);
  return new LayerUnusable(`${path} is busy: ${holders}`, { cause });
}

function pause(millis: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', stop);
      resolve();
    }, millis);
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal.reason instanceof Error ? signal.reason : new Error('aborted'));
    };
    signal.addEventListener('abort', stop, { once: true });
  });
}
