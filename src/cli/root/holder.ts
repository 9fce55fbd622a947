/**
 * Finds the process that has a root open for writing, without taking its lock. The lock file names
 * the process that took the lock last; only /proc/locks shows whether the lock is held.
 */
import { lstat, readFile } from 'node:fs/promises';
import * as z from 'zod';
import { errnoOf } from '../../base/errors.js';
import { systemDisk } from '../../host/files/disk.js';
import type { RootRefused } from '../../log/errors.js';
import { lockPath } from '../../log/files.js';
import { lockUnusable, readLockText } from '../../log/root/lock.js';

const writtenSchema = z.object({
  pid: z.number().int(),
  /** Host name; empty if not recorded. */
  host: z.string(),
  startedAt: z.string(),
  command: z.string().optional(),
});

/** The content of the lock file: the process that took the lock last. */
export type LastHolder = z.output<typeof writtenSchema>;

export interface LiveLockHolder {
  readonly pid: number;
  /** RFC 3339; null if the holder has not yet written the lock file. */
  readonly startedAt: string | null;
  /** The holder is a `stratalog` command that writes to stopped roots, not a daemon. */
  readonly isTool: boolean;
}

/** Null if the root was never opened, or its holder is currently writing the file. */
export async function lastHolder(root: string): Promise<LastHolder | null> {
  const text = await textOf(root);
  try {
    return writtenSchema.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

/**
 * Null if no process on this machine holds the lock. Also null if the holder is in another pid
 * namespace, which /proc/locks does not list.
 */
export async function liveHolder(root: string): Promise<LiveLockHolder | null> {
  const file = await lockFile(root);
  // The lock is only ever taken on a regular file.
  if (file?.isFile !== true) return null;
  const written = await lastHolder(root);
  for (const { pid, device, inode } of flocks(await readKernelLocks())) {
    if (inode !== file.inode) continue;
    // On some file systems stat(2) and /proc/locks report different devices.
    if (device !== file.device && pid !== written?.pid) continue;
    const isWritten = pid === written?.pid;
    const isTool = isWritten && /^stratalog (?!serve\b)/.test(written.command ?? '');
    return { pid, startedAt: isWritten ? written.startedAt : null, isTool };
  }
  return null;
}

/** Why a start would refuse to take the lock of a root; null when it would not. */
export async function lockRefusal(root: string): Promise<RootRefused | null> {
  return (await lockFile(root))?.isFile === false ? lockUnusable(root) : null;
}

/** Empty where it may not be read. */
async function textOf(root: string): Promise<string> {
  try {
    return await readLockText(systemDisk(), root);
  } catch (thrown) {
    if (errnoOf(thrown) === 'EACCES') return '';
    throw thrown;
  }
}

async function readKernelLocks(): Promise<string> {
  try {
    return await readFile('/proc/locks', 'utf8');
  } catch (thrown) {
    if (errnoOf(thrown) === 'ENOENT' || errnoOf(thrown) === 'EACCES') return '';
    throw thrown;
  }
}

interface LockFile {
  readonly inode: string;
  readonly device: string;
  /** A regular file, not a link. */
  readonly isFile: boolean;
}

/** Null if the file does not exist. */
async function lockFile(root: string): Promise<LockFile | null> {
  try {
    const found = await lstat(lockPath(root), { bigint: true });
    const { ino, dev } = found;
    return { inode: ino.toString(), device: deviceText(dev), isFile: found.isFile() };
  } catch (thrown) {
    if (errnoOf(thrown) === 'ENOENT' || errnoOf(thrown) === 'ENOTDIR') return null;
    throw thrown;
  }
}

/** The major and minor numbers in the hex format of proc_locks(5): `08:01`. */
function deviceText(device: bigint): string {
  const major = ((device >> 8n) & 0xfffn) | ((device >> 32n) & ~0xfffn);
  const minor = (device & 0xffn) | ((device >> 12n) & ~0xffn);
  return [major, minor].map((part) => part.toString(16).padStart(2, '0')).join(':');
}

/** Parses lines such as `1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF`; waiters have an arrow. */
function flocks(text: string): { pid: number; device: string; inode: string }[] {
  return text.split('\n').flatMap((line) => {
    const form = /^\d+: FLOCK +\S+ +WRITE (\d+) ([0-9a-f]+:[0-9a-f]+):(\d+) /.exec(line);
    const [, pid, device, inode] = form ?? [];
    if (pid === undefined || device === undefined || inode === undefined) return [];
    return [{ pid: Number(pid), device, inode }];
  });
}
