/**
 * Slows a crash loop down. The unit restarts a crashed daemon after 100 ms, because containerd's
 * calls wait for it; a daemon that fails again and again must not keep a core busy with that. When
 * it has failed several times within a minute, it waits before it exits.
 *
 * The times of failures are in a small file next to the socket, which is in /run: the root may be
 * what cannot be opened, and its log holds only what a daemon did that had it open.
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { uptime } from 'node:os';
import { basename, dirname, join } from 'node:path';

const windowSeconds = 60;
/** Failures within the window that cost no wait. */
const freeFailures = 3;
const waitMillis = 10_000;
/** If failures cannot be counted: slower than without any wait, and soon enough for a single one. */
const uncountedWaitMillis = 1_000;
/** Lines of some ten bytes; more than a window can hold. */
const bytesMax = 4096;

/** The file for a daemon on this socket; `RUNTIME_DIRECTORY` is systemd's, for the unit. */
export function failuresPath(
  address: string,
  environment: Readonly<Record<string, string | undefined>>,
): string {
  const [directory] = (environment['RUNTIME_DIRECTORY'] ?? '').split(':');
  const place = directory?.startsWith('/') === true ? directory : dirname(address);
  return join(place, `${basename(address)}.failures`);
}

/**
 * Records a failure of this process.
 *
 * @param now seconds since the machine was booted, which no clock adjustment changes
 * @returns how many there were within the last minute, with this one; null if they cannot be counted
 */
export async function recordFailure(path: string, now = uptime()): Promise<number | null> {
  try {
    const recent = timesIn(await readText(path)).filter(
      // A time from before the last boot may be later than now.
      (time) => time <= now && time > now - windowSeconds,
    );
    recent.push(now);
    await replace(path, `${recent.join('\n')}\n`);
    return recent.length;
  } catch {
    return null;
  }
}

/** How long to wait before the exit after so many failures, in milliseconds. */
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

/** Empty if there is none. A link or a device is an error: the directory may not be ours alone. */
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
