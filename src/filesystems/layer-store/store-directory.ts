/**
 * The store's directory for importers. A layer is built in `staging/<random>` and renamed into
 * place once it is durable, so it is added completely or not at all. An importer holds a lock next
 * to its staging directory. The kernel releases it when the process ends, and the next import
 * removes staging directories without a lock.
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
 * @throws UsageError if there is no store, or a newer release created it
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
  // Reading a pipe would block.
  if (!found.isFile() || found.size > storeFileBytesMax) {
    throw new UsageError(
      `cannot use ${directory} as layer store: ${file} is not a regular file of at most ${storeFileBytesMax} bytes`,
    );
  }
  const text = readFileSync(file, 'utf8');
  const { version } = parseJson(text, storeFile, storeFilePath(directory));
  if (version > storeVersion) {
    throw new UsageError(
      `the layer store at ${directory} has version ${version}; this release supports ${storeVersion}`,
    );
  }
  return realpathSync(directory);
}

/**
 * Opens a store for an import. Creates it if the directory is absent or empty.
 *
 * @throws UsageError if the directory has other content
 */
export function openOrMakeStore(directory: string): string {
  mkdirSync(directory, { recursive: true, mode: 0o755 });
  const names = readdirSync(directory);
  if (!names.includes('store.json')) {
    // Files of a concurrent importer are expected; anything else is foreign data.
    const stranger = names.find((name) => !/^(sha256|staging|store\.json\.[0-9a-f]+)$/.test(name));
    if (stranger !== undefined && stranger !== LOST_AND_FOUND) {
      throw new UsageError(
        `${directory} is neither a layer store nor empty: it contains ${stranger}`,
      );
    }
    writeStoreFile(directory);
  }
  const store = openStore(directory);
  // Left by an importer that died before it could link its file to store.json.
  for (const name of names) {
    if (/^store\.json\.[0-9a-f]+$/.test(name)) rmSync(join(store, name), { force: true });
  }
  // Only root has access, as in containerd's root: layers contain setuid programs.
  mkdirSync(layersPath(store), { recursive: true, mode: 0o700 });
  mkdirSync(stagingPath(store), { recursive: true, mode: 0o700 });
  return store;
}

function writeStoreFile(directory: string): void {
  const text = JSON.stringify({ format: storeFormat, version: storeVersion, uuid: randomUUID() });
  const aside = `${storeFilePath(directory)}.${randomBytes(6).toString('hex')}`;
  writeFileSync(aside, `${text}\n`, { mode: 0o644, flush: true });
  try {
    // link, not rename, so that two concurrent importers get the same uuid.
    linkSync(aside, storeFilePath(directory));
  } catch (thrown) {
    // ENOENT: a concurrent importer has created the store and removed our file.
    if (errnoOf(thrown) !== 'EEXIST' && errnoOf(thrown) !== 'ENOENT') throw thrown;
  } finally {
    rmSync(aside, { force: true });
  }
  syncDirectory(directory);
}

/** A directory to build one layer in. */
export interface Staging {
  readonly path: string;
  /** Removes the directory and releases the lock. Idempotent. */
  close(): Promise<void>;
}

export async function openStaging(store: string): Promise<Staging> {
  for (;;) {
    const path = join(stagingPath(store), randomBytes(8).toString('hex'));
    const lockPath = `${path}.lock`;
    const lock = await systemDisk().lock(lockPath);
    // A sweep may have unlinked the lock file before it was locked.
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

/** Removes staging directories whose importer has ended. Returns how many. */
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
 * Moves a finished layer into place, durably. Returns false if the layer already exists, because
 * another import was first.
 *
 * @param staged the directory with the manifest and the content
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
 * Makes the names of all layers durable. An importer may have ended between rename and sync, and a
 * layer must not be reported as present before it is durable.
 */
export function confirmNames(store: string): void {
  syncDirectory(layersPath(store));
}

/**
 * Replaces an existing layer with a finished one, durably and atomically. The old layer is then in
 * the staging directory and is removed with it. Returns false if another import has replaced it.
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
  // Without renameat2, as on NFS, the layer is absent for a moment.
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
