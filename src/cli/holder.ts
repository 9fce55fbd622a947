/**
 * Which living process has a root open for writing, without touching its lock. The lock file's
 * text says who took it last; whether it is held is only in the kernel's own list.
 */
import { readFile, stat } from 'node:fs/promises';
import { z } from 'zod';
import { errnoOf } from '../base/errors.js';
import { lockPath } from '../log/files.js';

const writtenSchema = z.object({
  pid: z.number().int(),
  /** Host name; empty when it was not said. */
  host: z.string(),
  startedAt: z.string(),
});

/** What stands in the lock file: who took the lock last. */
export type LastHolder = z.output<typeof writtenSchema>;

export interface LiveHolder {
  readonly pid: number;
  /** RFC 3339; null when the holder has not yet written who it is. */
  readonly startedAt: string | null;
}

/** Null when the root was never open, or when its holder is just writing the file. */
export async function lastHolder(root: string): Promise<LastHolder | null> {
  const text = await readOrEmpty(lockPath(root));
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
export async function liveHolder(root: string): Promise<LiveHolder | null> {
  const file = await lockFile(root);
  if (file === null) return null;
  const written = await lastHolder(root);
  for (const { pid, device, inode } of flocks(await readOrEmpty('/proc/locks'))) {
    if (inode !== file.inode) continue;
    // Some file systems show stat(2) another device than the kernel's list has.
    if (device !== file.device && pid !== written?.pid) continue;
    return { pid, startedAt: pid === written?.pid ? written.startedAt : null };
  }
  return null;
}

async function readOrEmpty(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (thrown) {
    const code = errnoOf(thrown);
    if (code === 'ENOENT' || code === 'EACCES' || code === 'EISDIR') return '';
    throw thrown;
  }
}

async function lockFile(root: string): Promise<{ inode: string; device: string } | null> {
  try {
    const { ino, dev } = await stat(lockPath(root), { bigint: true });
    return { inode: ino.toString(), device: deviceText(dev) };
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
