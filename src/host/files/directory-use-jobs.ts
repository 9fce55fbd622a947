/**
 * Checks whether a directory in `snapshots/` is in use, and deletes it if not, as jobs for worker
 * threads. For directories that are only inferred to be garbage: check and deletion are one job,
 * and the deletion uses only rmdir(2), so it cannot destroy content.
 */
import * as fs from 'node:fs';
import { entriesInUse, useInWords, type MountUse } from '../../base/mount-layers.js';
import { errnoOf, HostFault } from '../../base/errors.js';
import type { DirectoryUse } from '../../base/ports.js';
import { guarded } from '../faults.js';
import type { JobControl } from '../threads/job-module.js';
import { parseMountinfo } from '../mounts/mountinfo.js';
import { removeIfEmpty } from './remove-tree.js';
import { attribute, statusIfExists } from '../statx.js';
import { namesIn, openDirectory, openDirectoryAt } from './tree.js';

export interface UsesInput {
  /** `<root>/snapshots`. */
  readonly snapshots: string;
  readonly names: readonly string[];
}

/** In the order of the names. Never reads through a mount, because it could hang. */
export function usesOf({ snapshots, names }: UsesInput, control: JobControl): DirectoryUse[] {
  return withSnapshots(snapshots, (parent, mounted) => {
    const uses: DirectoryUse[] = [];
    for (const name of names) {
      if (control.aborted()) break;
      uses.push(unknownIfFailed(() => scan({ parent, snapshots, name, mounted }).use));
    }
    return uses;
  });
}

export interface RemoveUnusedInput {
  readonly snapshots: string;
  readonly name: string;
}

/**
 * Deletes the entry if it is unused, and returns `absent`; otherwise returns how it is used.
 *
 * @throws HostFault with the path that cannot be read or deleted
 */
export function removeUnused({ snapshots, name }: RemoveUnusedInput): DirectoryUse {
  return withSnapshots(snapshots, (parent, mounted) => {
    const { use, emptied } = scan({ parent, snapshots, name, mounted });
    if (use.kind !== 'unused') return use;
    const path = `${snapshots}/${name}`;
    if (emptied.length > 0) {
      const directory = openDirectoryAt(parent, Buffer.from(name), path);
      try {
        for (const part of emptied) {
          const isGone = removeIfEmpty(directory, part, `${path}/${part}`);
          if (!isGone) return used(`${part} is not empty`);
        }
      } finally {
        fs.closeSync(directory);
      }
    }
    return removeIfEmpty(parent, name, path) ? absent : used(foreignEntries);
  });
}

const absent: DirectoryUse = { kind: 'absent' };
const used = (evidence: string): DirectoryUse => ({ kind: 'used', by: 'content', evidence });
const foreignEntries = 'it contains entries other than fs and work';

/** Directories that overlayfs creates in its workdir (fs/overlayfs/super.c, ovl_get_workdir). */
const overlayDirectories: readonly string[] = ['work', 'index'];

interface Entry {
  /** Descriptor of `snapshots`. */
  readonly parent: number;
  readonly snapshots: string;
  readonly name: string;
  readonly mounted: ReadonlyMap<string, MountUse>;
}

interface Scanned {
  readonly use: DirectoryUse;
  /** Empty directories in it, in the order in which they can be deleted: `fs` first. */
  readonly emptied: readonly string[];
}

/** The entry was deleted by another process. */
const gone: Scanned = { use: { kind: 'unused' }, emptied: [] };

function scan({ parent, snapshots, name, mounted }: Entry): Scanned {
  const mount = mounted.get(name);
  if (mount !== undefined) return inMount(useInWords(mount));
  const path = `${snapshots}/${name}`;
  const status = statusIfExists(parent, Buffer.from(name), path);
  if (status === null) return { use: absent, emptied: [] };
  if (!status.isDirectory) return inUse('it is not a directory');
  if ((status.attributes & attribute.mountRoot) !== 0) return inMount('something is mounted on it');
  return withDirectory(parent, name, path, gone, (directory, names) => {
    if (names.some((entry) => entry !== 'fs' && entry !== 'work')) return inUse(foreignEntries);
    const emptied: string[] = [];
    for (const part of names) {
      const found = scanPart(directory, part, `${path}/${part}`);
      if (found.use.kind !== 'unused') return found;
      emptied.push(...found.emptied);
    }
    return { use: { kind: 'unused' }, emptied };
  });
}

/** Unused if `fs` is empty, or `work` contains only empty directories of overlayfs. */
function scanPart(directory: number, part: string, path: string): Scanned {
  const status = statusIfExists(directory, Buffer.from(part), path);
  if (status === null) return gone;
  if (!status.isDirectory) return inUse(`${part} is not a directory`);
  if ((status.attributes & attribute.mountRoot) !== 0) {
    return inMount(`something is mounted on ${part}`);
  }
  return withDirectory(directory, part, path, gone, (opened, names) => {
    const isAllowed = (name: string) => part === 'work' && overlayDirectories.includes(name);
    const isEmpty = names.every((name) => isAllowed(name) && isEmptyDirectory(opened, name, path));
    if (!isEmpty) return inUse(`${part} is not empty`);
    return { use: { kind: 'unused' }, emptied: [...names.map((name) => `${part}/${name}`), part] };
  });
}

function isEmptyDirectory(parent: number, name: string, path: string): boolean {
  const status = statusIfExists(parent, Buffer.from(name), `${path}/${name}`);
  if (status === null) return true;
  if (!status.isDirectory) return false;
  return withDirectory(parent, name, `${path}/${name}`, true, (_fd, names) => names.length === 0);
}

const inUse = (evidence: string): Scanned => ({ use: used(evidence), emptied: [] });
const inMount = (evidence: string): Scanned => ({
  use: { kind: 'used', by: 'mount', evidence },
  emptied: [],
});

/** Sorts the names, so that `fs` is checked and deleted before `work`. */
function withDirectory<Found>(
  parent: number,
  name: string,
  path: string,
  whenGone: Found,
  work: (directory: number, names: readonly string[]) => Found,
): Found {
  const directory = openUnlessGone(parent, name, path);
  if (directory === null) return whenGone;
  try {
    const names = namesIn(directory, path).map((entry) => Buffer.from(entry).toString());
    return work(directory, names.sort());
  } finally {
    fs.closeSync(directory);
  }
}

function openUnlessGone(parent: number, name: string, path: string): number | null {
  try {
    return openDirectoryAt(parent, Buffer.from(name), path);
  } catch (thrown) {
    if (errnoOf(thrown) === 'ENOENT') return null;
    throw thrown;
  }
}

/** Opens `snapshots` and finds the entries that a mount uses. */
function withSnapshots<Answer>(
  snapshots: string,
  work: (parent: number, mounted: ReadonlyMap<string, MountUse>) => Answer,
): Answer {
  const parent = openDirectory(snapshots);
  try {
    const real = guarded('realpath', snapshots, () => fs.realpathSync(snapshots));
    const table = guarded('read', '/proc/self/mountinfo', () =>
      fs.readFileSync('/proc/self/mountinfo', 'utf8'),
    );
    const paths = real === snapshots ? [snapshots] : [snapshots, real];
    return work(parent, entriesInUse(paths, parseMountinfo(table)));
  } finally {
    fs.closeSync(parent);
  }
}

function unknownIfFailed(attempt: () => DirectoryUse): DirectoryUse {
  try {
    return attempt();
  } catch (thrown) {
    if (!(thrown instanceof HostFault)) throw thrown;
    const { code, path, operation } = thrown;
    return { kind: 'unknown', code, path, operation };
  }
}
