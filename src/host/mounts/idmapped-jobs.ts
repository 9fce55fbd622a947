/** The implementation of IdmappedMounts, as jobs for worker threads. */
import * as fs from 'node:fs';
import { errnoOf, HostFault } from '../../base/errors.js';
import type { IdmappedClone } from '../../base/ports.js';
import { asHostFault, guarded } from '../faults.js';
import { attachIdmappedClone } from './idmapped-mount.js';
import type { JobControl } from '../threads/job-module.js';
import { cString, errnoName, lastErrno, libraryCall } from '../libc.js';
import { readTable } from './mount-jobs.js';
import { attribute, statusOf } from '../statx.js';

const umount2 = libraryCall('int umount2(const void *target, int flags)');
const detachOnly = 2 | 8; // MNT_DETACH | UMOUNT_NOFOLLOW

/** Bounds the loop that unmounts stacked mounts, in case one stays. */
const stackedMax = 64;

export interface AttachInput {
  /** Descriptor of the user namespace. */
  readonly namespace: number;
  readonly clones: readonly IdmappedClone[];
}

export function attach({ namespace, clones }: AttachInput, control: JobControl): void {
  // Duplicated, because an aborted caller closes its descriptor and the number may be reused.
  const own = guarded('open', 'the user namespace', () =>
    fs.openSync(`/proc/self/fd/${namespace}`, 'r'),
  );
  try {
    if (control.aborted()) throw new HostFault('open_tree', 'the user namespace', 'ECANCELED');
    attachAll(own, clones, control);
  } finally {
    fs.closeSync(own);
  }
}

function attachAll(namespace: number, clones: readonly IdmappedClone[], control: JobControl): void {
  for (const { source, mountpoint, isMount } of clones) {
    // Without its mount, the layer would be cloned as an empty directory.
    if (isMount && !isMountRoot(source)) throw notMounted(source);
    guarded('mkdir', mountpoint, () => fs.mkdirSync(mountpoint, { recursive: true, mode: 0o700 }));
    unmountAll(mountpoint);
    attachIdmappedClone({ source, mountpoint, namespace, recursive: isMount });
    if (!control.aborted()) continue;
    unmountAll(mountpoint);
    throw new HostFault('move_mount', mountpoint, 'ECANCELED');
  }
}

function notMounted(source: string): HostFault {
  const fault = new HostFault('open_tree', source, 'EINVAL');
  fault.message = `nothing is mounted on ${source}`;
  return fault;
}

/**
 * The clones that do not show their source, or show it without mapped ids. For a mount this reads
 * only the mount table, because the server of an old clone may not answer.
 */
export function missing(clones: readonly IdmappedClone[]): readonly IdmappedClone[] {
  // If mounts are stacked, the last one in the table is on top.
  const topmost = new Map(readTable().map((entry) => [entry.mountpoint, entry]));
  return clones.filter(({ source, mountpoint, isMount }) => {
    const clone = topmost.get(mountpoint);
    if (clone?.options.includes('idmapped') !== true) return true;
    if (isMount) {
      const mount = topmost.get(source);
      return clone.device !== mount?.device || clone.root !== mount.root;
    }
    const [shown, expected] = [statusOf(mountpoint), statusOf(source)];
    return shown.device !== expected.device || shown.inode !== expected.inode;
  });
}

/**
 * Unmounts everything on the directory and removes it, and its parent if that is empty.
 *
 * @throws HostFault: ENOTEMPTY if there are files, which are not ours
 */
export function detach({ mountpoint, parent }: { mountpoint: string; parent: string }): void {
  unmountAll(mountpoint);
  removeDirectory(mountpoint);
  try {
    removeDirectory(parent);
  } catch (error) {
    if (errnoOf(error) !== 'ENOTEMPTY') throw error;
  }
}

/** `name` of each directory, and `name/entry` of each directory in it. */
export function list({ path }: { readonly path: string }): readonly string[] {
  return namesIn(path).flatMap((name) => [
    name,
    ...namesIn(`${path}/${name}`).map((entry) => `${name}/${entry}`),
  ]);
}

function namesIn(path: string): readonly string[] {
  try {
    const entries = fs.readdirSync(path, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  } catch (error) {
    const code = errnoOf(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return [];
    throw asHostFault('readdir', path, error);
  }
}

function isMountRoot(path: string): boolean {
  return (statusOf(path).attributes & attribute.mountRoot) !== 0;
}

function unmountAll(mountpoint: string): void {
  for (let count = 0; count < stackedMax; count += 1) {
    if (umount2(cString(mountpoint), detachOnly) === 0) continue;
    const code = errnoName(lastErrno());
    // EINVAL: nothing is mounted there.
    if (code === 'EINVAL' || code === 'ENOENT') return;
    throw new HostFault('umount', mountpoint, code);
  }
  throw new HostFault('umount', mountpoint, 'EBUSY');
}

function removeDirectory(path: string): void {
  try {
    fs.rmdirSync(path);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw asHostFault('rmdir', path, error);
  }
}
