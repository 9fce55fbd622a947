/**
 * Whether a directory can be a root, before anything is written to it: what it is, what lies
 * round it, and what its file system can do. What is in its log is the log's business.
 */
import type { Stats } from 'node:fs';
import { lstat, mkdir, readdir, realpath, rmdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { errnoOf, UsageError } from '../../base/errors.js';
import { LOST_AND_FOUND } from '../../base/lost-and-found.js';
import type { KernelFacts } from '../../host/kernel.js';
import { identityPath, logDirectory, snapshotsDirectory } from '../../log/files.js';
import { whyNoRootPath } from '../../base/paths.js';

/**
 * The path of a root with all links resolved; its parents are made. The mount table knows only
 * real paths: below a link, no mount of ours would be found in it.
 *
 * @throws UsageError when something else than a directory stands there, or when no overlay can
 *   be made below it.
 */
export async function realRoot(root: string): Promise<string> {
  const real = await resolved(root);
  const why = whyNoRootPath(real);
  if (why !== null) throw new UsageError(`${real} cannot be a root: ${why}`);
  const found = await statusOf(real);
  if (found !== null && !found.isDirectory()) {
    throw new UsageError(
      `${real} is not a directory; a root is one, so move it away or choose another root`,
    );
  }
  return real;
}

async function resolved(root: string): Promise<string> {
  await mkdir(dirname(root), { recursive: true });
  try {
    return await realpath(root);
  } catch (thrown) {
    if (errnoOf(thrown) !== 'ENOENT') throw thrown;
    if ((await statusOf(root)) !== null) {
      throw new UsageError(
        `${root} is a link to a directory that is not there; make it, or choose another root`,
        { cause: thrown },
      );
    }
    return join(await realpath(dirname(root)), basename(root));
  }
}

/**
 * Refuses a root that cannot work where it is. One that holds nothing yet is tried first, and
 * taken away again when it does not fit and was not there before. `tryIt` is null where a log is
 * expected: its lack is then what must be told.
 *
 * @throws UsageError; nothing was changed.
 */
export async function examinePlace(
  root: string,
  tryIt: (() => Promise<unknown>) | null,
): Promise<void> {
  await refuseNested(root);
  await refuseLinkedSnapshots(root);
  for (const part of [logDirectory(root), snapshotsDirectory(root)]) {
    // What is here now is asked, so a link to a directory is one.
    const found = await orAbsent(stat(part));
    if (found === null || found.isDirectory()) continue;
    throw new UsageError(`${part} is not a directory; move it away, or choose another root`);
  }
  if (tryIt === null) return;
  const isAbsent = (await statusOf(root)) === null;
  // What holds something is not ours to write to before its log was looked at and locked.
  if (!isAbsent && (await readdir(root)).some((name) => name !== LOST_AND_FOUND)) return;
  if (isAbsent) await mkdir(root, { mode: 0o700 });
  try {
    await tryIt();
  } catch (thrown) {
    if (isAbsent) await rmdir(root);
    throw thrown;
  }
}

async function refuseLinkedSnapshots(root: string): Promise<void> {
  const snapshots = snapshotsDirectory(root);
  if ((await statusOf(snapshots))?.isSymbolicLink() !== true) return;
  throw new UsageError(
    `${snapshots} is a link, and mounts below a link are not found in the mount table; ` +
      'mount the other directory there (mount --bind), or make it the root',
  );
}

/** Whoever owns the root above deletes what its log does not know, and everything in a snapshot. */
async function refuseNested(root: string): Promise<void> {
  const above = await rootAbove(root);
  if (above === null) return;
  throw new UsageError(
    `${root} lies in the root ${above} of another snapshotter, which deletes what it does not ` +
      'know; choose a root outside it',
  );
}

/** The nearest root that a real path is in, at any depth; null when it is in none. */
async function rootAbove(path: string): Promise<string | null> {
  for (let above = dirname(path); above !== dirname(above); above = dirname(above)) {
    const identity = await statusOf(identityPath(above));
    if (identity !== null && (await statusOf(logDirectory(above))) !== null) return above;
  }
  return null;
}

/**
 * Refuses to write to a path in a root: a root holds what its log knows, and nothing else.
 *
 * @param path absolute; it need not exist
 * @throws UsageError
 */
export async function refuseInRoot(path: string): Promise<void> {
  const above = await rootAbove(await realPathOf(path));
  if (above === null) return;
  throw new UsageError(
    `${path} is in the root ${above}, which holds nothing but what its log knows; choose another place`,
  );
}

/** With the links resolved of as much of it as exists. */
async function realPathOf(path: string): Promise<string> {
  const absent: string[] = [];
  for (let at = path; ; at = dirname(at)) {
    const real = await realpath(at).catch(() => null);
    if (real !== null) return join(real, ...absent);
    if (at === dirname(at)) return path;
    absent.unshift(basename(at));
  }
}

/** What stands under a name itself, or null. */
const statusOf = (path: string): Promise<Stats | null> => orAbsent(lstat(path));

async function orAbsent(asked: Promise<Stats>): Promise<Stats | null> {
  try {
    return await asked;
  } catch (thrown) {
    if (errnoOf(thrown) === 'ENOENT' || errnoOf(thrown) === 'ENOTDIR') return null;
    throw thrown;
  }
}

/** Refuses what no overlay can be made on. */
export function refuseUnfitRoot(root: string, kernel: KernelFacts): void {
  if (!kernel.directoryTypes.supported) {
    throw new UsageError(
      `${root} lies on a file system that does not tell the types of directory entries (d_type), ` +
        'which overlay needs; choose another one, or make XFS with ftype=1: ' +
        kernel.directoryTypes.reason,
    );
  }
  if (!kernel.overlay.supported) {
    const why = kernel.isRootOnOverlay
      ? 'it lies on an overlay itself; choose a root on the file system below'
      : 'choose a root on another file system';
    throw new UsageError(
      `overlay cannot be mounted from ${root}: ${kernel.overlay.reason}; ${why}`,
    );
  }
}
