/**
 * The store's directory as an importer sees it: made on first use, layers put into it whole or
 * not at all. A layer is built in `staging/<random>` and renamed into place when it is durable. A
 * lock beside each staging directory tells whether its importer lives: the kernel frees it when
 * the process dies, and the next import removes what was left.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { closeSync, constants, fsyncSync, linkSync, lstatSync, mkdirSync, openSync } from 'node:fs';
import {
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import type { Stats } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';

import { errnoOf, UsageError } from '../../base/errors.js';
import { LOST_AND_FOUND } from '../../base/lost-and-found.js';
import type { DiskLock, MountTable } from '../../base/ports.js';
import { exchange } from '../../host/files/exchange.js';
import { syncFileSystem } from '../../host/files/directory-jobs.js';
import { systemDisk } from '../../host/files/disk.js';
import type { ChainId, Digest } from './digest.js';
import { fromHex, isDigest } from './digest.js';
import { layerPath, layersPath, stagingPath, storeFilePath } from './layout.js';
import { storeFormat, storeVersion } from './layout.js';
import { parseJson } from './manifest.js';

const storeFile = z.object({
  format: z.literal(storeFormat),
  version: z.int().positive(),
  uuid: z.uuid(),
});

const storeFileBytesMax = 4096;

/**
 * Opens a store for reading.
 *
 * Fails  UsageError when there is none, or a newer release made it.
 */
export function openStore(directory: string): string {
  const file = storeFilePath(directory);
  let found: Stats;
  try {
    found = statSync(file);
  } catch (cause) {
    if (errnoOf(cause) !== 'ENOENT' && errnoOf(cause) !== 'ENOTDIR') throw cause;
    throw new UsageError(`${directory} is not a layer store: it has no store.json`, { cause });
  }
  // A pipe in its place would be waited for.
  if (!found.isFile() || found.size > storeFileBytesMax) {
    throw new UsageError(
      `${file} is not a regular file of at most ${storeFileBytesMax} bytes: ${directory} is no layer store, or somebody else writes to it`,
    );
  }
  const text = readFileSync(file, 'utf8');
  const { version } = parseJson(text, storeFile, storeFilePath(directory));
  if (version > storeVersion) {
    throw new UsageError(
      `the layer store at ${directory} has version ${version}, and this release knows ${storeVersion}`,
    );
  }
  return realpathSync(directory);
}

/**
 * Opens a store for an import, and makes it where there is nothing or an empty directory.
 *
 * Fails  UsageError when the directory holds something else.
 */
export function openOrMakeStore(directory: string): string {
  mkdirSync(directory, { recursive: true, mode: 0o755 });
  const names = readdirSync(directory);
  if (!names.includes('store.json')) {
    // Another importer may be at the same point; all else is somebody's data.
    const stranger = names.find((name) => !/^(sha256|staging|store\.json\.[0-9a-f]+)$/.test(name));
    if (stranger !== undefined && stranger !== LOST_AND_FOUND) {
      throw new UsageError(
        `${directory} is not a layer store, and not empty either: it holds ${stranger}`,
      );
    }
    writeStoreFile(directory);
  }
  const store = openStore(directory);
  // Whoever died before its file became store.json has left it; nobody needs another.
  for (const name of names) {
    if (/^store\.json\.[0-9a-f]+$/.test(name)) rmSync(join(store, name), { force: true });
  }
  // Layers hold setuid programs of images: nobody but root looks in, as with containerd's root.
  mkdirSync(layersPath(store), { recursive: true, mode: 0o700 });
  mkdirSync(stagingPath(store), { recursive: true, mode: 0o700 });
  return store;
}

function writeStoreFile(directory: string): void {
  const text = JSON.stringify({ format: storeFormat, version: storeVersion, uuid: randomUUID() });
  const aside = `${storeFilePath(directory)}.${randomBytes(6).toString('hex')}`;
  writeFileSync(aside, `${text}\n`, { mode: 0o644, flush: true });
  try {
    // link, not rename: of two that begin a store at once, both end with the same uuid.
    linkSync(aside, storeFilePath(directory));
  } catch (thrown) {
    // ENOENT: who made a store here just before has cleared ours away.
    if (errnoOf(thrown) !== 'EEXIST' && errnoOf(thrown) !== 'ENOENT') throw thrown;
  } finally {
    rmSync(aside, { force: true });
  }
  syncDirectory(directory);
}

