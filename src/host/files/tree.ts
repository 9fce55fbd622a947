/**
 * Walks a tree with openat(2). No path is resolved twice, so a directory cannot be replaced by a
 * symlink during the walk, and names can be of any length and need not be UTF-8. Use it on worker
 * threads only.
 *
 * Only the nearest levels keep their descriptor. A parent further up is reopened through `..`; if
 * it is a different inode, the walk fails.
 */
import * as fs from 'node:fs';
import { HostFault, errnoOf } from '../../base/errors.js';
import { asHostFault, guarded } from '../faults.js';
import { checked, cString, libraryCall } from '../libc.js';
import { statusAt } from '../statx.js';
import type { FileStatus } from '../statx.js';

const openatCall = libraryCall('int openat(int directory, const void *name, int flags, int mode)');

const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = fs.constants;
const closeOnExec = 0o2000000; // O_CLOEXEC
const pathOnly = 0o10000000; // O_PATH
const plainDirectory = O_DIRECTORY | O_NOFOLLOW | closeOnExec;

/** Descriptors that one walk holds at most. */
const openLevelsMax = 64;
/** Longest path built for a message. */
const messagePathMax = 200;

export interface Level {
  /** -1 while it is closed because the walk is far below it. */
  fd: number;
  readonly status: FileStatus;
  /** Subdirectories to visit. */
  readonly pending: Uint8Array[];
  /** Its name in the parent; empty for the root. */
  readonly name: Uint8Array;
  /** For messages. */
  readonly path: string;
}

export interface Visitor {
  /** Called once for each directory with its descriptor open; fills `pending`. */
  enter(level: Level): void;
  /** Called after everything below it; `parent` is open, null for the root. */
  leave(level: Level, parent: Level | null): void;
  /** Ends the walk early. */
  readonly aborted: () => boolean;
}

/** Opens a trusted directory; follows symlinks. */
export function openDirectory(path: string): number {
  return guarded('open', path, () => fs.openSync(path, O_RDONLY | O_DIRECTORY));
}

/** As `openDirectory`, but fails with ENOTDIR if the last component is a symlink. */
export function openDirectoryItself(path: string): number {
  return guarded('open', path, () => fs.openSync(path, plainDirectory));
}

export function openDirectoryAt(directory: number, name: Uint8Array, path: string): number {
  return checked('openat', path, openatCall, directory, cString(name), plainDirectory, 0);
}

/** Opens a directory; if its mode denies access, grants its owner access first. */
export function openForcibly(directory: number, name: Uint8Array, path: string): number {
  try {
    return openDirectoryAt(directory, name, path);
  } catch (error) {
    if (errnoOf(error) !== 'EACCES') throw error;
  }
  // Through an O_PATH descriptor, because fchmodat(2) would follow a symlink.
  const handle = checked(
    'openat',
    path,
    openatCall,
    directory,
    cString(name),
    plainDirectory | pathOnly,
    0,
  );
  try {
    guarded('chmod', path, () => {
      fs.chmodSync(descriptorPath(handle), 0o700);
    });
  } finally {
    fs.closeSync(handle);
  }
  return openDirectoryAt(directory, name, path);
}

/** The path of an open descriptor, for calls that accept only paths. */
function descriptorPath(fd: number): string {
  return `/proc/self/fd/${fd}`;
}

/** All names in an open directory, as bytes. */
export function namesIn(fd: number, path: string): Uint8Array[] {
  return guarded('readdir', path, () => fs.readdirSync(descriptorPath(fd), { encoding: 'buffer' }));
}

export function childPath(path: string, name: Uint8Array): string {
  const joined = `${path}/${Buffer.from(name).toString('utf8')}`;
  if (joined.length <= messagePathMax) return joined;
  return path.endsWith('/…') ? path : `${path}/…`;
}

/**
 * Visits the directory and everything below it. Children are visited between `enter` and `leave` of
 * their parent. Closes the descriptor of the root.
 *
 * @throws what the visitor throws; HostFault: ESTALE if a directory was moved during the walk
 */
export function walk(
  rootFd: number,
  rootPath: string,
  visitor: Visitor,
  open: typeof openDirectoryAt = openDirectoryAt,
): void {
  const levels: Level[] = [];
  const enter = (fd: number, name: Uint8Array, path: string): void => {
    try {
      levels.push({ fd, status: statusAt(fd, '', path), pending: [], name, path });
    } catch (error) {
      fs.closeSync(fd);
      throw error;
    }
    const far = levels.at(-1 - openLevelsMax);
    if (far !== undefined && levels.length > openLevelsMax + 1) close(far);
    const level = levels.at(-1);
    if (level !== undefined) visitor.enter(level);
  };
  try {
    enter(rootFd, new Uint8Array(), rootPath);
    for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
      if (visitor.aborted()) return;
      const name = level.pending.pop();
      if (name === undefined) {
        const parent = levels.at(-2) ?? null;
        if (parent?.fd === -1) parent.fd = reopenParent(level, parent);
        visitor.leave(level, parent);
        close(level);
        levels.pop();
        continue;
      }
      const path = childPath(level.path, name);
      const fd = openUnlessGone(level.fd, name, path, open);
      if (fd !== null) enter(fd, name, path);
    }
  } finally {
    for (const level of levels) close(level);
  }
}

function close(level: Level): void {
  if (level.fd === -1) return;
  fs.closeSync(level.fd);
  level.fd = -1;
}

/** Null if the directory is gone or was replaced by something else. */
function openUnlessGone(
  directory: number,
  name: Uint8Array,
  path: string,
  open: typeof openDirectoryAt,
): number | null {
  try {
    return open(directory, name, path);
  } catch (error) {
    const code = errnoOf(error);
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ELOOP') return null;
    throw asHostFault('open', path, error);
  }
}

function reopenParent(level: Level, parent: Level): number {
  const fd = openDirectoryAt(level.fd, Buffer.from('..'), parent.path);
  const found = statusAt(fd, '', parent.path);
  if (found.inode === parent.status.inode && found.device === parent.status.device) return fd;
  fs.closeSync(fd);
  throw new HostFault('openat', parent.path, 'ESTALE');
}
