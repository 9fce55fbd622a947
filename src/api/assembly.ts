/** Assembles a snapshotter with the ports of the real operating system. */
import { randomUUID } from 'node:crypto';
import { isOutOfSpace, reasonOf, UsageError } from '../base/errors.js';
import type { EffectPolicies } from '../effects/policies.js';
import { defaultPolicies } from '../effects/policies.js';
import { whyNoFileSystem } from '../filesystems/contract-check.js';
import type { FileSystem } from '../filesystems/contract.js';
import type { Host } from '../host/host.js';
import type { KernelFacts } from '../host/kernel.js';
import type { MountSettings } from '../snapshotter/mounts.js';
import {
  openSnapshotter,
  type OpenedSnapshotter,
  type SnapshotterObserver,
} from '../snapshotter/startup/open.js';
import type { SnapshotterSettings } from '../snapshotter/settings.js';
import { whyNoIdMapping } from './root/id-mapping.js';
import { lastMountSettings } from './root/last-start.js';
import { takeRoot, type LockedRoot, type RootChoices } from './root/locked-root.js';
import { RELEASE } from './release.js';
import { checkerIn } from './root/segment-checker.js';

/** Set by an administrator or a caller of the library. An absent option has its default. */
export interface SnapshotterChoices extends RootChoices {
  readonly asynchronousRemove?: boolean;
  readonly durability?: 'data' | 'metadata';
  readonly upperdirLabel?: boolean;
  readonly preallocatedDirectories?: number;
  readonly mountOptions?: readonly string[];
  readonly remapIds?: boolean | 'auto';
  readonly policies?: EffectPolicies;
  readonly checkpointEveryEvents?: number;
  readonly historyCheckpointEveryEvents?: number;
  /** How long history is kept, in milliseconds; null for ever. */
  readonly retainMillis?: number | null;
  readonly segmentBytes?: number;
}

export interface Assembled extends OpenedSnapshotter {
  readonly host: Host;
}

/** Takes the host, because an implementation that mounts needs its mount table and threads. */
export type FileSystemFactory = (host: Host) => FileSystem | null;

/**
 * Opens a root.
 *
 * @throws as `openSnapshotter`; UsageError if the root's file system or the kernel does not support
 *   overlay mounts
 */
export async function assembleSnapshotter(
  choices: SnapshotterChoices,
  fileSystem: FileSystemFactory,
  observer: SnapshotterObserver,
): Promise<Assembled> {
  return openLockedRoot(await takeRoot(choices), choices, { fileSystem, observer });
}

export interface OpeningParts {
  readonly fileSystem: FileSystemFactory;
  readonly observer: SnapshotterObserver;
  /** Aborts the replay; the open then fails with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** As `assembleSnapshotter`, for a locked root. Releases the root on failure. */
export async function openLockedRoot(
  { root, host, lock, probeOverlay }: LockedRoot,
  choices: SnapshotterChoices,
  { fileSystem, observer, signal }: OpeningParts,
): Promise<Assembled> {
  const probe = async (): Promise<MountSettings> => {
    try {
      const kernel = await probeOverlay();
      if (kernel.isRootInMemory) observer.warning(rootIsVolatile, { root });
      return mountSettings(choices, kernel);
    } catch (thrown) {
      const { mountOptions = [], remapIds = 'auto' } = choices;
      const last = isOutOfSpace(thrown)
        ? await lastMountSettings(host.disk, root, mountOptions)
        : null;
      if (last === null) throw thrown;
      observer.warning(usesLastProbe, { error: reasonOf(thrown) });
      return {
        mountOptions,
        ...last,
        whyNoIdMapping: whyNoIdMapping(remapIds, last.whyNoIdMapping),
      };
    }
  };
  try {
    const served = fileSystem(host);
    const why = served === null ? null : whyNoFileSystem(served);
    if (why !== null) throw new UsageError(`cannot use the remote file system: ${why}`);
    const opened = await openSnapshotter({
      root,
      release: { version: RELEASE, node: process.version, pid: process.pid },
      ports: {
        ...host,
        random: Math.random,
        segmentChecker: checkerIn(host.workers, 'look'),
      },
      fileSystem: served,
      settings: settingsOf(choices),
      mountSettings: probe,
      log: {
        uuid: randomUUID,
        lock,
        expectExisting: choices.expectExisting ?? false,
        acceptMovedRoot: choices.acceptMovedRoot ?? false,
        ...(choices.segmentBytes === undefined ? {} : { segmentBytes: choices.segmentBytes }),
      },
      observer,
      ...(signal === undefined ? {} : { signal }),
    });
    return { ...opened, host };
  } catch (thrown) {
    await lock.release();
    await host.close();
    throw thrown;
  }
}

const usesLastProbe =
  'cannot probe kernel features because the root is full; using those recorded at the last startup';
const rootIsVolatile =
  'the root is on tmpfs: a reboot deletes the log and all layers, while containerd keeps its metadata';

function settingsOf(choices: SnapshotterChoices): Omit<SnapshotterSettings, 'mounts'> {
  return {
    asynchronousRemove: choices.asynchronousRemove ?? false,
    durability: choices.durability ?? 'data',
    upperdirLabel: choices.upperdirLabel ?? false,
    preallocatedDirectories: choices.preallocatedDirectories ?? 32,
    policies: choices.policies ?? defaultPolicies,
    failureLimit: { failures: 20, withinMillis: 60_000 },
    checkpointEveryEvents: choices.checkpointEveryEvents ?? 10_000,
    historyCheckpointEveryEvents: choices.historyCheckpointEveryEvents ?? 250_000,
    retainMillis: choices.retainMillis ?? null,
  };
}

function mountSettings(choices: SnapshotterChoices, kernel: KernelFacts): MountSettings {
  const mountOptions = choices.mountOptions ?? [];
  const hasIndexOption = mountOptions.some((option) => /^index(=|$)/.test(option));
  const { idmappedLowers } = kernel;
  const probed = idmappedLowers.supported ? null : idmappedLowers.reason;
  return {
    mountOptions,
    // With index=on, overlay refuses to mount an upper directory again over copied lowers (ESTALE)
    // or while it is in use (EBUSY).
    kernelOptions: [
      ...(kernel.needsUserXattr ? ['userxattr'] : []),
      ...(kernel.overlayIndexParameter && !hasIndexOption ? ['index=off'] : []),
    ],
    whyNoIdMapping: whyNoIdMapping(choices.remapIds ?? 'auto', probed),
  };
}
