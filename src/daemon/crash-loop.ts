/**
 * Slows down a crash loop. The unit restarts a crashed daemon after 100 ms, because containerd's
 * calls wait for it. A daemon that has failed several times within a minute waits before it exits,
 * so that restarts do not keep a CPU busy.
 *
 * The times of failures are in a file next to the socket in /run, because the root may be what
 * cannot be opened.
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { uptime } from 'node:os';
import { basename, dirname, join } from 'node:path';

const windowSeconds = 60;
/** Failures within the window that cause no delay. */
const freeFailures = 3;
const waitMillis = 10_000;
/** The delay if failures cannot be counted: a compromise between a single crash and a loop. */
const uncountedWaitMillis = 1_000;
/** Enough for all lines of a window. */
const bytesMax = 4096;

/** The file for the daemon on this socket. systemd sets `RUNTIME_DIRECTORY` for the unit. */
export function failuresPath(
  address: string,
  environment: Readonly<Record<string, string | undefined>>,
): string {
  const [directory] = (environment['RUNTIME_DIRECTORY'] ?? '').split(':');
  const parent = directory?.startsWith('/') === true ? directory : dirname(address);
  return join(parent, `${basename(address)}.failures`);
}

/**
 * Records a failure of this process.
 *
 * @param now seconds since boot, which clock adjustments do not change
 * @returns the number of failures within the last minute, including this one; null if unknown
 */
export async function recordFailure(path: string, now = uptime()): Promise<number | null> {
  try {
    const recent = timesIn(await readText(path)).filter(
      // A time recorded before the last boot may be later than now.
      (time) => time <= now && time > now - windowSeconds,
    );
    recent.push(now);
    await replace(path, `${recent.join('\n')}\n`);
    return recent.length;
  } catch {
    return null;
  }
}

/** Milliseconds to wait before exiting. */
export function waitAfter(failures: number | null): number {
  if (failures === null) return uncountedWaitMillis;
  return failures > freeFailures ? waitMillis : 0;
}

const timesIn = (text: string): number[] =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map(Number)
    .filter(Number.isFinite);

/** Empty if the file does not exist. Fails on a symlink: the directory may be shared. */
async function readText(path: string): Promise<string> {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  try {
    const file = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(bytesMax), 0, bytesMax, 0);
      return buffer.toString('latin1', 0, bytesRead);
    } finally {
      await file.close();
    }
  } catch (thrown) {
    if (thrown instanceof Error && 'code' in thrown && thrown.code === 'ENOENT') return '';
    throw thrown;
  }
}

async function replace(path: string, text: string): Promise<void> {
  const temporary = `${path}.${randomBytes(3).toString('hex')}`;
  try {
    const file = await open(temporary, 'wx', 0o600);
    try {
      await file.writeFile(text);
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (thrown) {
    await rm(temporary, { force: true });
    throw thrown;
  }
}
