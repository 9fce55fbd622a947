/**
 * Which directories a mount uses, by the mount table alone: the layers of an overlay, or the
 * directory that a bind mount binds. Pure. Decisions about deletion and the tools share it.
 */
import type { MountEntry } from './ports.js';
import { parseSnapshotId, type SnapshotId } from './units.js';

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
      : boundPath(mount, homeOf(snapshotsPath, mounts));
  const ids = paths.flatMap((path) => layerIdAt(path, snapshotsPath) ?? []);
  return [...new Set(ids)];
}

/** From the root to a layer with mapped ids (src/inspect/startup/idmapped-paths.ts). */
const MAPPED = /^idmapped\/[^/]+\/(?:snapshots\/)?([^/]+)/;
/** To a layer from any directory between the root and the layers. */
const SHORTENED = /^(?:idmapped\/[^/]+\/)?(?:snapshots\/)?([^/]+)/;

/** The snapshot whose layer a path shows; a relative one is taken for ours. */
export function layerIdAt(path: string, snapshotsPath: string): SnapshotId | null {
  return parseSnapshotId(entryAt(path, snapshotsPath) ?? '');
}

/** The entry of the snapshots directory that a path shows: as it is, or with mapped ids. */
function entryAt(path: string, snapshotsPath: string): string | null {
  if (!path.startsWith('/')) return SHORTENED.exec(path)?.[1] ?? null;
  const name = below(path, snapshotsPath)?.split('/')[0];
  if (name !== undefined) return name === '' ? null : name;
  return MAPPED.exec(below(path, parentOf(snapshotsPath)) ?? '')?.[1] ?? null;
}

/** Of an absolute path without a trailing slash. */
const parentOf = (path: string): string => path.slice(0, path.lastIndexOf('/'));

/** Whether a mount is one of ours that show layers with mapped ids: no use of what it shows. */
function isIdmapped({ mountpoint }: MountEntry, snapshots: readonly string[]): boolean {
  return snapshots.some((parent) => below(mountpoint, `${parentOf(parent)}/idmapped`) !== null);
}

/** How a mount uses a directory, and where it is mounted. */
export interface MountUse {
  readonly mountpoint: string;
  readonly as: 'mount point' | 'upperdir' | 'workdir' | 'lowerdir' | 'bind source';
}

export function useInWords({ as, mountpoint }: MountUse): string {
  return as === 'mount point'
    ? `something is mounted on ${mountpoint}`
    : `the mount on ${mountpoint} uses it as ${as}`;
}

/**
 * Entries of the snapshots directory that a mount uses, or uses something below of: the first use
 * of each, by name. `snapshots` are the paths of that one directory (a link, and where it leads).
 */
export function entriesInUse(
  snapshots: readonly string[],
  mounts: readonly MountEntry[],
): ReadonlyMap<string, MountUse> {
  const uses = new Map<string, MountUse>();
  const add = (
    path: string,
    as: MountUse['as'],
    mountpoint: string,
    parents: readonly string[] = snapshots,
  ): void => {
    for (const parent of parents) {
      const name = entryAt(path, parent);
      if (name !== null && !uses.has(name)) uses.set(name, { mountpoint, as });
    }
  };
  const others = mounts.filter((mount) => !isIdmapped(mount, snapshots));
  const homes = snapshots.map((parent) => homeOf(parent, mounts));
  // An overlay's options hold the path that its maker used, perhaps through a bind mount of ours.
  const named = [...snapshots, ...homes.flatMap((home) => aliasesOf(home, mounts))];
  for (const mount of others) add(mount.mountpoint, 'mount point', mount.mountpoint);
  for (const mount of others) {
    const { mountpoint } = mount;
    if (mount.fileSystemType === 'overlay') {
      for (const { path, as } of ownLayers(mount, named)) add(path, as, mountpoint, named);
      continue;
    }
    for (const home of homes) {
      for (const path of boundPath(mount, home)) add(path, 'bind source', mountpoint);
    }
  }
  return uses;
}

