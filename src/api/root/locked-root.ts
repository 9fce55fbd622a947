/**
 * Checks and locks a root without reading its log. Keep the imports minimal: they are loaded
 * before the first connection is accepted.
 */
import { hostname } from 'node:os';
import type { DiskLock } from '../../base/ports.js';
import { openHost, type Host } from '../../host/host.js';
import { probeKernel, type KernelFacts } from '../../host/kernel.js';
import type { ThreadReports } from '../../host/threads/thread-health.js';
import { lockRoot } from '../../log/root/root-lock.js';
import { checkRootLocation, realRoot, refuseUnfitRoot } from './root-path.js';

export interface RootChoices {
  /** Absolute path. */
  readonly root: string;
  readonly expectExisting?: boolean;
  readonly acceptMovedRoot?: boolean;
}

export interface LockedRoot {
  /** All symlinks resolved. */
  readonly root: string;
  readonly host: Host;
  readonly lock: DiskLock;
  /**
   * Probes the kernel's features on this root, once.
   *
   * @throws UsageError if the root's file system or this kernel cannot carry overlay mounts
   */
  readonly probeOverlay: () => Promise<KernelFacts>;
}

/**
 * @throws UsageError, RootRefused, RootLocked, LogTooNew, HostFault; then nothing is held, and a
 *   root that was empty or absent is empty or absent again
 */
export async function takeRoot(
  choices: RootChoices,
  onThreads?: ThreadReports,
): Promise<LockedRoot> {
  const root = await realRoot(choices.root);
  const host = openHost({ root, ...(onThreads === undefined ? {} : { onThreads }) });
  let probed: KernelFacts | null = null;
  const probeOverlay = async (): Promise<KernelFacts> => {
    const kernel = (probed ??= await probeKernel(host.workers, root));
    refuseUnfitRoot(root, kernel);
    return kernel;
  };
  const { expectExisting = false, acceptMovedRoot = false } = choices;
  try {
    // Before the lock, which creates files: an unsuitable root must be left unchanged.
    await checkRootLocation(root, expectExisting ? null : probeOverlay);
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
    return { root, host, lock, probeOverlay };
  } catch (thrown) {
    await host.close();
    throw thrown;
  }
}
