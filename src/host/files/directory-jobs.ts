/** Implements SnapshotDirectories, as jobs for worker threads. Callers validate paths. */
import * as fs from 'node:fs';
import * as nodePath from 'node:path';
import { HostFault, errnoOf } from '../../base/errors.js';
import { LOST_AND_FOUND } from '../../base/lost-and-found.js';
import { below, entriesInUse } from '../../base/mount-layers.js';
import type {
  DirectoryOwner,
  FailedScan,
  FileOwner,
  MeasuredDirectory,
  MountEntry,
} from '../../base/ports.js';
import { asHostFault, guarded } from '../faults.js';
import type { JobControl } from '../threads/job-module.js';
import { checked, libraryCall } from '../libc.js';
import { isAtOrBelow, parseMountinfo } from '../mounts/mountinfo.js';
import { emptyTree, removeAt } from './remove-tree.js';
import { statusAt, statusIfExists } from '../statx.js';
import {
  childPath,
  namesIn,
  openDirectory,
  openDirectoryAt,
  openDirectoryItself,
  walk,
} from './tree.js';

const syncfs = libraryCall('int syncfs(int fd)');

export interface PrepareInput {
  /** `<root>/snapshots`. */
  readonly snapshots: string;
  readonly name: string;
  readonly work: boolean;
  readonly owner: DirectoryOwner;
  readonly durable: boolean;
}

/**
 * Creates `<name>/fs` and, with `work`, `<name>/work`.
 *
 * Two fsyncs make it durable. The last change is a chmod of `<name>`, so its fsync covers all
 * earlier changes, including mode and owner of `fs`: ext4 and xfs commit their journals in order,
 * btrfs logs a new directory with the new directories in it. The fsync of `snapshots` covers the
 * name, as fsync(2) requires; if the journal already has it, it costs one flush of the disk cache.
 */
export function prepare(input: PrepareInput): void {
  const { snapshots, name } = input;
  const base = `${snapshots}/${name}`;
  makeDirectories(base, input);
  if (input.durable) {
    syncDirectory(base);
    syncDirectory(snapshots);
  }
}

/** Does not follow a symlink. */
export function ownerOfDirectory({ path }: { readonly path: string }): FileOwner {
  return ownerOf(path);
}

export interface PreallocateInput {
  readonly snapshots: string;
  readonly names: readonly string[];
  readonly durable: boolean;
}

/**
 * Creates several directories with the same owner and one fsync of `snapshots`. Names that already
 * exist are returned in `taken`: existing files must not become part of a layer.
 */
export function preallocateDirectories({ snapshots, names, durable }: PreallocateInput): {
  readonly owner: FileOwner;
  readonly taken: readonly string[];
} {
  const taken = names.filter((name) => !isCreated(`${snapshots}/${name}`));
  const bases = names.filter((name) => !taken.includes(name)).map((name) => `${snapshots}/${name}`);
  for (const base of bases) makeDirectories(base, { owner: 'process', work: true });
  if (durable) {
    for (const base of bases) syncDirectory(base);
    syncDirectory(snapshots);
  }
  const [first] = bases;
  return { owner: ownerOf(first === undefined ? snapshots : `${first}/fs`), taken };
}

function isCreated(path: string): boolean {
  try {
    fs.mkdirSync(path, 0o700);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false;
    throw asHostFault('mkdir', path, error);
  }
}

function makeDirectories(base: string, input: Pick<PrepareInput, 'owner' | 'work'>): void {
  const { owner } = input;
  makeDirectory(base, 0o700);
  // With 'kept', `fs` must exist: `work` alone is useless.
  if (owner === 'kept') ownerOf(`${base}/fs`);
  else makeFs(`${base}/fs`, owner);
  if (input.work) {
    makeDirectory(`${base}/work`, 0o711);
    setMode(`${base}/work`, 0o711);
  }
  setMode(base, 0o700);
}

function makeFs(path: string, owner: FileOwner | 'process'): void {
  makeDirectory(path, 0o755);
  if (owner !== 'process') {
    guarded('lchown', path, () => {
      fs.lchownSync(path, owner.uid, owner.gid);
    });
  }
  setMode(path, 0o755);
}

function ownerOf(path: string): FileOwner {
  const { uid, gid } = guarded('lstat', path, () => fs.lstatSync(path));
  return { uid, gid };
}

function makeDirectory(path: string, mode: number): void {
  try {
    fs.mkdirSync(path, mode);
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') {
      guarded('mkdir', path, () => {
        throw error;
      });
    }
    // The chmod that follows would follow a symlink.
    const found = guarded('lstat', path, () => fs.lstatSync(path));
    if (!found.isDirectory()) throw new HostFault('mkdir', path, 'ENOTDIR', { cause: error });
  }
}