/**
 * Lower directories that containerd shortened to relative paths begin where the upper one is. A
 * view has no upper one: then the table does not tell where they begin, and they may be ours.
 */
function ownLayers(
  { superOptions }: MountEntry,
  snapshots: readonly string[],
): readonly OverlayLayer[] {
  const layers = overlayLayers(superOptions);
  const base = layers.find(({ path }) => path.startsWith('/'));
  const isOurs =
    base === undefined || snapshots.some((parent) => entryAt(base.path, parent) !== null);
  return isOurs ? layers : layers.filter(({ path }) => path.startsWith('/'));
}

interface OverlayLayer {
  readonly as: 'upperdir' | 'workdir' | 'lowerdir';
  /** Relative where containerd shortened the list to fit into a page. */
  readonly path: string;
}

/**
 * The directories in an overlay's options, the upper one and its work directory first. The kernel
 * shows each value as it was given to mount(2): `:`, `,` and `\` in a path are escaped by `\`
 * (Documentation/filesystems/overlayfs.rst), and layers are separated by `:`, data-only ones
 * by `::`.
 */
function overlayLayers(options: readonly string[]): readonly OverlayLayer[] {
  const uppers: OverlayLayer[] = [];
  const lowers: OverlayLayer[] = [];
  for (const option of options) {
    const [, key, value = ''] =
      /^(upperdir|workdir|lowerdir\+?|datadir\+?)=(.*)$/s.exec(option) ?? [];
    if (key === undefined) continue;
    if (key === 'upperdir' || key === 'workdir') uppers.push({ as: key, path: unescaped(value) });
    else lowers.push(...splitLayers(value).map((path) => ({ as: 'lowerdir' as const, path })));
  }
  return [...uppers, ...lowers];
}

function splitLayers(value: string): readonly string[] {
  const paths = value.match(/(?:\\.|[^:\\])+/gs) ?? [];
  return paths.map(unescaped);
}

const unescaped = (path: string): string => path.replace(/\\(.)/gs, '$1');

/**
 * The layers' paths. containerd shortens lower directories that are too many for one mount call
 * to paths that begin in the directory they share; with an upper one in ours, that is ours.
 */
function layersOf(options: readonly string[], snapshotsPath: string): readonly string[] {
  const layers = overlayLayers(options).filter(({ as }) => as !== 'workdir');
  const paths = layers.map(({ path }) => path);
  const whole = paths.filter((path) => path.startsWith('/'));
  return whole.some((path) => entryAt(path, snapshotsPath) !== null) ? paths : whole;
}

/** Where a directory is in the file system that holds it. */
interface Home {
  readonly path: string;
  readonly device: string;
  readonly within: string;
}

function homeOf(path: string, mounts: readonly MountEntry[]): Home | null {
  const home = mountOf(path, mounts);
  if (home === null) return null;
  const within = `${home.root}/${below(path, home.mountpoint) ?? ''}`.replace(/\/+/g, '/');
  return { path, device: home.device, within };
}

/** Other paths of the directory, through other mounts of the file system that holds it. */
function aliasesOf(home: Home | null, mounts: readonly MountEntry[]): readonly string[] {
  if (home === null) return [];
  return mounts.flatMap(({ device, root, mountpoint }) => {
    const rest = device === home.device ? below(home.within, root) : null;
    if (rest === null) return [];
    const path = `${mountpoint}/${rest}`.replace(/\/+/g, '/');
    return path === home.path ? [] : [path];
  });
}

/** Which directory of ours a bind mount binds, found by the file system that holds both. */
function boundPath(mount: MountEntry, home: Home | null): readonly string[] {
  if (home === null || home.device !== mount.device) return [];
  const rest = below(mount.root, home.within);
  return rest === null ? [] : [`${home.path}/${rest}`];
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
