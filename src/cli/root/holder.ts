/**
 * Which living process has a root open for writing, without touching its lock. The lock file's
 * text says who took it last; whether it is held is only in the kernel's own list.
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
  /** Host name; empty when it was not said. */
  host: z.string(),
  startedAt: z.string(),
  command: z.string().optional(),
});

/** What stands in the lock file: who took the lock last. */
export type LastHolder = z.output<typeof writtenSchema>;

export interface LiveLockHolder {
  readonly pid: number;
  /** RFC 3339; null when the holder has not yet written who it is. */
  readonly startedAt: string | null;
  /** A command of ours that writes to stopped roots, and no daemon. */
  readonly isTool: boolean;
}

/** Null when the root was never open, or when its holder is just writing the file. */
export async function lastHolder(root: string): Promise<LastHolder | null> {
  const text = await textOf(root);
  try {
    return writtenSchema.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

/**
 * Null when nobody on this machine holds the lock, or when this cannot be seen: a process in
 * another pid namespace is not listed.
 */
export async function liveHolder(root: string): Promise<LiveLockHolder | null> {
  const file = await lockFile(root);
  // Nobody takes a lock that is no regular file.
  if (file?.isFile !== true) return null;
  const written = await lastHolder(root);
  for (const { pid, device, inode } of flocks(await kernelsList())) {
    if (inode !== file.inode) continue;
    // Some file systems show stat(2) another device than the kernel's list has.
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

async function kernelsList(): Promise<string> {
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
  /** A regular file, and no link to one. */
  readonly isFile: boolean;
}

/** Null when there is none. */
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

/** makedev(3) undone, as proc_locks(5) writes it: `08:01`, in hex. */
function deviceText(device: bigint): string {
  const major = ((device >> 8n) & 0xfffn) | ((device >> 32n) & ~0xfffn);
  const minor = (device & 0xffn) | ((device >> 12n) & ~0xffn);
  return [major, minor].map((part) => part.toString(16).padStart(2, '0')).join(':');
}

/** Lines such as `1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF`; those that wait have an arrow. */
function flocks(text: string): { pid: number; device: string; inode: string }[] {
  return text.split('\n').flatMap((line) => {
    const form = /^\d+: FLOCK +\S+ +WRITE (\d+) ([0-9a-f]+:[0-9a-f]+):(\d+) /.exec(line);
    const [, pid, device, inode] = form ?? [];
    if (pid === undefined || device === undefined || inode === undefined) return [];
    return [{ pid: Number(pid), device, inode }];
  });
}
