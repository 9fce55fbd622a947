/**
 * Deletes a tree written by containers. Never follows a symlink and never enters a mount (EBUSY;
 * EXDEV if the kernel reports only devices), even if the tree changes concurrently. Includes nested
 * btrfs subvolumes, as rm(1) does, directories without permissions and immutable files.
 * Use it on worker threads only.
 */
import * as fs from 'node:fs';
import { HostFault } from '../../base/errors.js';
import { cString, checked, errnoName, lastErrno, libraryCall } from '../libc.js';
import { areOnOneMount, attribute, statusAt, statusIfExists, type FileStatus } from '../statx.js';
import { childPath, namesIn, openForcibly, walk } from './tree.js';
import type { Level, Visitor } from './tree.js';

const unlinkat = libraryCall('int unlinkat(int directory, const void *name, int flags)');
const openat = libraryCall('int openat(int directory, const void *name, int flags, int mode)');
const ioctl = libraryCall('int ioctl(int fd, unsigned long request, void *argument)');

const removeDirectory = 0x200; // AT_REMOVEDIR
const getFlags = 0x80086601; // FS_IOC_GETFLAGS
const setFlags = 0x40086602; // FS_IOC_SETFLAGS
const inodeImmutable = 0x10;
const inodeAppend = 0x20;
const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = fs.constants;
const closeOnExec = 0o2000000;

/** How often a directory is emptied again because another process has added files. */
const refillsMax = 5;

type Outcome = 'gone' | 'isDirectory' | 'notEmpty' | 'denied';

/**
 * Deletes everything in an open directory, but not the directory. Closes the descriptor.
 *
 * @throws HostFault: EBUSY or EXDEV at a mount, ENOTEMPTY if it keeps being refilled
 */
export function emptyTree(fd: number, path: string, aborted: () => boolean): void {
  const root = statusAt(fd, '', path);
  const refills = new Map<string, number>();
  const visitor: Visitor = {
    aborted,
    enter: (level) => {
      if (level.name.length > 0) refuseMount(level.status, root, level.path);
      unlock(level);
      unlinkFiles(level, aborted);
    },
    leave: (level, parent) => {
      if (parent === null) return;
      const outcome = removeName(parent.fd, level.name, removeDirectory, level.path);
      if (outcome === 'gone') return;
      const { device, inode } = level.status;
      const count = (refills.get(`${device} ${inode}`) ?? 0) + 1;
      refills.set(`${device} ${inode}`, count);
      if (count > refillsMax) throw new HostFault('rmdir', level.path, 'ENOTEMPTY');
      parent.pending.push(level.name);
    },
  };
  walk(fd, path, visitor, openForcibly);
}

/** Deletes an entry of any type in an open directory. */
export function removeAt(
  directory: number,
  name: Uint8Array,
  path: string,
  aborted: () => boolean,
): void {
  const parent = statusAt(directory, '', path);
  for (let round = 0; round <= refillsMax; round += 1) {
    const status = statusIfExists(directory, name, path);
    if (status === null) return;
    if (status.isDirectory) {
      refuseMount(status, parent, path);
      emptyTree(openForcibly(directory, name, path), path, aborted);
      if (aborted()) return;
    }
    const flags = status.isDirectory ? removeDirectory : 0;
    if (removeName(directory, name, flags, path) === 'gone') return;
  }
  throw new HostFault('rmdir', path, 'ENOTEMPTY');
}

/** Checks for a mount root too: a bind mount of the same file system has the same device. */
function refuseMount(status: FileStatus, tree: FileStatus, path: string): void {
  if ((status.attributes & attribute.mountRoot) !== 0) throw new HostFault('remove', path, 'EBUSY');
  if (!areOnOneMount(status, tree)) throw new HostFault('remove', path, 'EXDEV');
}

/** Makes it possible to delete entries of the directory. */
function unlock(level: Level): void {
  if ((level.status.attributes & (attribute.immutable | attribute.append)) !== 0) {
    clearFlags(level.fd, level.path);
  }
  if ((level.status.mode & 0o700) !== 0o700) fs.fchmodSync(level.fd, 0o700);
}

function unlinkFiles(level: Level, aborted: () => boolean): void {
  for (const name of namesIn(level.fd, level.path)) {
    if (aborted()) return;
    const path = childPath(level.path, name);
    if (removeName(level.fd, name, 0, path) === 'isDirectory') level.pending.push(name);
  }
}

/**
 * rmdir(2) of a name in an open directory. Returns true if it is absent, false if it is not empty.
 *
 * @throws HostFault: EBUSY at a mount, ENOTDIR, EPERM, EIO …
 */
export function removeIfEmpty(directory: number, name: string, path: string): boolean {
  if (unlinkat(directory, cString(name), removeDirectory) === 0) return true;
  const code = errnoName(lastErrno());
  if (code === 'ENOENT') return true;
  if (code === 'ENOTEMPTY' || code === 'EEXIST') return false;
  throw new HostFault('rmdir', path, code);
}

function removeName(directory: number, name: Uint8Array, flags: number, path: string): Outcome {
  const outcome = tryRemove(directory, name, flags, path);
  if (outcome !== 'denied') return outcome;
  if (liftProtection(directory, name, path)) {
    const second = tryRemove(directory, name, flags, path);
    if (second !== 'denied') return second;
  }
  throw new HostFault('unlink', path, 'EPERM');
}

function tryRemove(directory: number, name: Uint8Array, flags: number, path: string): Outcome {
  if (unlinkat(directory, cString(name), flags) === 0) return 'gone';
  const code = errnoName(lastErrno());
  switch (code) {
    case 'ENOENT':
      return 'gone';
    case 'EISDIR':
      return 'isDirectory';
    case 'ENOTEMPTY':
    case 'EEXIST':
    case 'ENOTDIR':
      return 'notEmpty';
    case 'EPERM':
      return 'denied';
    default:
      throw new HostFault(flags === 0 ? 'unlink' : 'rmdir', path, code);
  }
}

/** Clears the immutable and append-only flags; false if there are none. */
function liftProtection(directory: number, name: Uint8Array, path: string): boolean {
  const status = statusIfExists(directory, name, path);
  if (status === null) return true;
  if ((status.attributes & (attribute.immutable | attribute.append)) === 0) return false;
  const flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | closeOnExec;
  const fd = checked('openat', path, openat, directory, cString(name), flags, 0);
  try {
    clearFlags(fd, path);
  } finally {
    fs.closeSync(fd);
  }
  return true;
}

function clearFlags(fd: number, path: string): void {
  // The argument is an int, although the request's number says long (ioctl_iflags(2)).
  const flags = new Uint32Array(2);
  const bytes = new Uint8Array(flags.buffer);
  checked('ioctl', path, ioctl, fd, getFlags, bytes);
  flags[0] = (flags[0] ?? 0) & ~(inodeImmutable | inodeAppend);
  checked('ioctl', path, ioctl, fd, setFlags, bytes);
}
