/**
 * Walking a tree by open directories, as openat(2) does: no path is looked up twice, so nobody
 * can swap a directory for a link under us, no name is too long, and names need not be UTF-8.
 * For use on the threads of workers.ts.
 *
 * The stack holds one frame per level and only the nearest levels keep their descriptor; a parent
 * further up is found again through `..` and must be the same inode, or the walk stops.
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
  /** -1 while closed because the walk is far below. */
  fd: number;
  readonly status: FileStatus;
  /** Directories in it that are still to be visited. */
  readonly pending: Uint8Array[];
  /** Its own name in its parent; empty for the root. */
  readonly name: Uint8Array;
  /** For messages. */
  readonly path: string;
}

export interface Visitor {
  /** Called once for each directory with its descriptor open; fills `pending`. */
  enter(level: Level): void;
  /** Called when all below it is done; `parent` is open, null for the root. */
  leave(level: Level, parent: Level | null): void;
  /** May end the walk early. */
  readonly aborted: () => boolean;
}

/** Opens a directory that is ours to trust, links in its path followed. */
export function openDirectory(path: string): number {
  return guarded('open', path, () => fs.openSync(path, O_RDONLY | O_DIRECTORY));
}

/** The same, but a link in the last place is not followed: HostFault ENOTDIR. */
export function openDirectoryItself(path: string): number {
  return guarded('open', path, () => fs.openSync(path, plainDirectory));
}

export function openDirectoryAt(directory: number, name: Uint8Array, path: string): number {
  return checked('openat', path, openatCall, directory, cString(name), plainDirectory, 0);
}

/** Opens a directory even when its mode keeps us out, by giving its owner access first. */
export function openForcibly(directory: number, name: Uint8Array, path: string): number {
  try {
    return openDirectoryAt(directory, name, path);
  } catch (error) {
    if (errnoOf(error) !== 'EACCES') throw error;
  }
  // fchmodat(2) would follow a link; a descriptor without access rights does not move.
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

/** A path that leads to what the descriptor has open, for calls that take only paths. */
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
 * Visits the directory and all below it, children after their parent has been entered and before
 * it is left. Takes over the descriptor of the root.
 *
 * Fails    with what the visitor throws; HostFault ESTALE when a directory was moved meanwhile
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

/** Null when it vanished, or is no directory any more: then there is nothing to walk. */
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
