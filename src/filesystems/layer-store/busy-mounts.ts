/**
 * Finds the processes that keep a mountpoint busy, for the message of EBUSY. Only reads links in
 * /proc, which does not access the mount. Cannot find processes in other mount namespaces, which
 * the message then mentions.
 */
import { readdir, readFile, readlink } from 'node:fs/promises';

const namedMax = 5;

/** A part of a sentence: `in use by node (pid 12, working directory), …`. */
export async function describeHolders(mountpoint: string): Promise<string> {
  const holders: string[] = [];
  for (const pid of await list('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    const use = await useBy(pid, mountpoint);
    if (use === null) continue;
    const command = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => 'a process');
    holders.push(`${command.trim()} (pid ${pid}, ${use})`);
    if (holders.length === namedMax) break;
  }
  if (holders.length > 0) return `in use by ${holders.join(', ')}`;
  return 'no process seen here uses it; perhaps one in another mount namespace, or a mount below it';
}

async function useBy(pid: string, mountpoint: string): Promise<string | null> {
  const links = [
    ['cwd', 'working directory'],
    ['root', 'root directory'],
    ['exe', 'program'],
  ] as const;
  for (const [name, use] of links) {
    if (await leadsBelow(`/proc/${pid}/${name}`, mountpoint)) return use;
  }
  for (const fd of await list(`/proc/${pid}/fd`)) {
    if (await leadsBelow(`/proc/${pid}/fd/${fd}`, mountpoint)) return 'open file';
  }
  const maps = await readFile(`/proc/${pid}/maps`, 'utf8').catch(() => '');
  return maps.includes(` ${mountpoint}/`) ? 'mapped file' : null;
}

async function leadsBelow(link: string, mountpoint: string): Promise<boolean> {
  const target = await readlink(link).catch(() => '');
  return target === mountpoint || target.startsWith(`${mountpoint}/`);
}

async function list(directory: string): Promise<readonly string[]> {
  return await readdir(directory).catch(() => []);
}
