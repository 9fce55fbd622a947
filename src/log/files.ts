/**
 * Where the log's files stand in a root, how they are named, and the few careful ways to write
 * one. Knows names, not contents.
 */
import { errnoOf } from '../base/errors.js';
import { LOST_AND_FOUND } from '../base/lost-and-found.js';
import type { Disk, DiskFile } from '../base/ports.js';

export const identityPath = (root: string): string => `${root}/identity.json`;
export const logDirectory = (root: string): string => `${root}/log`;
export const snapshotsDirectory = (root: string): string => `${root}/snapshots`;
/** Mounts that show layers with mapped ids. */
export const idmappedDirectory = (root: string): string => `${root}/idmapped`;
export const lockPath = (root: string): string => `${root}/log/lock`;
/** A segment that is filled with zeros and waits for its number. */
export const preparedPath = (root: string): string => `${root}/log/next.prepared`;

const digits = (position: number): string => position.toString().padStart(20, '0');

export const segmentName = (firstPosition: number): string => `${digits(firstPosition)}.seg`;
export const checkpointName = (position: number): string => `${digits(position)}.checkpoint`;
export const indexName = (firstPosition: number): string => `${digits(firstPosition)}.index`;

/** Begins the name of each directory that holds what a repair took out of the log. */
export const QUARANTINE = 'quarantine-';

export interface NamedAt {
  readonly name: string;
  readonly position: number;
}

/** The log directory by the names in it; each list by rising position. */
export interface LogFiles {
  readonly segments: readonly NamedAt[];
  readonly checkpoints: readonly NamedAt[];
  /** Of segments, each at its segment's first position. Derived: they may go at any time. */
  readonly indexes: readonly NamedAt[];
  /** Tails that were cut and kept aside, and directories of what a repair took out. */
  readonly broken: readonly string[];
  /** Left by an unfinished preparation or checkpoint. */
  readonly leftovers: readonly string[];
  /** Names that this program never gives. */
  readonly strange: readonly string[];
}

/** Lists the log directory; empty when there is none. */
export async function listLog(disk: Disk, root: string): Promise<LogFiles> {
  const segments: NamedAt[] = [];
  const checkpoints: NamedAt[] = [];
  const indexes: NamedAt[] = [];
  const broken: string[] = [];
  const leftovers: string[] = [];
  const strange: string[] = [];
  const numbered = new Map([
    ['seg', segments],
    ['checkpoint', checkpoints],
    ['index', indexes],
  ]);
  for (const name of await listOrEmpty(disk, logDirectory(root))) {
    const parts = /^(\d{20})\.(seg|checkpoint|index)$/.exec(name);
    const at = Number(parts?.[1]);
    if (parts && Number.isSafeInteger(at)) {
      numbered.get(parts[2] ?? '')?.push({ name, position: at });
    } else if (name.endsWith('.broken') || name.startsWith(QUARANTINE)) broken.push(name);
    else if (name === 'next.prepared' || name.endsWith('.new')) leftovers.push(name);
    else if (name !== 'lock' && name !== LOST_AND_FOUND) strange.push(name);
  }
  for (const list of numbered.values()) list.sort((a, b) => a.position - b.position);
  return { segments, checkpoints, indexes, broken: broken.sort(), leftovers, strange };
}

/** Names in `snapshots/`; none when there is no such directory. */
export async function snapshotEntries(disk: Disk, root: string): Promise<readonly string[]> {
  const names = await listOrEmpty(disk, snapshotsDirectory(root));
  return names.filter((name) => name !== LOST_AND_FOUND);
}

/** Names in a directory; none when it does not exist. */
async function listOrEmpty(disk: Disk, directory: string): Promise<readonly string[]> {
  try {
    return await disk.list(directory);
  } catch (thrown) {
    if (errnoOf(thrown) === 'ENOENT') return [];
    throw thrown;
  }
}

/** Runs with an open file and closes it whatever happens. */
export async function withFile<T>(
  disk: Disk,
  path: string,
  mode: 'read' | 'write' | 'create',
  use: (file: DiskFile) => Promise<T>,
): Promise<T> {
  const file = await disk.open(path, mode);
  try {
    return await use(file);
  } finally {
    await file.close();
  }
}

/** What an open says of a directory, a pipe, a device or a link to nothing under a file's name. */
export const NO_FILE: ReadonlySet<string> = new Set(['EISDIR', 'ESPIPE', 'ENXIO']);

/** The bytes of a small file, its first `bytesMax`; null when it does not exist. */
export async function readWhole(
  disk: Disk,
  path: string,
  bytesMax: number,
): Promise<Buffer | null> {
  try {
    return await withFile(disk, path, 'read', async (file) => {
      const bytes = Buffer.allocUnsafeSlow(Math.min(await file.size(), bytesMax));
      return bytes.subarray(0, await file.read(bytes, 0));
    });
  } catch (thrown) {
    if (errnoOf(thrown) === 'ENOENT') return null;
    throw thrown;
  }
}

/** Removes a file that may be gone already. Not durable before the directory is synced. */
export async function removeIfThere(disk: Disk, path: string): Promise<boolean> {
  try {
    await disk.remove(path);
    return true;
  } catch (thrown) {
    if (errnoOf(thrown) === 'ENOENT') return false;
    throw thrown;
  }
}

/** Makes a directory, durably, if it is not there. Its parent must exist. */
export async function makeDirectoryIfAbsent(disk: Disk, path: string): Promise<void> {
  try {
    await disk.makeDirectory(path);
  } catch (thrown) {
    if (errnoOf(thrown) !== 'EEXIST') throw thrown;
  }
  // Also if it existed: the process that made it may have died before this. A directory that a power
  // cut takes away takes everything in it along.
  await disk.syncDirectory(path.slice(0, path.lastIndexOf('/')) || '/');
}

/**
 * Replaces a small file so that after a power cut either the old or the new content is there:
 * written aside, synced, renamed, directory synced.
 */
export async function replaceDurably(
  disk: Disk,
  directory: string,
  name: string,
  content: Buffer,
): Promise<void> {
  const aside = `${directory}/${name}.new`;
  await removeIfThere(disk, aside);
  await withFile(disk, aside, 'create', async (file) => {
    await file.write(content, 0);
    await file.sync();
  });
  await disk.rename(aside, `${directory}/${name}`);
  await disk.syncDirectory(directory);
}
