/**
 * Mounts directories read-only as one overlay, and unmounts it even if this process is killed. The
 * mountpoint is a new temporary directory unless one is given.
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
  /** Unmounts and removes the temporary directory. Reports whether the mount was still in use. */
  undo(): Promise<{ readonly wasBusy: boolean }>;
}

export interface MountInput {
  /** `<root>/snapshots`. */
  readonly snapshots: string;
  /** Directories below `snapshots`, topmost layer first: `12/fs`. */
  readonly layers: readonly string[];
  /** Null for a new temporary directory. */
  readonly target: string | null;
  readonly mayExecute: boolean;
}

/** mount(2) copies one page of options; this leaves room for those other than the layers. */
const layersBytesMax = 4_000;
/** A program that has just exited may keep the mount busy for a moment. */
const unmountTries = 10;
const unmountPauseMillis = 50;

export async function mountForensically(
  { snapshots, layers, target, mayExecute }: MountInput,
  mountTable: MountTable,
): Promise<ForensicMount> {
  const mountpoint = target ?? (await mkdtemp(join(tmpdir(), 'stratalog-mount-')));
  const plain = layers.map((layer) => `${snapshots}/${layer}`);
  // Overlay separates layers by colons, mount(2) separates options by commas, in one page.
  const needsLink = /[:,\\]/.test(snapshots) || Buffer.byteLength(plain.join(':')) > layersBytesMax;
  const link = needsLink && layers.length > 1 ? await shortLink(snapshots) : null;
  const lowers = link === null ? plain : layers.map((layer) => `${link}/${layer}`);
  const flags = ['ro', 'nodev', 'nosuid', ...(mayExecute ? [] : ['noexec'])];
  const clean = async (): Promise<void> => {
    if (target === null) await rmdir(mountpoint);
  };
  try {
    const [only = ''] = plain;
    // With an index, overlay would refuse a layer that is the upperdir of a container.
    const overlay = [...flags, 'index=off', `lowerdir=${lowers.join(':')}`];
    await (layers.length === 1
      ? mountTable.mount({ type: 'none', source: only, mountpoint, options: ['bind', ...flags] })
      : mountTable.mount({ type: 'overlay', source: 'overlay', mountpoint, options: overlay }));
  } catch (thrown) {
    await clean();
    throw thrown;
  } finally {
    // The kernel has resolved the link.
    if (link !== null) await removeShortLink(link);
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
 * Starts a process that unmounts if this one exits without doing so: its stdin is then closed.
 * Returns a function that stops it.
 */
function guard(mountpoint: string, isOurDirectory: boolean): () => void {
  const script = `read -r _; umount -l "$1"${isOurDirectory ? ' && rmdir "$1"' : ''}`;
  const child = spawn('sh', ['-c', script, 'stratalog-mount-guard', mountpoint], {
    cwd: '/',
    // A separate session, so that Ctrl-C on the terminal does not reach it.
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  // Without a shell there is no guard, but the mount works.
  child.on('error', () => undefined);
  child.unref();
  child.stdin.on('error', () => undefined);
  return () => child.kill('SIGKILL');
}

/** A symbolic link with a short path, without characters that are special in mount options. */
async function shortLink(directory: string): Promise<string> {
  const link = join(await mkdtemp(join(tmpdir(), 's-')), 's');
  await symlink(directory, link);
  return link;
}

async function removeShortLink(link: string): Promise<void> {
  await unlink(link);
  await rmdir(dirname(link));
}

/** Detaches the mount if it stays busy: processes inside keep it, but the path is free. Reports which. */
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
