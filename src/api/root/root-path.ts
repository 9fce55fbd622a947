/**
 * Checks that a directory can be a root before anything is written to it: its type, its location
 * and its file system. Does not read its log.
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
 * The path of a root with all symlinks resolved, because the mount table contains only real paths.
 * Creates its parent directories.
 *
 * @throws UsageError if the path exists and is not a directory, or cannot be used for overlays
 */
export async function realRoot(root: string): Promise<string> {
  const real = await resolved(root);
  const why = whyNoRootPath(real);
  if (why !== null) throw new UsageError(`cannot use ${real} as root: ${why}`);
  const found = await statusOf(real);
  if (found !== null && !found.isDirectory()) {
    throw new UsageError(
      `cannot use ${real} as root: not a directory; move it away or choose another root`,
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
        `cannot use ${root} as root: dangling symlink; create its target or choose another root`,
        { cause: thrown },
      );
    }
    return join(await realpath(dirname(root)), basename(root));
  }
}

/**
 * Refuses a root that cannot work at its location. If the root is absent or empty, `probe` runs in
 * it; a root that did not exist is removed again when the probe fails. `probe` is null where a log
 * is expected, so that a missing log is reported first.
 *
 * @throws UsageError; nothing has changed
 */
export async function checkRootLocation(
  root: string,
  probe: (() => Promise<unknown>) | null,
): Promise<void> {
  await refuseNested(root);
  await refuseLinkedSnapshots(root);
  for (const part of [logDirectory(root), snapshotsDirectory(root)]) {
    // Follows symlinks: a link to a directory is accepted.
    const found = await orAbsent(stat(part));
    if (found === null || found.isDirectory()) continue;
    throw new UsageError(`${part} is not a directory; move it away or choose another root`);
  }
  if (probe === null) return;
  const isAbsent = (await statusOf(root)) === null;
  // A root with content must not be written to until its log is checked and locked.
  if (!isAbsent && (await readdir(root)).some((name) => name !== LOST_AND_FOUND)) return;
  if (isAbsent) await mkdir(root, { mode: 0o700 });
  try {
    await probe();
  } catch (thrown) {
    if (isAbsent) await rmdir(root);
    throw thrown;
  }
}

async function refuseLinkedSnapshots(root: string): Promise<void> {
  const snapshots = snapshotsDirectory(root);
  if ((await statusOf(snapshots))?.isSymbolicLink() !== true) return;
  throw new UsageError(
    `${snapshots} is a symlink, and the mount table does not show mounts under symlinks; ` +
      'bind-mount its target there (mount --bind) or use the target as root',
  );
}

/** The snapshotter of the outer root deletes whatever its log does not contain. */
async function refuseNested(root: string): Promise<void> {
  const above = await rootAbove(root);
  if (above === null) return;
  throw new UsageError(
    `cannot use ${root} as root: it is inside ${above}, the root of another snapshotter, which ` +
      'deletes unknown files; choose a root outside it',
  );
}

/** The nearest root that contains a real path, at any depth; null if there is none. */
async function rootAbove(path: string): Promise<string | null> {
  for (let above = dirname(path); above !== dirname(above); above = dirname(above)) {
    const identity = await statusOf(identityPath(above));
    if (identity !== null && (await statusOf(logDirectory(above))) !== null) return above;
  }
  return null;
}

/**
 * Refuses to write to a path in a root, because unknown files in a root are deleted.
 *
 * @param path absolute; it need not exist
 * @throws UsageError
 */
export async function refuseInRoot(path: string): Promise<void> {
  const above = await rootAbove(await realPathOf(path));
  if (above === null) return;
  throw new UsageError(
    `cannot write ${path}: it is inside the root ${above}, where unknown files are deleted; choose another path`,
  );
}

/** Resolves symlinks in the part of the path that exists. */
async function realPathOf(path: string): Promise<string> {
  const absent: string[] = [];
  for (let at = path; ; at = dirname(at)) {
    const real = await realpath(at).catch(() => null);
    if (real !== null) return join(real, ...absent);
    if (at === dirname(at)) return path;
    absent.unshift(basename(at));
  }
}

/** Does not follow a symlink. Null if the path does not exist. */
const statusOf = (path: string): Promise<Stats | null> => orAbsent(lstat(path));

async function orAbsent(stats: Promise<Stats>): Promise<Stats | null> {
  try {
    return await stats;
  } catch (thrown) {
    if (errnoOf(thrown) === 'ENOENT' || errnoOf(thrown) === 'ENOTDIR') return null;
    throw thrown;
  }
}

/** @throws UsageError if overlay mounts cannot work on the root's file system */
export function refuseUnfitRoot(root: string, kernel: KernelFacts): void {
  if (!kernel.directoryTypes.supported) {
    throw new UsageError(
      `cannot use ${root} as root: its file system does not report directory entry types ` +
        `(d_type), which overlay needs: ${kernel.directoryTypes.reason}; choose another file ` +
        'system, or format XFS with ftype=1',
    );
  }
  if (!kernel.overlay.supported) {
    const why = kernel.isRootOnOverlay
      ? 'the root is on an overlay itself; choose a root on the underlying file system'
      : 'choose a root on another file system';
    throw new UsageError(`cannot mount overlay from ${root}: ${kernel.overlay.reason}; ${why}`);
  }
}
