/**
 * How a directory looks in the layers below. An archive may hold `a/b` without `a`; the `a` that
 * must be made for it would then hide owner and mode of the `a` below (overlay shows the topmost).
 * containerd copies the look of the lower directory (pkg/archive, WithParents); so do we, from the
 * store, as far as the layers below are in it. Images are mounted in staging for the while.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

import type { MountTable } from '../../base/ports.js';
import { lstat } from './contained-tree.js';
import type { ChainId } from './digest.js';
import { lgetxattr, llistxattr } from '../../host/xattrs.js';
import { contentPath } from './layout.js';
import { showLayer } from './show-layer.js';
import type { ByteString } from './tar-entries.js';
import { bytesOf, byteString } from './tar-entries.js';
import { readLayer } from './verify-layer.js';
import { opaqueAttribute } from './whiteouts.js';

export interface DirectoryLook {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly modifiedNanos: bigint;
  readonly attributes: ReadonlyMap<string, Uint8Array>;
}

export type FindLowerDirectory = (
  components: readonly ByteString[],
) => Promise<DirectoryLook | null>;

interface Host {
  readonly mountTable: MountTable;
  readonly signal: AbortSignal;
}

export class LowerDirectories {
  private readonly store: string;
  private readonly staging: string;
  private readonly host: Host;
  /** Roots of the layers opened so far, topmost first, and the next one below them. */
  private readonly roots: ByteString[] = [];
  private readonly mounted: string[] = [];
  private next: ChainId | null;

  constructor(store: string, parent: ChainId | null, staging: string, host: Host) {
    this.store = store;
    this.next = parent;
    this.staging = staging;
    this.host = host;
  }

  /** The look of the topmost lower directory of that path; null when there is none to be seen. */
  async find(components: readonly ByteString[]): Promise<DirectoryLook | null> {
    for (let depth = 0; ; depth += 1) {
      const root = this.roots[depth] ?? (await this.openNext());
      if (root === null) return null;
      const found = lookIn(root, components);
      if (found.kind === 'found') return found.look;
      if (found.kind === 'hidden') return null;
    }
  }

  async close(): Promise<void> {
    for (const mountpoint of this.mounted.splice(0)) {
      await this.host.mountTable.unmount(mountpoint, { detach: false });
    }
  }

  private async openNext(): Promise<ByteString | null> {
    if (this.next === null) return null;
    const chainId = this.next;
    this.next = null;
    const layer = readLayer(this.store, chainId);
    if (layer === null) return null;
    this.next = layer.parentChainId;
    let root = contentPath(this.store, chainId, layer.format);
    if (layer.format !== 'directory') {
      const mountpoint = join(this.staging, `lower-${this.roots.length}`);
      mkdirSync(mountpoint);
      await showLayer(layer, root, mountpoint, this.host, this.host.signal);
      this.mounted.push(mountpoint);
      root = mountpoint;
    }
    const bytes = byteString(root);
    this.roots.push(bytes);
    return bytes;
  }
}

type Found =
  | { readonly kind: 'found'; readonly look: DirectoryLook }
  /** Not in this layer: the layers below are to be asked. */
  | { readonly kind: 'absent' }
  /** This layer has something there that hides all below: a whiteout, a file, an opaque parent. */
  | { readonly kind: 'hidden' };

function lookIn(root: ByteString, components: readonly ByteString[]): Found {
  let path = root;
  let opaque = false;
  for (const component of components) {
    path = `${path}/${component}`;
    const stats = lstat(path);
    if (stats === null) return { kind: opaque ? 'hidden' : 'absent' };
    if (!stats.isDirectory()) return { kind: 'hidden' };
    opaque ||= isOpaque(path);
  }
  return { kind: 'found', look: lookAt(path) };
}

function isOpaque(path: ByteString): boolean {
  const value = lgetxattr(bytesOf(path), opaqueAttribute);
  return value !== null && Buffer.from(value).toString('latin1') === 'y';
}

function lookAt(path: ByteString): DirectoryLook {
  const stats = lstat(path);
  if (stats === null) throw new RangeError(`${path} vanished`);
  const attributes = new Map<string, Uint8Array>();
  for (const name of llistxattr(bytesOf(path))) {
    const value = lgetxattr(bytesOf(path), name);
    if (value !== null) attributes.set(name, value);
  }
  return {
    mode: Number(stats.mode) & 0o7777,
    uid: Number(stats.uid),
    gid: Number(stats.gid),
    modifiedNanos: stats.mtimeNs,
    attributes,
  };
}
