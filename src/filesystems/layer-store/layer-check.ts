/**
 * Checks a layer in the store and at a mountpoint against its manifest. Pure: takes an observation
 * and a manifest, and returns an actionable message, or null if there is no fault.
 */
import type { MountEntry } from '../../base/ports.js';
import type { FileMark, Observation, RootMark } from './layer-jobs.js';
import type { DirectoryManifest, LayerManifest } from './manifest.js';

/** The last observation at which the mountpoint was correct. */
export interface Shown {
  readonly manifest: LayerManifest;
  readonly manifestMark: FileMark;
  readonly content: FileMark;
  readonly root: FileMark;
}

export interface LayerPaths {
  readonly store: string;
  readonly content: string;
  readonly mountpoint: string;
}

/** The fault of the layer in the store, mounted or not. */
export function contentFault(
  manifest: LayerManifest,
  seen: Observation,
  paths: LayerPaths,
): string | null {
  const { content } = seen;
  if (content === null) {
    return seen.storePresent
      ? `${paths.content} is gone from the layer store: import ${manifest.chainId} again`
      : `the layer store at ${paths.store} has vanished: is its file system mounted?`;
  }
  if (manifest.format === 'directory') return directoryFault(manifest, content, paths);
  if (content.kind !== 'file') return `${paths.content} is not a regular file`;
  if (content.size < manifest.image.size) {
    return `the image ${paths.content} is truncated: ${content.size} of ${manifest.image.size} bytes`;
  }
  if (content.size > manifest.image.size) {
    return `the image ${paths.content} has ${content.size} bytes, expected ${manifest.image.size} as in its manifest`;
  }
  return null;
}

function directoryFault(
  manifest: DirectoryManifest,
  content: RootMark,
  paths: LayerPaths,
): string | null {
  if (content.kind !== 'directory') return `${paths.content} is not a directory`;
  if (isIdentified(manifest, content)) return null;
  return (
    `${paths.content} is not the directory that was imported as ${manifest.chainId}: ` +
    `it was swapped for another, or copied without its extended attributes`
  );
}

/** Whether the store's files are still those that were mounted. Null when they are. */
export function changeSince(shown: Shown, seen: Observation, paths: LayerPaths): string | null {
  const { content } = seen;
  if (content === null) return null;
  if (shown.manifest.format === 'directory') return null;
  // Not ctime: a hard link to the image, or a copy of the store by links, changes nothing in it.
  if (
    content.inode === shown.content.inode &&
    content.device === shown.content.device &&
    content.modifiedNanos === shown.content.modifiedNanos
  ) {
    return null;
  }
  return `the image ${paths.content} was replaced or rewritten after it was mounted`;
}

/** The fault of the layer that the mountpoint shows. */
export function mountpointFault(
  manifest: LayerManifest,
  seen: Observation,
  paths: LayerPaths,
): string | null {
  const { mountpoint, content } = seen;
  if (mountpoint === null) return `the mountpoint ${paths.mountpoint} is gone`;
  if (manifest.format === 'directory') {
    if (content !== null && isSameFile(mountpoint, content)) return null;
    // After a swap the mount still shows the old directory; contentFault reports that.
    return `${paths.mountpoint} does not show ${paths.content}`;
  }
  if (mountpoint.identity === manifest.chainId) return null;
  return mountpoint.identity === null
    ? `${paths.mountpoint} shows no layer: nothing is mounted there, or something else`
    : `${paths.mountpoint} shows the layer ${mountpoint.identity}, not ${manifest.chainId}`;
}

/** The fault of the mount itself, from the mount table. */
export function mountFault(
  entry: MountEntry | undefined,
  manifest: LayerManifest,
  paths: LayerPaths,
): string | null {
  if (entry === undefined) return `nothing is mounted at ${paths.mountpoint}`;
  if (!entry.options.includes('ro')) return `the mount at ${paths.mountpoint} is not read-only`;
  if (manifest.format !== 'directory' && entry.fileSystemType !== manifest.format) {
    return `${paths.mountpoint} is a mount of ${entry.fileSystemType}, not of ${manifest.format}`;
  }
  if (entry.root !== '/' && manifest.format !== 'directory') {
    return `${paths.mountpoint} shows ${entry.root} of its file system, not its root`;
  }
  return null;
}

/** The mount one sees at a path: the last of those stacked there. */
export function topMount(table: readonly MountEntry[], mountpoint: string): MountEntry | undefined {
  return table.findLast((entry) => entry.mountpoint === mountpoint);
}

export function isSameFile(one: FileMark, other: FileMark): boolean {
  return one.device === other.device && one.inode === other.inode;
}

function isIdentified(manifest: DirectoryManifest, root: RootMark): boolean {
  const { identity } = manifest;
  if (identity.kind === 'attribute') return root.identity === identity.value;
  return (
    root.inode.toString() === identity.inode &&
    root.birthTimeNanos.toString() === identity.birthTimeNanos
  );
}
