/**
 * One writer a root: an flock on `<root>/log/lock`, which the kernel drops with its holder. The
 * file's text only tells people who that is; it is never asked whether the lock is held.
 */
import type { Clock, Disk, DiskLock } from '../base/ports.js';
import { formatTime } from '../base/units.js';
import { RootLocked } from './errors.js';
import { lockPath, readWhole, withFile } from './files.js';

export interface LockHolder {
  readonly pid: number;
  /** Host name; tells which machine holds a root on a shared file system. */
  readonly host: string;
  readonly command: string;
}

/** Takes the lock and writes who has it. Fails with RootLocked, naming pid and start time. */
export async function takeLock(
  disk: Disk,
  clock: Clock,
  root: string,
  holder: LockHolder,
): Promise<DiskLock> {
  const path = lockPath(root);
  const lock = await disk.lock(path);
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

/** Who wrote the lock file last, or null. Says nothing about whether it still holds the lock. */
async function readHolder(
  disk: Disk,
  root: string,
): Promise<{ readonly pid: number; readonly startedAt: string } | null> {
  const bytes = await readWhole(disk, lockPath(root), 4096);
  try {
    const fields: unknown = JSON.parse(bytes?.toString('utf8') ?? 'null');
    if (typeof fields !== 'object' || fields === null) return null;
    if (!('pid' in fields) || typeof fields.pid !== 'number') return null;
    if (!('startedAt' in fields) || typeof fields.startedAt !== 'string') return null;
    return { pid: fields.pid, startedAt: fields.startedAt };
  } catch {
    // The holder is just writing it.
    return null;
  }
}
