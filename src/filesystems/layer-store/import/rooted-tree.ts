/**
 * A layer's tree as a root of its own: no path leads out of it. Symlinks are followed by hand, with
 * the tree's root as their `/`. The tree belongs to this process alone (its parent is 0700), so
 * nothing changes between the look and the write.
 *
 * The rules are containerd's (pkg/archive/tar.go; RootPath in continuity's fs): an absolute name is
 * relative to the root, a name that climbs above the root stays at the root, a symlinked parent is
 * followed within the root. `..` in a name is taken off before symlinks are followed.
 */
import { lstatSync, readlinkSync, rmSync } from 'node:fs';
import type { BigIntStats } from 'node:fs';
import { posix } from 'node:path';

import { errnoOf } from '../../../base/errors.js';
import type { ByteString } from '../../../tar/byte-string.js';
import { bytesOf, byteString, readable } from '../../../tar/byte-string.js';

/** A layer's tar cannot be unpacked. The message names the entry and the reason. */
export class LayerTarInvalid extends Error {
  override readonly name = 'LayerTarInvalid';
}

/** As containerd counts them, in one path. */
const symlinksMax = 255;
/** Directories remembered; tar archives come directory by directory, so a few would do. */
const resolvedMax = 1024;

/** The components of an entry's name: none that is empty, `.` or `..`. Empty for the root. */
export function componentsOf(name: ByteString): readonly ByteString[] {
  const components: ByteString[] = [];
  for (const part of name.split('/')) {
    if (part === '' || part === '.') continue;
    if (part === '..') components.pop();
    else components.push(part);
  }
  return components;
}

export class RootedTree {
  /** The root as a byte string; the tree's own paths are byte strings that begin with it. */
  readonly root: ByteString;
  private readonly resolved = new Map<ByteString, ByteString>();

  constructor(root: string) {
    this.root = byteString(root);
  }

  /**
   * The path that a name in the tree leads to, its last component included.
   *
   * Fails  LayerTarInvalid when symlinks go in circles; ENOTDIR or ENAMETOOLONG of the name
   */
  resolve(name: ByteString): ByteString {
    return new SymlinkWalk(this.root).resolve(name);
  }

  /**
   * The path of a directory, and which directories have to be made for it, outermost first.
   *
   * Fails  as `resolve`, and LayerTarInvalid when the path leads to something else
   */
  directory(name: ByteString): { path: ByteString; missing: readonly ByteString[] } {
    const known = this.resolved.get(name);
    if (known !== undefined) return { path: known, missing: [] };
    const path = this.resolve(name);
    const missing: ByteString[] = [];
    for (let at = path; at !== this.root; at = posix.dirname(at)) {
      const stats = lstat(at);
      if (stats?.isDirectory() === true) break;
      if (stats !== null) throw new LayerTarInvalid(parentFault);
      missing.unshift(at);
    }
    if (this.resolved.size >= resolvedMax) this.resolved.clear();
    this.resolved.set(name, path);
    return { path, missing };
  }

  /** Removes what is at the path, whatever it is. */
  remove(path: ByteString): void {
    // Any remembered directory may have been in it, or reached through it.
    this.resolved.clear();
    rmSync(bytesOf(path), { recursive: true, force: true });
  }

  /** The path relative to the root. */
  relative(path: ByteString): ByteString {
    return path.slice(this.root.length + 1);
  }
}

/**
 * Follows the symlinks of one path. Each pass goes from the first component to the last and takes
 * what a symlink says in the place of its own path; when a pass meets none, the path is resolved.
 */
class SymlinkWalk {
  private readonly root: ByteString;
  private followed = 0;

  constructor(root: ByteString) {
    this.root = root;
  }

  resolve(name: ByteString): ByteString {
    for (let path = name; ;) {
      const before = this.followed;
      const walked = this.pass(path);
      if (this.followed === before) {
        const rooted = join('/', walked);
        if (rooted === walked) return join(this.root, rooted);
        path = rooted;
      } else {
        path = walked;
      }
    }
  }

  private pass(path: ByteString): ByteString {
    const slash = path.lastIndexOf('/');
    if (slash < 0) return this.target(path) ?? join('/', path);
    if (slash === path.length - 1) return slash === 0 ? '/' : this.pass(path.slice(0, slash));
    const directory = this.pass(path.slice(0, slash + 1));
    const joined = join(directory, path.slice(slash + 1));
    const target = this.target(joined);
    if (target === null) return join('/', joined);
    return target.startsWith('/') ? target : join(directory, target);
  }

  /** The target of the symlink at a path; null if there is no symlink. */
  private target(path: ByteString): ByteString | null {
    if (this.followed > symlinksMax) throw new LayerTarInvalid(circles);
    const rooted = join('/', path);
    if (rooted === '/') return null;
    const bytes = bytesOf(join(this.root, rooted));
    if (lstatSync(bytes, { throwIfNoEntry: false })?.isSymbolicLink() !== true) return null;
    this.followed += 1;
    return byteString(readlinkSync(bytes, { encoding: 'buffer' }));
  }
}

/** Joins and normalizes, without a slash at the end. */
function join(...parts: readonly ByteString[]): ByteString {
  const joined = posix.join(...parts);
  return joined.length > 1 && joined.endsWith('/') ? joined.slice(0, -1) : joined;
}

/** lstat, or null where there is nothing. */
export function lstat(path: ByteString): BigIntStats | null {
  return lstatSync(bytesOf(path), { bigint: true, throwIfNoEntry: false }) ?? null;
}

const circles = 'it has symlinks that go in circles';
const parentFault = 'its parent is not a directory';

/** Errnos caused by an entry that cannot be unpacked on any file system. */
const reasons: Readonly<Record<string, string>> = {
  EEXIST: 'the layer has something else there',
  EINVAL: 'Linux does not accept its name or a value of it',
  ELOOP: circles,
  ENAMETOOLONG: 'a name in it is longer than Linux allows',
  ENOENT: 'what it needs is not in the layer',
  ENOTDIR: parentFault,
  EPERM: 'Linux does not allow it',
  ERANGE: 'a name of an attribute is longer than Linux allows',
  E2BIG: 'an attribute is larger than Linux allows',
};

/**
 * The fault of an entry by its name, for an error that the entry has caused. Others, such as a
 * full disk, stay as they are.
 */
export function unpackFault(name: ByteString, thrown: unknown): unknown {
  const code = errnoOf(thrown);
  const known = code === undefined ? undefined : reasons[code];
  const reason = thrown instanceof LayerTarInvalid ? thrown.message : known && `${known} (${code})`;
  if (reason === undefined) return thrown;
  return new LayerTarInvalid(`${readable(name)} cannot be unpacked: ${reason}`, { cause: thrown });
}
