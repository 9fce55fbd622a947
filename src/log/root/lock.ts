/**
 * One writer a root: an flock on `<root>/log/lock`, which the kernel drops with its holder. The
 * file's text only tells people who that is; it is never asked whether the lock is held.
 */
import { errnoOf } from '../../base/errors.js';
import type { Clock, Disk, DiskLock } from '../../base/ports.js';
import { formatTime } from '../../base/units.js';
import { RootLocked, RootRefused } from '../errors.js';
import { lockPath, NO_FILE, readWhole, withFile } from '../files.js';

/** Far more than a holder writes of itself. */
const TEXT_BYTES_MAX = 4096;

export interface LockHolder {
  readonly pid: number;
  /** Host name: the machine that holds a root on a shared file system. */
  readonly host: string;
  readonly command: string;
}

/**
 * Takes the lock and writes who has it.
 *
 * Fails  RootLocked, naming pid and start time; RootRefused when what has the lock's name is no
 *        regular file
 */
export async function takeLock(
  disk: Disk,
  clock: Clock,
  root: string,
  holder: LockHolder,
): Promise<DiskLock> {
  const path = lockPath(root);
  const lock = await lockFile(disk, root);
  if (lock === null) throw new RootLocked(root, await readHolder(disk, root));
  try {
    const text = Buffer.from(
      `${JSON.stringify({ ...holder, startedAt: formatTime(clock.now()) })}\n`,
    );
    await withFile(disk, path, 'write', async (file) => {
      await file.truncate(0);
      await file.write(text, 0);
    });
    return lock;
  } catch (thrown) {
    await lock.release();
    throw thrown;
  }
}

async function lockFile(disk: Disk, root: string): Promise<DiskLock | null> {
  try {
    return await disk.lock(lockPath(root));
  } catch (thrown) {
    if (NO_FILE.has(errnoOf(thrown) ?? '')) throw lockUnusable(root, thrown);
    throw thrown;
  }
}

/** The refusal of a root whose lock is a link, a directory, a pipe or a device. */
export const lockUnusable = (root: string, cause?: unknown): RootRefused =>
  new RootRefused(
    root,
    'lock-unusable',
    'log/lock is not a regular file, and the holder of the lock writes into it: ' +
      'move it away. The next start makes its own',
    { cause },
  );

/** The text of the lock file; empty if it does not exist or is no regular file. */
export async function readLockText(disk: Disk, root: string): Promise<string> {
  try {
    return (await readWhole(disk, lockPath(root), TEXT_BYTES_MAX))?.toString('utf8') ?? '';
  } catch (thrown) {
    if (NO_FILE.has(errnoOf(thrown) ?? '')) return '';
    throw thrown;
  }
}

/** Who wrote the lock file last, or null. Says nothing about whether it still holds the lock. */
async function readHolder(
  disk: Disk,
  root: string,
): Promise<{ readonly pid: number; readonly startedAt: string } | null> {
  const text = await readLockText(disk, root);
  try {
    const fields: unknown = JSON.parse(text);
    if (typeof fields !== 'object' || fields === null) return null;
    if (!('pid' in fields) || typeof fields.pid !== 'number') return null;
    if (!('startedAt' in fields) || typeof fields.startedAt !== 'string') return null;
    return { pid: fields.pid, startedAt: fields.startedAt };
  } catch {
    // The holder is just writing it.
    return null;
  }
}