/** mkdir(2) applies the umask. */
function setMode(path: string, mode: number): void {
  guarded('chmod', path, () => {
    fs.chmodSync(path, mode);
  });
}

function syncDirectory(path: string): void {
  const fd = openDirectory(path);
  try {
    guarded('fsync', path, () => {
      fs.fsyncSync(fd);
    });
  } finally {
    fs.closeSync(fd);
  }
}

/**
 * Blocks and inodes of a tree including its root, each (device, inode) once. Skips files that are
 * deleted during the walk. Source: continuity fs/du_unix.go, which does not stop at mounts.
 *
 * @throws HostFault: ENOTDIR if the root is a symlink, because its target is not in the snapshot
 */
export function measure(
  { path }: { readonly path: string },
  control: JobControl,
): MeasuredDirectory {
  let blocks = 0;
  let inodes = 0;
  const seen = new Map<bigint, Set<bigint>>();
  const isFirst = (device: bigint, inode: bigint): boolean => {
    const ofDevice = seen.get(device) ?? new Set();
    seen.set(device, ofDevice);
    return ofDevice.size < ofDevice.add(inode).size;
  };
  const root = openBelowItself(path);
  const { uid, gid } = statusAt(root, '', path);
  walk(root, path, {
    aborted: control.aborted,
    enter: (level) => {
      if (isFirst(level.status.device, level.status.inode)) {
        blocks += level.status.blocks;
        inodes += 1;
      }
      for (const name of namesIn(level.fd, level.path)) {
        const status = statusIfExists(level.fd, name, childPath(level.path, name));
        if (status === null) continue;
        if (status.isDirectory) {
          level.pending.push(name);
          continue;
        }
        // A file with one link cannot occur again, so only others are added to the set.
        if (status.links > 1 && !isFirst(status.device, status.inode)) continue;
        blocks += status.blocks;
        inodes += 1;
      }
    },
    leave: () => undefined,
  });
  return { usage: { size: blocks * 512, inodes }, owner: { uid, gid } };
}

/** Opens `<id>/fs` without following a symlink in either component. */
function openBelowItself(path: string): number {
  const parent = openDirectoryItself(nodePath.dirname(path));
  try {
    return openDirectoryAt(parent, Buffer.from(nodePath.basename(path)), path);
  } finally {
    fs.closeSync(parent);
  }
}

export function syncFileSystem({ path }: { readonly path: string }): void {
  const fd = openDirectory(path);
  try {
    checked('syncfs', path, syncfs, fd);
  } finally {
    fs.closeSync(fd);
  }
}

/** Deletes everything below `path`, if it exists. */
export function empty({ path }: { readonly path: string }, control: JobControl): void {
  const fd = openIfExists(path);
  if (fd === null) return;
  try {
    refuseMountsBelow(path);
  } catch (error) {
    fs.closeSync(fd);
    throw error;
  }
  emptyTree(fd, path, control.aborted);
}

export interface RemoveInput {
  readonly directory: string;
  readonly name: string;
  /** Also fail with EBUSY while a mount elsewhere uses it. */
  readonly unlessUsed: boolean;
}

/** Deletes `directory/name` and everything below it. */
export function remove({ directory, name, unlessUsed }: RemoveInput, control: JobControl): void {
  const path = `${directory}/${name}`;
  const fd = openDirectory(directory);
  try {
    if (unlessUsed) refuseUsed(directory, name);
    refuseMountsBelow(path);
    removeAt(fd, Buffer.from(name), path, control.aborted);
    if (!control.aborted()) syncRemoval(fd, directory);
  } finally {
    fs.closeSync(fd);
  }
}

/** Errors of fsync(2) on a directory if the file system does not support it. */
const UNSUPPORTED: ReadonlySet<string> = new Set(['EINVAL', 'ENOSYS', 'EOPNOTSUPP', 'ENOTSUP']);

/**
 * The caller records the removal, so the directory must not reappear after a power failure: it
 * would look like a directory of a newer log.
 */
function syncRemoval(fd: number, path: string): void {
  try {
    guarded('fsync', path, () => {
      fs.fsyncSync(fd);
    });
  } catch (thrown) {
    if (!UNSUPPORTED.has(errnoOf(thrown) ?? '')) throw thrown;
  }
}

/** Reads the mount table in the same job as the deletion, to keep the race window short. */
function refuseMountsBelow(path: string): void {
  const split = path.lastIndexOf('/');
  const parent = guarded('realpath', path, () => fs.realpathSync(path.slice(0, split)));
  const real = `${parent === '/' ? '' : parent}${path.slice(split)}`;
  const table = guarded('read', '/proc/self/mountinfo', () =>
    fs.readFileSync('/proc/self/mountinfo', 'utf8'),
  );
  // Avoids parsing thousands of lines: most paths are not in the table. Only characters that the
  // table escapes in octal prevent a plain search.
  if (/^[\w./-]+$/.test(real) && !table.includes(real)) return;
  const mounted = parseMountinfo(table).find((entry) => isAtOrBelow(entry.mountpoint, real));
  if (mounted !== undefined) throw new HostFault('remove', mounted.mountpoint, 'EBUSY');
}

