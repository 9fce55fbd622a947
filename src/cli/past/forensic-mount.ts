/**
 * Mounts directories read-only, one over the other, and takes the mount away again, also when this
 * process is killed. The mountpoint is made in the temporary directory unless one is given.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, rmdir, symlink, unlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf } from '../../base/errors.js';
import type { MountTable } from '../../base/ports.js';

export interface ForensicMount {
  readonly path: string;
  /** Unmounts, and removes what was made for it. Answers whether somebody was still inside. */
  undo(): Promise<{ readonly wasBusy: boolean }>;
}

export interface MountInput {
  /** `<root>/snapshots`. */
  readonly snapshots: string;
  /** Names of directories below it, the uppermost first: `12/fs`. */
  readonly layers: readonly string[];
  /** Null: a new directory. */
  readonly target: string | null;
  readonly mayExecute: boolean;
}

/** What mount(2) copies of the options, less what stands beside the layers. */
const layersBytesMax = 4_000;
/** A program that has just ended may hold it for a moment. */
const unmountTries = 10;
const unmountPauseMillis = 50;

export async function mountForensically(
  { snapshots, layers, target, mayExecute }: MountInput,
  mountTable: MountTable,
): Promise<ForensicMount> {
  const mountpoint = target ?? (await mkdtemp(join(tmpdir(), 'stratalog-mount-')));
  const plain = layers.map((layer) => `${snapshots}/${layer}`);
  // Overlay separates by colons, mount(2) by commas, and one page has to hold them all.
  const isAwkward = /[:,\\]/.test(snapshots) || Buffer.byteLength(plain.join(':')) > layersBytesMax;
  const link = isAwkward && layers.length > 1 ? await shortWay(snapshots) : null;
  const lowers = link === null ? plain : layers.map((layer) => `${link}/${layer}`);
  const flags = ['ro', 'nodev', 'nosuid', ...(mayExecute ? [] : ['noexec'])];
  const clean = async (): Promise<void> => {
    if (target === null) await rmdir(mountpoint);
  };
  try {
    const [only = ''] = plain;
    // With an index, overlay would refuse a layer that a container is writing to.
    const overlay = [...flags, 'index=off', `lowerdir=${lowers.join(':')}`];
    await (layers.length === 1
      ? mountTable.mount({ type: 'none', source: only, mountpoint, options: ['bind', ...flags] })
      : mountTable.mount({ type: 'overlay', source: 'overlay', mountpoint, options: overlay }));
  } catch (thrown) {
    await clean();
    throw thrown;
  } finally {
    // The kernel has followed it, and needs it no more.
    if (link !== null) await removeShortWay(link);
  }
  const stopGuarding = guard(mountpoint, target === null);
  const undo = async (): Promise<{ readonly wasBusy: boolean }> => {
    stopGuarding();
    const wasBusy = await unmount(mountpoint, mountTable);
    await clean();
    return { wasBusy };
  };
  return { path: mountpoint, undo };
}

/**
 * Another process that takes the mount away when this one has ended without doing it: its input
 * ends then, whatever the end was. Answers how to send it away.
 */
function guard(mountpoint: string, isOurDirectory: boolean): () => void {
  const script = `read -r _; umount -l "$1"${isOurDirectory ? ' && rmdir "$1"' : ''}`;
  const child = spawn('sh', ['-c', script, 'stratalog-mount-guard', mountpoint], {
    cwd: '/',
    // In a session of its own, a Ctrl-C at the terminal does not reach it.
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  // Without a shell there is no guard, and the mount is as good.
  child.on('error', () => undefined);
  child.unref();
  child.stdin.on('error', () => undefined);
  return () => child.kill('SIGKILL');
}

/** A short name for a long one, without characters that mean something to a mount. */
async function shortWay(directory: string): Promise<string> {
  const link = join(await mkdtemp(join(tmpdir(), 's-')), 's');
  await symlink(directory, link);
  return link;
}

async function removeShortWay(link: string): Promise<void> {
  await unlink(link);
  await rmdir(dirname(link));
}

/** Whoever is still inside keeps what they see; the name is gone at once. */
async function unmount(mountpoint: string, mountTable: MountTable): Promise<boolean> {
  for (let tries = 0; tries < unmountTries; tries += 1) {
    try {
      await mountTable.unmount(mountpoint, { detach: false });
      return false;
    } catch (thrown) {
      if (errnoOf(thrown) !== 'EBUSY') throw thrown;
      await sleep(unmountPauseMillis);
    }
  }
  await mountTable.unmount(mountpoint, { detach: true });
  return true;
}
