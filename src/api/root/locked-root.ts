/**
 * A root that this process holds: examined and locked, nothing read of its log yet. All that has
 * to come before the first connection is accepted, and no more: what this file imports is loaded
 * while clients wait for a sign of life.
 */
import { hostname } from 'node:os';
import type { DiskLock } from '../../base/ports.js';
import { openHost, type Host } from '../../host/host.js';
import { probeKernel, type KernelFacts } from '../../host/kernel.js';
import type { ThreadReports } from '../../host/threads/thread-health.js';
import { lockRoot } from '../../log/root/root-lock.js';
import { examinePlace, realRoot, refuseUnfitRoot } from './root-path.js';

export interface RootChoices {
  /** Absolute path. */
  readonly root: string;
  readonly expectExisting?: boolean;
  readonly acceptMovedRoot?: boolean;
}

export interface LockedRoot {
  /** All links resolved. */
  readonly root: string;
  readonly host: Host;
  readonly lock: DiskLock;
  /**
   * What the kernel can do here. Tried once.
   *
   * @throws UsageError if the root's file system or this kernel cannot carry overlay mounts
   */
  readonly tryOverlays: () => Promise<KernelFacts>;
}

/**
 * Fails  UsageError, RootRefused, RootLocked, LogTooNew, HostFault; nothing is held then, and a
 *        root that was empty or absent is so again
 */
export async function takeRoot(
  choices: RootChoices,
  onThreads?: ThreadReports,
): Promise<LockedRoot> {
  const root = await realRoot(choices.root);
  const host = openHost({ root, ...(onThreads === undefined ? {} : { onThreads }) });
  let tried: KernelFacts | null = null;
  const tryOverlays = async (): Promise<KernelFacts> => {
    const kernel = (tried ??= await probeKernel(host.workers, root));
    refuseUnfitRoot(root, kernel);
    return kernel;
  };
  const { expectExisting = false, acceptMovedRoot = false } = choices;
  try {
    // Nothing of ours may be left where we cannot stay.
    await examinePlace(root, expectExisting ? null : tryOverlays);
    const lock = await lockRoot({
      root,
      disk: host.disk,
      clock: host.clock,
      rules: { expectExisting, acceptedMove: acceptMovedRoot ? 'any' : 'none' },
      holder: {
        pid: process.pid,
        host: hostname(),
        command: process.argv.slice(0, 3).join(' '),
      },
    });
    return { root, host, lock, tryOverlays };
  } catch (thrown) {
    await host.close();
    throw thrown;
  }
}
