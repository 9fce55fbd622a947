/**
 * File system access of the layer store in the daemon, as jobs for worker threads: the store may be
 * on a server that does not answer, which must block only that thread. Each job makes all calls of
 * one step, because the hop to a thread costs more than the calls.
 */
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readSync,
  realpathSync,
} from 'node:fs';
import type { BigIntStats } from 'node:fs';

import { errnoOf } from '../../base/errors.js';
import { guarded } from '../../host/faults.js';
import { lgetxattr } from '../../host/files/xattrs.js';
import { identityAttribute } from './layout.js';
import { manifestBytesMax } from './manifest.js';

/** Identifies a file and its version. */
export interface FileMark {
  readonly kind: 'file' | 'directory' | 'other';
  readonly device: bigint;
  readonly inode: bigint;
  readonly size: number;
  readonly modifiedNanos: bigint;
  readonly birthTimeNanos: bigint;
}

/** A directory, with the value of `trusted.stratalog.layer` on it where there is one. */
export interface RootMark extends FileMark {
  readonly identity: string | null;
}

export interface ManifestFile {
  readonly text: string;
  readonly mark: FileMark;
}

export interface Observation {
  readonly manifest: FileMark | null;
  readonly content: RootMark | null;
  /** Null if the path does not exist. Read through a mount, if there is one. */
  readonly mountpoint: RootMark | null;
  /** Whether the store's own file exists; checked only if the layer does not exist. */
  readonly storePresent: boolean;
}

/** The manifest's text, or null when there is none. ELOOP when it is a symlink. */
export function readManifest(input: { readonly path: string }): ManifestFile | null {
  return readBounded(input.path, manifestBytesMax);
}

/** A mountpoint with all symlinks resolved, as the mount table names it. */
export function resolvePath(input: { readonly path: string }): string {
  return guarded('realpath', input.path, () => realpathSync.native(input.path));
}

export function observe(input: {
  readonly storeFile: string;
  readonly manifest: string;
  readonly content: string;
  readonly mountpoint: string;
}): Observation {
  const manifest = mark(input.manifest);
  const content = manifest === null ? null : rootMark(input.content);
  const storePresent = (manifest !== null && content !== null) || mark(input.storeFile) !== null;
  return { manifest, content, mountpoint: rootMark(input.mountpoint), storePresent };
}

/** Reads a small regular file without following a symlink in its last component. */
function readBounded(path: string, bytesMax: number): ManifestFile | null {
  return guarded('open', path, () => {
    let fd: number;
    try {
      // NONBLOCK: a FIFO in the place of a manifest would otherwise wait for a writer.
      const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
      fd = openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    } catch (thrown) {
      if (errnoOf(thrown) === 'ENOENT') return null;
      throw thrown;
    }
    try {
      const stats = fstatSync(fd, { bigint: true });
      if (!stats.isFile() || stats.size > BigInt(bytesMax)) {
        throw new Error(`${path} is not a file of at most ${bytesMax} bytes`);
      }
      const bytes = Buffer.alloc(Number(stats.size));
      let filled = 0;
      while (filled < bytes.length) {
        const count = readSync(fd, bytes, filled, bytes.length - filled, filled);
        if (count === 0) break;
        filled += count;
      }
      return { text: bytes.toString('utf8', 0, filled), mark: markOf(stats) };
    } finally {
      closeSync(fd);
    }
  });
}

function mark(path: string): FileMark | null {
  const stats = stat(path);
  return stats === null ? null : markOf(stats);
}

function rootMark(path: string): RootMark | null {
  const stats = stat(path);
  if (stats === null) return null;
  const identity = stats.isDirectory() ? lgetxattr(path, identityAttribute) : null;
  return {
    ...markOf(stats),
    identity: identity === null ? null : Buffer.from(identity).toString('latin1'),
  };
}

function stat(path: string): BigIntStats | null {
  return guarded('lstat', path, () => {
    try {
      return lstatSync(path, { bigint: true });
    } catch (thrown) {
      const code = errnoOf(thrown);
      if (code === 'ENOENT' || code === 'ENOTDIR') return null;
      throw thrown;
    }
  });
}

function markOf(stats: BigIntStats): FileMark {
  return {
    kind: stats.isFile() ? 'file' : stats.isDirectory() ? 'directory' : 'other',
    device: stats.dev,
    inode: stats.ino,
    size: Number(stats.size),
    modifiedNanos: stats.mtimeNs,
    birthTimeNanos: stats.birthtimeNs,
  };
}
