/**
 * The staging tree of one layer, and the only way into it. A layer's names are hostile: every
 * parent component is looked at with lstat and symlinks are followed by hand, with the staging
 * root as their `/`, so that no entry is written outside. The tree belongs to this process alone
 * (its parent is 0700), so nothing changes between the look and the write.
 *
 * Rules as containerd keeps them (pkg/archive/tar.go, continuity fs.RootPath): an absolute name
 * is relative to the root, a symlinked parent is followed within the root, missing parents are
 * made. Unlike there, a name that climbs above the root is refused rather than clamped.
 */
import { chmodSync, lstatSync, mkdirSync, readlinkSync, rmSync } from 'node:fs';
import type { BigIntStats } from 'node:fs';

import { assert } from '../../base/assert.js';
import { errnoOf } from '../../base/errors.js';
import type { ByteString } from './tar-entries.js';
import { bytesOf, byteString, LayerTarInvalid, readable } from './tar-entries.js';

const componentBytesMax = 255;
const pathBytesMax = 4095;
/** As the kernel: MAXSYMLINKS. */
const symlinksMax = 40;
/** Parents remembered; tar archives come directory by directory, so a few would do. */
const resolvedMax = 1024;

/**
 * The components of an entry's name: no empty ones, no `.` or `..`.
 *
 * Fails  LayerTarInvalid when the name leaves the root or is longer than Linux takes.
 */
export function componentsOf(name: ByteString): readonly ByteString[] {
  if (name.length > pathBytesMax) {
    throw new LayerTarInvalid(`a name of ${name.length} bytes is longer than Linux allows`);
  }
  const components: ByteString[] = [];
  for (const part of name.split('/')) {
    if (part === '' || part === '.') continue;
    if (part === '..') {
      if (components.pop() === undefined) {
        throw new LayerTarInvalid(`${readable(name)} leaves the root of its layer`);
      }
      continue;
    }
    if (part.length > componentBytesMax) {
      throw new LayerTarInvalid(`${readable(name)} has a component over 255 bytes`);
    }
    components.push(part);
  }
  return components;
}

export class ContainedTree {
  /** The root as a byte string; the tree's own paths are byte strings that begin with it. */
  readonly root: ByteString;
  /** Directories that were made although no entry named them, as paths. */
  readonly implied = new Set<ByteString>();
  private readonly resolved = new Map<ByteString, ByteString>();

  constructor(root: string) {
    this.root = byteString(root);
  }

  /**
   * The real path of a directory by its components, made when it is missing.
   *
   * Fails  LayerTarInvalid when something on the way is no directory, or symlinks go in circles.
   */
  directory(components: readonly ByteString[]): ByteString {
    const wanted = components.join('/');
    const known = this.resolved.get(wanted);
    if (known !== undefined) return known;
    const path = this.resolve(components, true);
    assert(path !== null, 'a directory that is missing is made');
    if (this.resolved.size >= resolvedMax) this.resolved.clear();
    this.resolved.set(wanted, path);
    return path;
  }

  /** The path of an entry that must exist and be reached through directories of the tree alone. */
  existing(components: readonly ByteString[]): { path: ByteString; stats: BigIntStats } | null {
    const parent = this.resolve(components.slice(0, -1), false);
    if (parent === null) return null;
    const path = `${parent}/${components.at(-1) ?? ''}`;
    const stats = lstat(path);
    return stats === null ? null : { path, stats };
  }

  /** Removes what is at the path, whatever it is, so that the later entry wins. */
  clear(path: ByteString): void {
    // Any cached parent may have run through it.
    this.resolved.clear();
    rmSync(bytesOf(path), { recursive: true, force: true });
  }

  /** The path relative to the root, for messages and sets. */
  relative(path: ByteString): ByteString {
    return path.slice(this.root.length + 1);
  }

  /** Follows components from the root. Null when one is missing and none is to be made. */
  private resolve(components: readonly ByteString[], make: boolean): ByteString | null {
    const wanted = components.join('/');
    const pending = [...components].reverse();
    const trail: ByteString[] = [];
    let symlinks = 0;
    for (let part = pending.pop(); part !== undefined; part = pending.pop()) {
      if (part === '' || part === '.') continue;
      if (part === '..') {
        // Only a symlink's target can say this; at the root it stays there, as after chroot.
        trail.pop();
        continue;
      }
      const path = this.at([...trail, part]);
      const stats = lstat(path);
      if (stats?.isSymbolicLink() === true) {
        symlinks += 1;
        if (symlinks > symlinksMax) {
          throw new LayerTarInvalid(`${readable(wanted)} has symlinks that go in circles`);
        }
        const target = byteString(readlinkSync(bytesOf(path), { encoding: 'buffer' }));
        if (target.startsWith('/')) trail.length = 0;
        pending.push(...target.split('/').reverse());
        continue;
      }
      if (stats === null) {
        if (!make) return null;
        this.makeImplied(path);
      }
      if (stats !== null && !stats.isDirectory()) {
        throw new LayerTarInvalid(
          `${readable(wanted)} is not a directory, but the archive has entries below it`,
        );
      }
      trail.push(part);
    }
    return this.at(trail);
  }

  private at(trail: readonly ByteString[]): ByteString {
    return trail.length === 0 ? this.root : `${this.root}/${trail.join('/')}`;
  }

  private makeImplied(path: ByteString): void {
    mkdirSync(bytesOf(path), { mode: 0o700 });
    chmodSync(bytesOf(path), 0o755);
    this.implied.add(path);
  }
}

/** lstat, or null where there is nothing. */
export function lstat(path: ByteString): BigIntStats | null {
  try {
    return lstatSync(bytesOf(path), { bigint: true });
  } catch (thrown) {
    if (errnoOf(thrown) === 'ENOENT' || errnoOf(thrown) === 'ENOTDIR') return null;
    throw thrown;
  }
}
