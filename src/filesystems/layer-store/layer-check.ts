/**
 * Whether a layer in the store, and what a mountpoint shows, are what the manifest says. Pure:
 * an observation and a manifest in, a sentence a person can act on out, or null when all is well.
 */
import type { MountEntry } from '../../base/ports.js';
import type { FileMark, Observation, RootMark } from './layer-jobs.js';
import type { DirectoryManifest, LayerManifest } from './manifest.js';

/** What was seen when the mountpoint was last known to be right. */
export interface Shown {
  readonly manifest: LayerManifest;
  readonly manifestMark: FileMark;
  readonly content: FileMark;
  readonly root: FileMark;
}

export interface Slots {
  readonly store: string;
  readonly content: string;
  readonly mountpoint: string;
}

/** What is wrong with the layer in the store, whether it is mounted or not. */
export function contentFault(
  manifest: LayerManifest,
  seen: Observation,
  places: Slots,
): string | null {
  const { content } = seen;
  if (content === null) {
    return seen.storePresent
      ? `${places.content} is gone from the layer store: import ${manifest.chainId} again`
      : `the layer store at ${places.store} has vanished: is its file system mounted?`;
  }
  if (manifest.format === 'directory') return directoryFault(manifest, content, places);
  if (content.kind !== 'file') return `${places.content} is not a regular file`;
  if (content.size < manifest.image.size) {
    return `the image ${places.content} is truncated: ${content.size} of ${manifest.image.size} bytes`;
  }
  if (content.size > manifest.image.size) {
    return `the image ${places.content} has ${content.size} bytes, its manifest says ${manifest.image.size}`;
  }
  return null;
}

function directoryFault(
  manifest: DirectoryManifest,
  content: RootMark,
  places: Slots,
): string | null {
  if (content.kind !== 'directory') return `${places.content} is not a directory`;
  if (isIdentified(manifest, content)) return null;
  return (
    `${places.content} is not the directory that was imported as ${manifest.chainId}: ` +
    `it was swapped for another, or copied without its extended attributes`
  );
}

/** Whether the store's files are still those that were mounted. Null when they are. */
export function changeSince(shown: Shown, seen: Observation, places: Slots): string | null {
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
  return `the image ${places.content} was replaced or rewritten after it was mounted`;
}

/** What is wrong with what the mountpoint shows. */
export function mountpointFault(
  manifest: LayerManifest,
  seen: Observation,
  places: Slots,
): string | null {
  const { mountpoint, content } = seen;
  if (mountpoint === null) return `the mountpoint ${places.mountpoint} is gone`;
  if (manifest.format === 'directory') {
    if (content !== null && isSameFile(mountpoint, content)) return null;
    // After a swap the mount still shows the old directory, which contentFault has told of.
    return `${places.mountpoint} does not show ${places.content}`;
  }
  if (mountpoint.identity === manifest.chainId) return null;
  return mountpoint.identity === null
    ? `${places.mountpoint} shows no layer: nothing is mounted there, or something else`
    : `${places.mountpoint} shows the layer ${mountpoint.identity}, not ${manifest.chainId}`;
}

/** What is wrong with the mount itself, by the mount table. */
export function mountFault(
  entry: MountEntry | undefined,
  manifest: LayerManifest,
  places: Slots,
): string | null {
  if (entry === undefined) return `nothing is mounted at ${places.mountpoint}`;
  if (!entry.options.includes('ro')) return `the mount at ${places.mountpoint} is not read-only`;
  if (manifest.format !== 'directory' && entry.fileSystemType !== manifest.format) {
    return `${places.mountpoint} is a mount of ${entry.fileSystemType}, not of ${manifest.format}`;
  }
  if (entry.root !== '/' && manifest.format !== 'directory') {
    return `${places.mountpoint} shows ${entry.root} of its file system, not its root`;
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
