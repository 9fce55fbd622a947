/**
 * Puts a snapshotter together on the real operating system: the ports are chosen here.
 */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { isWantOfRoom, reasonOf } from '../base/errors.js';
import type { EffectPolicies } from '../effects/policies.js';
import { defaultPolicies } from '../effects/policies.js';
import type { FileSystem } from '../filesystems/contract.js';
import { openHost, type Host } from '../host/host.js';
import { probeKernel, type KernelFacts } from '../host/kernel.js';
import type { MountSettings } from '../snapshotter/mounts.js';
import {
  openSnapshotter,
  type OpenedSnapshotter,
  type SnapshotterObserver,
} from '../snapshotter/open.js';
import type { SnapshotterSettings } from '../snapshotter/settings.js';
import { lastMountSettings } from './last-start.js';
import { RELEASE } from './release.js';
import { checkerIn } from './segment-checker.js';
import { examinePlace, realRoot, refuseUnfitRoot } from './root-place.js';

/** What an administrator or a caller of the library chooses. Absent: the default. */
export interface SnapshotterChoices {
  /** Absolute path. */
  readonly root: string;
  readonly asynchronousRemove?: boolean;
  readonly durability?: 'data' | 'metadata';
  readonly upperdirLabel?: boolean;
  readonly spareDirectories?: number;
  readonly mountOptions?: readonly string[];
  readonly remapIds?: boolean | 'auto';
  readonly expectExisting?: boolean;
  readonly policies?: EffectPolicies;
  readonly checkpointEveryEvents?: number;
  readonly historyCheckpointEveryEvents?: number;
  readonly acceptMovedRoot?: boolean;
  /** How long history is kept, in milliseconds; null for ever. */
  readonly retainMillis?: number | null;
  readonly segmentBytes?: number;
}

export interface Assembled extends OpenedSnapshotter {
  readonly host: Host;
}

/** Given the host, because an implementation that mounts needs its mount table and its threads. */
export type FileSystemFactory = (host: Host) => FileSystem | null;

/**
 * Opens a root. Fails as `openSnapshotter` does, and with UsageError when the root's file system
 * or this kernel cannot carry overlay mounts.
 */
export async function assembleSnapshotter(
  choices: SnapshotterChoices,
  fileSystem: FileSystemFactory,
  observer: SnapshotterObserver,
): Promise<Assembled> {
  const root = await realRoot(choices.root);
  const host = openHost({ root });
  let tried: KernelFacts | null = null;
  const tryOverlays = async (): Promise<KernelFacts> => {
    const kernel = (tried ??= await probeKernel(host.workers, root));
    refuseUnfitRoot(root, kernel);
    return kernel;
  };
  const probe = async (): Promise<MountSettings> => {
    try {
      const kernel = await tryOverlays();
      if (kernel.isRootInMemory) observer.warning(losesAll, { root });
      return mountSettings(choices, kernel);
    } catch (thrown) {
      const { mountOptions = [], remapIds = 'auto' } = choices;
      const last = isWantOfRoom(thrown)
        ? await lastMountSettings(host.disk, root, mountOptions)
        : null;
      if (last === null) throw thrown;
      observer.warning(goesByLastStart, { error: reasonOf(thrown) });
      return { mountOptions, ...last, ...(remapIds === 'auto' ? {} : { remapIds }) };
    }
  };
  try {
    // Nothing of ours may be left where we cannot stay.
    await examinePlace(root, choices.expectExisting === true ? null : tryOverlays);
    const opened = await openSnapshotter({
      root,
      release: { version: RELEASE, node: process.version, pid: process.pid },
      ports: {
        ...host,
        random: Math.random,
        segmentChecker: checkerIn(host.workers, 'look'),
      },
      fileSystem: fileSystem(host),
      settings: settingsOf(choices),
      mountSettings: probe,
      log: {
        uuid: randomUUID,
        holder: { pid: process.pid, host: hostname(), command: process.argv.slice(0, 3).join(' ') },
        expectExisting: choices.expectExisting ?? false,
        acceptMovedRoot: choices.acceptMovedRoot ?? false,
        ...(choices.segmentBytes === undefined ? {} : { segmentBytes: choices.segmentBytes }),
      },
      observer,
    });
    return { ...opened, host };
  } catch (thrown) {
    await host.close();
    throw thrown;
  }
}

const goesByLastStart =
  'the root is full: what the kernel can do was not tried, the last start knew it';
const losesAll =
  'the root lies in memory (tmpfs): the log and all layers are gone after a reboot, while containerd remembers them';

function settingsOf(choices: SnapshotterChoices): Omit<SnapshotterSettings, 'mounts'> {
  return {
    asynchronousRemove: choices.asynchronousRemove ?? false,
    durability: choices.durability ?? 'data',
    upperdirLabel: choices.upperdirLabel ?? false,
    spareDirectories: choices.spareDirectories ?? 32,
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
  const wish = choices.remapIds ?? 'auto';
  return {
    mountOptions,
    // With the index on, an upper directory mounted again over copied lowers is refused
    // (ESTALE), and a busy one too (EBUSY).
    kernelOptions: [
      ...(kernel.needsUserXattr ? ['userxattr'] : []),
      ...(kernel.overlayIndexParameter && !hasIndexOption ? ['index=off'] : []),
    ],
    remapIds: wish === 'auto' ? kernel.idmappedLowers.supported : wish,
  };
}
