/** The kernel's mount table, read and cleared below one directory. */
import { readFileSync } from 'node:fs';
import { run } from './command.js';

/** Whether `path` is `directory` or lies below it, by whole path components. */
export function isWithin(path: string, directory: string): boolean {
  return (
    path === directory || path.startsWith(directory.endsWith('/') ? directory : `${directory}/`)
  );
}

/** Mountpoints at or below the directory, the latest mounted first: the order to unmount in. */
export function mountsWithin(directory: string): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .flatMap((line) => line.split(' ')[4] ?? [])
    .map(unescapeOctal)
    .filter((mountpoint) => isWithin(mountpoint, directory))
    .reverse();
}

/** Takes everything away that is mounted at or below the directory. Answers what was there. */
export async function unmountWithin(directory: string): Promise<string[]> {
  const found = mountsWithin(directory);
  for (const mountpoint of found) {
    await run('umount', ['-l', mountpoint], { mayFail: true });
  }
  const left = mountsWithin(directory);
  if (left.length > 0) throw new Error(`still mounted below ${directory}: ${left.join(', ')}`);
  return found;
}

/** mountinfo writes blanks, tabs, newlines and backslashes as \ooo (proc_pid_mountinfo(5)). */
function unescapeOctal(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}
