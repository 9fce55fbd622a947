/** Where a command writes what is not meant for a screen: a file that was not there, or stdout. */
import { link, lstat, open, rename, rm, type FileHandle } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { refuseInRoot } from '../../api/root/root-path.js';
import { errnoOf, reasonOf, UsageError } from '../../base/errors.js';
import { stdout, type ResultTarget } from '../terminal/result-writer.js';
import { stoppedBySignals } from '../terminal/signals.js';

/**
 * Runs with the file of this name, or with stdout when none is named. A file is written aside and
 * gets its name when it is whole and durable; nothing is ever overwritten. When the work fails, or
 * a signal comes, nothing is left.
 *
 * @throws UsageError when something of this name is there, or when it is in a root; EndedBySignal
 */
export async function withOutputFile<Value>(
  path: string | undefined,
  use: (target: ResultTarget) => Promise<Value>,
): Promise<Value> {
  if (path === undefined || path === '-') return use(stdout);
  if (path === '') throw new UsageError('the name of the file is empty: name one, or - for stdout');
  return stoppedBySignals((stop) => writtenAside(path, use, stop));
}

async function writtenAside<Value>(
  path: string,
  use: (target: ResultTarget) => Promise<Value>,
  stop: AbortSignal,
): Promise<Value> {
  await requireFree(path);
  await refuseInRoot(resolve(path));
  const aside = `${path}.exporting`;
  const file = await newFile(aside);
  try {
    const value = await written(file, use, stop);
    await nameWhole(aside, path);
    await rm(aside, { force: true });
    await syncDirectory(dirname(path));
    return value;
  } finally {
    await rm(aside, { force: true });
  }
}

async function written<Value>(
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

const isThere = (path: string, cause?: unknown): UsageError =>
  new UsageError(`${path} is there already, and nothing is ever overwritten: choose another name`, {
    cause,
  });

async function requireFree(path: string): Promise<void> {
  const found = await lstat(path).catch((thrown: unknown) => {
    if (errnoOf(thrown) === 'ENOENT') return null;
    throw cannotBeMade(path, thrown);
  });
  if (found !== null) throw isThere(path);
}

async function newFile(aside: string): Promise<FileHandle> {
  try {
    return await open(aside, 'wx', 0o600);
  } catch (cause) {
    if (errnoOf(cause) !== 'EEXIST') throw cannotBeMade(aside, cause);
    throw new UsageError(
      `${aside} is there, from an export that is under way or was killed: ` +
        'when none is, remove it and try again',
      { cause },
    );
  }
}

const cannotBeMade = (path: string, cause: unknown): UsageError =>
  new UsageError(`${path} cannot be made: ${reasonOf(cause)}`, { cause });

/** What file systems without links (FAT, some of FUSE) say of one. */
const NO_LINKS: ReadonlySet<string> = new Set(['EPERM', 'EOPNOTSUPP', 'ENOTSUP', 'ENOSYS']);

/** A link is refused where a name is taken; where there are none, an empty file takes the name first. */
async function nameWhole(aside: string, path: string): Promise<void> {
  try {
    await link(aside, path);
  } catch (cause) {
    const code = errnoOf(cause) ?? '';
    if (code === 'EEXIST') throw isThere(path, cause);
    if (!NO_LINKS.has(code)) throw cannotBeMade(path, cause);
    await nameWithoutLinks(aside, path);
  }
}

async function nameWithoutLinks(aside: string, path: string): Promise<void> {
  try {
    await (await open(path, 'wx', 0o600)).close();
  } catch (cause) {
    throw errnoOf(cause) === 'EEXIST' ? isThere(path, cause) : cannotBeMade(path, cause);
  }
  await rename(aside, path);
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
