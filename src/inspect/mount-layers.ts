/**
 * Which snapshots a mount shows, told by the mount table alone: an overlay's layers, or what a
 * bind mount binds. Pure.
 */
import type { MountEntry } from '../base/ports.js';
import { parseSnapshotId, type SnapshotId } from '../base/units.js';

/** The rest of the path below a directory; empty for itself, null when it is not below. */
export function below(path: string, directory: string): string | null {
  const base = directory.replace(/\/+$/, '');
  if (path === base) return '';
  return path.startsWith(`${base}/`) ? path.slice(base.length + 1) : null;
}

/**
 * The snapshots that a place in a mount shows: of an overlay the upper one first, then the layers
 * from the top; of a bind mount the one whose directory it is.
 */
export function idsShownBy(
  mount: MountEntry,
  mounts: readonly MountEntry[],
  snapshotsPath: string,
): readonly SnapshotId[] {
  const paths =
    mount.fileSystemType === 'overlay'
      ? layersOf(mount.superOptions, snapshotsPath)
      : boundPath(mount, mounts, snapshotsPath);
  const names = paths.map((path) => below(path, snapshotsPath)?.split('/')[0] ?? '');
  const ids = names.flatMap((name) => parseSnapshotId(name) ?? []);
  return [...new Set(ids)];
}

/**
 * The layers' paths. containerd shortens lower directories that are too many for one mount call
 * to paths that begin in the directory they share; with an upper one in ours, that is ours.
 */
function layersOf(options: readonly string[], snapshotsPath: string): readonly string[] {
  const uppers: string[] = [];
  const lowers: string[] = [];
  for (const option of options) {
    const [, key, value = ''] = /^(upperdir|lowerdir\+?|datadir\+?)=(.*)$/s.exec(option) ?? [];
    if (key === 'upperdir') uppers.push(value);
    else if (key !== undefined) lowers.push(...value.split(':'));
  }
  const isOurs = [...uppers, ...lowers].some((path) => below(path, snapshotsPath) !== null);
  return [
    ...uppers,
    ...lowers.map((path) => (isOurs && !path.startsWith('/') ? `${snapshotsPath}/${path}` : path)),
  ];
}

/** Where a bind mount's directory stands in ours, found by the file system that holds both. */
function boundPath(
  mount: MountEntry,
  mounts: readonly MountEntry[],
  snapshotsPath: string,
): readonly string[] {
  const home = mountOf(snapshotsPath, mounts);
  if (home === null || home.device !== mount.device) return [];
  const within = below(snapshotsPath, home.mountpoint) ?? '';
  const ours = `${home.root}/${within}`.replace(/\/+/g, '/');
  const rest = below(mount.root, ours);
  return rest === null ? [] : [`${snapshotsPath}/${rest}`];
}

/** The mount that a path is in: the innermost, and of several on one place the newest. */
export function mountOf(path: string, mounts: readonly MountEntry[]): MountEntry | null {
  let found: MountEntry | null = null;
  for (const mount of mounts) {
    const isAround = mount.mountpoint === '/' || below(path, mount.mountpoint) !== null;
    if (isAround && mount.mountpoint.length >= (found?.mountpoint.length ?? 0)) found = mount;
  }
  return found;
}