/** A place to build one layer in. */
export interface Staging {
  readonly path: string;
  /** Removes what is left of it and frees its lock. Safe to call twice. */
  close(): Promise<void>;
}

export async function openStaging(store: string): Promise<Staging> {
  for (;;) {
    const path = join(stagingPath(store), randomBytes(8).toString('hex'));
    const lockPath = `${path}.lock`;
    const lock = await systemDisk().lock(lockPath);
    // A sweep may have come between making the lock file and holding it; then it is unlinked.
    if (lock === null || !exists(lockPath)) {
      await lock?.release();
      continue;
    }
    mkdirSync(path, { mode: 0o700 });
    return {
      path,
      close: async () => {
        rmSync(path, { recursive: true, force: true });
        rmSync(lockPath, { force: true });
        await lock.release();
      },
    };
  }
}

/** Removes staging directories whose importer is gone. Answers how many. */
export async function sweepStaging(store: string, mountTable: MountTable): Promise<number> {
  const staging = stagingPath(store);
  const names = readdirSync(staging);
  let swept = 0;
  for (const name of names) {
    const lockPath = join(staging, name.endsWith('.lock') ? name : `${name}.lock`);
    if (!name.endsWith('.lock') && names.includes(`${name}.lock`)) continue;
    const lock: DiskLock | null = await systemDisk().lock(lockPath);
    if (lock === null) continue;
    try {
      const path = lockPath.slice(0, -'.lock'.length);
      await unmountBelow(path, mountTable);
      if (exists(path)) swept += 1;
      rmSync(path, { recursive: true, force: true });
      rmSync(lockPath, { force: true });
    } finally {
      await lock.release();
    }
  }
  return swept;
}

/** A killed import may have left a parent layer mounted in its staging directory. */
async function unmountBelow(path: string, mountTable: MountTable): Promise<void> {
  const below = (await mountTable.read()).filter((each) => each.mountpoint.startsWith(`${path}/`));
  for (const { mountpoint } of below.toReversed()) {
    await mountTable.unmount(mountpoint, { detach: false });
  }
}

/**
 * Moves a finished layer into its place, durably.
 *
 * Shape  `staged` is the directory with the manifest and the content
 * Fails  answers false when the layer is there already: another import was first
 */
export function publish(store: string, chainId: ChainId, staged: string): boolean {
  syncFileSystem({ path: staged });
  try {
    renameSync(staged, layerPath(store, chainId));
  } catch (thrown) {
    const code = errnoOf(thrown);
    if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw thrown;
    confirmNames(store);
    return false;
  }
  confirmNames(store);
  return true;
}

/**
 * Makes the names of all layers durable. Whoever put a layer that is there into its place may
 * have died before this; nobody may be told that it is there, and lose it with the power.
 */
export function confirmNames(store: string): void {
  syncDirectory(layersPath(store));
}

/**
 * Puts a finished layer into the place of the one that is there, durably and in one step: a death
 * in between leaves the old one. The old one is in the staging directory then, and goes with it.
 *
 * Fails  answers false when somebody else has put another there meanwhile
 */
export function replace(
  store: string,
  chainId: ChainId,
  staged: string,
  staging: Staging,
): boolean {
  syncFileSystem({ path: staged });
  const place = layerPath(store, chainId);
  if (exists(place) && exchange(staged, place)) {
    confirmNames(store);
    return true;
  }
  // Without the call, as on NFS, the layer is away for a moment.
  if (exists(place)) renameSync(place, join(staging.path, 'retired'));
  return publish(store, chainId, staged);
}

/** The chain ids of all layers, sorted. Names that are not digests are not layers. */
export function listLayers(store: string): readonly Digest[] {
  let names: readonly string[];
  try {
    names = readdirSync(layersPath(store));
  } catch (thrown) {
    if (errnoOf(thrown) === 'ENOENT') return [];
    throw thrown;
  }
  return names
    .filter((name) => isDigest(`sha256:${name}`))
    .sort()
    .map(fromHex);
}

function syncDirectory(path: string): void {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function exists(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}
