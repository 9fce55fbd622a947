/**
 * Takes a root for writing: refuses one that must not be written to, then locks it. Reads nothing
 * of the log yet, so it takes no longer for a long one.
 */
import type { Clock, Disk, DiskLock } from '../../base/ports.js';
import { logDirectory, makeDirectoryIfAbsent } from '../files.js';
import { examineRoot, type RootRules } from './identity.js';
import { takeLock, type LockHolder } from './lock.js';

export interface LockRootOptions {
  /** Absolute. Its parent must exist. */
  readonly root: string;
  readonly disk: Disk;
  readonly clock: Clock;
  readonly rules: RootRules;
  readonly holder: LockHolder;
}

/**
 * The caller releases the lock, or hands it to `openLog`.
 *
 * Fails  RootRefused, RootLocked, LogTooNew, HostFault
 */
export async function lockRoot(options: LockRootOptions): Promise<DiskLock> {
  const { disk, clock, root, rules, holder } = options;
  // Before the lock, because the lock file would make a directory in a root that is refused.
  await examineRoot(disk, root, rules);
  await makeDirectoryIfAbsent(disk, root);
  await makeDirectoryIfAbsent(disk, logDirectory(root));
  return takeLock(disk, clock, root, holder);
}
