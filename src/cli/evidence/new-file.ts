/** Output to a new file, or to stdout. */
import { link, lstat, open, rename, rm, type FileHandle } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { refuseInRoot } from '../../api/root/root-path.js';
import { errnoOf, reasonOf, UsageError } from '../../base/errors.js';
import { stdout, type ResultTarget } from '../terminal/result-writer.js';
import { abortOnSignals } from '../terminal/signals.js';

/**
 * Runs with the file of this name, or with stdout if none is given. The file is written under a
 * temporary name and gets its name once it is complete and durable. It never overwrites a file, and
 * leaves none if the work fails or a signal arrives.
 *
 * @throws UsageError if the path exists or is in a root; EndedBySignal
 */
export async function withOutputFile<Value>(
  path: string | undefined,
  use: (target: ResultTarget) => Promise<Value>,
): Promise<Value> {
  if (path === undefined || path === '-') return use(stdout);
  if (path === '') throw new UsageError('--output is empty: give a file, or - for stdout');
  return abortOnSignals((stop) => writeNewFile(path, use, stop));
}

async function writeNewFile<Value>(
  path: string,
  use: (target: ResultTarget) => Promise<Value>,
  stop: AbortSignal,
): Promise<Value> {
  await requireAbsent(path);
  await refuseInRoot(resolve(path));
  const temporary = `${path}.exporting`;
  const file = await createTemporary(temporary);
  try {
    const value = await writeDurably(file, use, stop);
    await publish(temporary, path);
    await rm(temporary, { force: true });
    await syncDirectory(dirname(path));
    return value;
  } finally {
    await rm(temporary, { force: true });
  }
}

async function writeDurably<Value>(
  file: FileHandle,
  use: (target: ResultTarget) => Promise<Value>,
  stop: AbortSignal,
): Promise<Value> {
  try {
    const value = await use({
      write: async (chunk) => {
        stop.throwIfAborted();
        await file.writeFile(chunk);
      },
    });
    await file.sync();
    stop.throwIfAborted();
    return value;
  } finally {
    await file.close();
  }
}

const alreadyExists = (path: string, cause?: unknown): UsageError =>
  new UsageError(`cannot create ${path}: file exists; choose another name`, { cause });

async function requireAbsent(path: string): Promise<void> {
  const found = await lstat(path).catch((thrown: unknown) => {
    if (errnoOf(thrown) === 'ENOENT') return null;
    throw cannotCreate(path, thrown);
  });
  if (found !== null) throw alreadyExists(path);
}

async function createTemporary(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'wx', 0o600);
  } catch (cause) {
    if (errnoOf(cause) !== 'EEXIST') throw cannotCreate(path, cause);
    throw new UsageError(
      `cannot create ${path}: file exists, from a running or killed export; ` +
        'remove it if no export is running',
      { cause },
    );
  }
}

const cannotCreate = (path: string, cause: unknown): UsageError =>
  new UsageError(`cannot create ${path}: ${reasonOf(cause)}`, { cause });

/** Errors of link(2) on file systems without hard links (FAT, some of FUSE). */
const NO_LINKS: ReadonlySet<string> = new Set(['EPERM', 'EOPNOTSUPP', 'ENOTSUP', 'ENOSYS']);

/** link(2) fails if the path exists, while rename(2) would overwrite it. */
async function publish(temporary: string, path: string): Promise<void> {
  try {
    await link(temporary, path);
  } catch (cause) {
    const code = errnoOf(cause) ?? '';
    if (code === 'EEXIST') throw alreadyExists(path, cause);
    if (!NO_LINKS.has(code)) throw cannotCreate(path, cause);
    await publishWithoutLinks(temporary, path);
  }
}

/** Reserves the name with an empty file, then renames over it. */
async function publishWithoutLinks(temporary: string, path: string): Promise<void> {
  try {
    await (await open(path, 'wx', 0o600)).close();
  } catch (cause) {
    throw errnoOf(cause) === 'EEXIST' ? alreadyExists(path, cause) : cannotCreate(path, cause);
  }
  await rename(temporary, path);
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
