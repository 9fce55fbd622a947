/**
 * How a directory looks in the layers below. An archive may hold `a/b` without `a`; the `a` that
 * must be made for it would then hide owner and mode of the `a` below (overlay shows the topmost).
 * containerd copies the look of the lower directory (mkparent in its pkg/archive); so do we, from
 * the store, as far as the layers below are in it. Images are mounted in staging meanwhile.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

import type { MountTable } from '../../../base/ports.js';
import { lgetxattr, llistxattr } from '../../../host/files/xattrs.js';
import type { ByteString } from '../../../tar/byte-string.js';
import { bytesOf, readable } from '../../../tar/byte-string.js';
import type { ChainId } from '../digest.js';
import { contentPath } from '../layout.js';
import { lstat, RootedTree } from './rooted-tree.js';
import { showLayer } from '../show-layer.js';
import { readLayer } from '../verify-layer.js';

export interface DirectoryState {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Nanoseconds since 1970. */
  readonly modified: bigint;
  readonly attributes: readonly (readonly [name: ByteString, value: Uint8Array])[];
}

/**
 * The look of a directory in the layers below, by its path from the root; null for a new one.
 *
 * Fails  ENOTDIR when a layer below has something else than a directory on the way
 */
export type FindLowerDirectory = (path: ByteString) => Promise<DirectoryState | null>;

interface Host {
  readonly mountTable: MountTable;
  readonly warn: (message: string) => void;
  readonly signal: AbortSignal;
}

export class LowerDirectories {
  private readonly store: string;
  private readonly staging: string;
  private readonly host: Host;
  /** The layers opened so far, topmost first, and the next one below them. */
  private readonly trees: RootedTree[] = [];
  private readonly mounted: string[] = [];
  private next: ChainId | null;
  /** Which layers below are not in the store, in words; null when none is missing. */
  private missing: string | null = null;

  constructor(store: string, parent: ChainId | null, staging: string, host: Host) {
    this.store = store;
    this.next = parent;
    this.staging = staging;
    this.host = host;
  }

  /**
   * As containerd looks, each layer by itself: the first layer that has something at the path
   * decides, and neither opaque directories nor symlinks of other layers count.
   */
  async find(path: ByteString): Promise<DirectoryState | null> {
    for (let depth = 0; ; depth += 1) {
      const tree = this.trees[depth] ?? (await this.openNext());
      if (tree === null) {
        this.reportMissing(path);
        return null;
      }
      const resolved = tree.resolve(path);
      const stats = lstat(resolved);
      if (stats?.isDirectory() === true) return lookAt(resolved);
      if (stats !== null) return null;
    }
  }

  async close(): Promise<void> {
    for (const mountpoint of this.mounted.splice(0)) {
      await this.host.mountTable.unmount(mountpoint, { detach: false });
    }
  }

  /** Once: all other directories that the archive implies are made in the same way. */
  private reportMissing(path: ByteString): void {
    if (this.missing === null) return;
    this.host.warn(
      `${readable(path)} is not an entry of the archive and gets mode 0755 and owner 0:0, because ` +
        `${this.missing}; import the layers below first, then this one with --force`,
    );
    this.missing = null;
  }

  private async openNext(): Promise<RootedTree | null> {
    if (this.next === null) return null;
    const chainId = this.next;
    this.next = null;
    const layer = readLayer(this.store, chainId);
    if (layer === null) {
      this.missing = `the layer ${chainId} below is not in the store`;
      return null;
    }
    this.next = layer.parentChainId;
    // The chain id of a lowest layer is its diff id.
    if (this.next === null && layer.diffId !== chainId) {
      this.missing = `the layer ${chainId} below was imported without its parent`;
    }
    let root = contentPath(this.store, chainId, layer.format);
    if (layer.format !== 'directory') {
      const mountpoint = join(this.staging, `lower-${this.trees.length}`);
      mkdirSync(mountpoint);
      await showLayer(layer, root, mountpoint, this.host, this.host.signal);
      this.mounted.push(mountpoint);
      root = mountpoint;
    }
    const tree = new RootedTree(root);
    this.trees.push(tree);
    return tree;
  }
}

function lookAt(path: ByteString): DirectoryState {
  const stats = lstat(path);
  if (stats === null) throw new RangeError(`${path} vanished`);
  const attributes: (readonly [ByteString, Uint8Array])[] = [];
  for (const name of llistxattr(bytesOf(path))) {
    const value = lgetxattr(bytesOf(path), bytesOf(name));
    if (value !== null) attributes.push([name, value]);
  }
  return {
    mode: Number(stats.mode) & 0o7777,
    uid: Number(stats.uid),
    gid: Number(stats.gid),
    modified: stats.mtimeNs,
    attributes,
  };
}