function refuseUsed(directory: string, name: string): void {
  const real = guarded('realpath', directory, () => fs.realpathSync(directory));
  const use = entriesInUse([directory, real], readMountinfo()).get(name);
  if (use !== undefined) throw new HostFault('remove', use.mountpoint, 'EBUSY');
}

function openIfExists(path: string): number | null {
  const split = path.lastIndexOf('/');
  const parent = openDirectoryUnlessAbsent(path.slice(0, split));
  if (parent === null) return null;
  try {
    const name = Buffer.from(path.slice(split + 1));
    if (statusIfExists(parent, name, path) === null) return null;
    return openDirectoryAt(parent, name, path);
  } finally {
    fs.closeSync(parent);
  }
}

function openDirectoryUnlessAbsent(path: string): number | null {
  try {
    return openDirectory(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null;
    throw error;
  }
}

/** Names joined by slashes: structured clones of a hundred thousand strings are slow. */
export interface ListedNames {
  readonly directories: string;
  /** Directories without `fs`; empty unless `looksInside`. */
  readonly withoutFs: string;
  readonly withoutWork: string;
  /** Directories that are mount points. */
  readonly hidden: string;
  /** Directories that could not be read. */
  readonly failed: readonly ({ readonly name: string } & FailedScan)[];
  /** Entries that are not directories. */
  readonly others: string;
}

/** Uses the types of readdir(3), because a stat of `fs` could hang in a mount on it. */
export function list({
  path,
  looksInside,
}: {
  readonly path: string;
  readonly looksInside: boolean;
}): ListedNames {
  const entries = guarded('readdir', path, () => fs.readdirSync(path, { withFileTypes: true }));
  const directories = entries
    .filter((entry) => entry.isDirectory() && entry.name !== LOST_AND_FOUND)
    .map(({ name }) => name);
  const withoutFs: string[] = [];
  const withoutWork: string[] = [];
  const failed: ListedNames['failed'][number][] = [];
  const mounted = looksInside ? mountedIn(path) : new Set<string>();
  for (const name of looksInside ? directories : []) {
    // The mount may be on a server that does not answer.
    if (mounted.has(name)) continue;
    const parts = partsIn(`${path}/${name}`);
    if ('code' in parts) {
      failed.push({ name, ...parts });
      continue;
    }
    if (!parts.fs) withoutFs.push(name);
    if (!parts.work) withoutWork.push(name);
  }
  const others = entries.filter((entry) => !entry.isDirectory()).map(({ name }) => name);
  return {
    directories: directories.join('/'),
    withoutFs: withoutFs.join('/'),
    withoutWork: withoutWork.join('/'),
    hidden: directories.filter((name) => mounted.has(name)).join('/'),
    failed,
    others: others.join('/'),
  };
}

function partsIn(path: string): { readonly fs: boolean; readonly work: boolean } | FailedScan {
  try {
    const entries = guarded('readdir', path, () => fs.readdirSync(path, { withFileTypes: true }));
    const has = (part: string) =>
      entries.some((entry) => entry.name === part && entry.isDirectory());
    return { fs: has('fs'), work: has('work') };
  } catch (thrown) {
    if (!(thrown instanceof HostFault)) throw thrown;
    // Deleted since the names were read.
    if (thrown.code === 'ENOENT') return { fs: false, work: false };
    return { operation: thrown.operation, path: thrown.path, code: thrown.code };
  }
}

/** Entries that are mount points. */
function mountedIn(path: string): ReadonlySet<string> {
  const real = guarded('realpath', path, () => fs.realpathSync(path));
  const names = readMountinfo().map(({ mountpoint }) => below(mountpoint, real) ?? '');
  return new Set(names.filter((name) => name !== '' && !name.includes('/')));
}

function readMountinfo(): readonly MountEntry[] {
  const path = '/proc/self/mountinfo';
  return parseMountinfo(guarded('read', path, () => fs.readFileSync(path, 'utf8')));
}

/**
 * Whether `<name>/fs` is a directory. Reads only the parent, so a mount on `fs` cannot block it.
 *
 * @throws HostFault for every errno except ENOENT
 */
export function hasFs({ snapshots, name }: Pick<PrepareInput, 'snapshots' | 'name'>): boolean {
  const path = `${snapshots}/${name}`;
  if (mountedIn(snapshots).has(name)) throw new HostFault('read below the mount on', path, 'EBUSY');
  const parts = partsIn(path);
  if ('code' in parts) throw new HostFault(parts.operation, parts.path, parts.code);
  return parts.fs;
}
