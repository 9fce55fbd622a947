/**
 * Calls that unpacking a layer needs and Node lacks: extended attributes, device nodes, times of
 * symlinks in nanoseconds. Never follows a symlink in the last component. All calls block: use
 * them on worker threads only.
 */
import { HostFault } from '../../base/errors.js';
import { checked, cString, errnoName, lastErrno, libraryCall } from '../libc.js';
import type { LibraryCall } from '../libc.js';

const lsetxattrCall = libraryCall(
  'int lsetxattr(const void *path, const void *name, const void *value, size_t size, int flags)',
);
const lgetxattrCall = libraryCall(
  'long lgetxattr(const void *path, const void *name, void *value, size_t size)',
);
const llistxattrCall = libraryCall('long llistxattr(const void *path, void *list, size_t size)');
const lremovexattrCall = libraryCall('int lremovexattr(const void *path, const void *name)');
const mknodCall = libraryCall(
  'int mknod(const void *path, unsigned int mode, unsigned long device)',
);
const utimensatCall = libraryCall(
  'int utimensat(int directory, const void *path, const void *times, int flags)',
);
const lchownCall = libraryCall('int lchown(const void *path, unsigned int uid, unsigned int gid)');

const currentDirectory = -100; // AT_FDCWD
const symlinkNofollow = 0x100; // AT_SYMLINK_NOFOLLOW
const createOnly = 1; // XATTR_CREATE
/** UTIME_OMIT: leaves a time unchanged. */
const utimeOmit = 0x3ffffffen;
const nanosPerSecond = 1_000_000_000n;

/** A path as text or, from a tar header, as bytes. */
export type Path = string | Uint8Array;

const shown = (path: Path): string =>
  typeof path === 'string' ? path : Buffer.from(path).toString('utf8');

/**
 * Sets `name` (`user.…`, `trusted.…`, `security.capability`). With `create`, fails with EEXIST if
 * it exists.
 */
export function lsetxattr(
  path: Path,
  name: Path,
  value: Uint8Array,
  { create = false }: { readonly create?: boolean } = {},
): void {
  const flags = create ? createOnly : 0;
  const arguments_ = [cString(path), cString(name), value, value.length, flags] as const;
  checked('lsetxattr', shown(path), lsetxattrCall, ...arguments_);
}

/** Null if the file has no such attribute or its file system does not support attributes. */
export function lgetxattr(path: Path, name: Path): Uint8Array | null {
  return readGrowing('lgetxattr', path, lgetxattrCall, cString(path), cString(name));
}

/** The names of all attributes visible to this process, decoded as latin1. */
export function llistxattr(path: Path): readonly string[] {
  const list = readGrowing('llistxattr', path, llistxattrCall, cString(path));
  if (list === null || list.length === 0) return [];
  return Buffer.from(list).toString('latin1').slice(0, -1).split('\0');
}

export function lremovexattr(path: Path, name: string): void {
  checked('lremovexattr', shown(path), lremovexattrCall, cString(path), cString(name));
}

/** Retries on ERANGE: the value can grow between the call for its size and the read. */
function readGrowing(
  operation: string,
  path: Path,
  call: LibraryCall,
  ...names: Uint8Array[]
): Uint8Array | null {
  for (;;) {
    const size = call(...names, null, 0);
    if (size >= 0) {
      const bytes = new Uint8Array(size);
      if (size === 0) return bytes;
      const length = call(...names, bytes, size);
      if (length >= 0) return bytes.subarray(0, length);
    }
    const code = errnoName(lastErrno());
    if (code === 'ENODATA' || code === 'ENOTSUP') return null;
    if (code !== 'ERANGE') throw new HostFault(operation, shown(path), code);
  }
}

/** `dev_t` as the C library packs it (gnu_dev_makedev(3)). A whiteout is 0, 0. */
export function deviceNumber(major: number, minor: number): bigint {
  const [high, low] = [BigInt(major), BigInt(minor)];
  return (
    ((high & 0xfffff000n) << 32n) |
    ((high & 0xfffn) << 8n) |
    ((low & 0xffffff00n) << 12n) |
    (low & 0xffn)
  );
}

/** `mode` has the type (S_IFCHR, S_IFBLK, S_IFIFO …) and the permissions; the umask applies. */
export function mknod(path: Path, mode: number, device: number | bigint): void {
  checked('mknod', shown(path), mknodCall, cString(path), mode, device);
}

/** Sets times in nanoseconds since 1970; null leaves one unchanged. Does not follow symlinks. */
export function lutimes(path: Path, accessed: bigint | null, modified: bigint | null): void {
  const timespecs = new BigInt64Array([...timespec(accessed), ...timespec(modified)]);
  const bytes = new Uint8Array(timespecs.buffer);
  const flags = symlinkNofollow;
  checked('utimensat', shown(path), utimensatCall, currentDirectory, cString(path), bytes, flags);
}

/** Rounds seconds down, so that nanoseconds are not negative before 1970. */
function timespec(nanos: bigint | null): readonly [bigint, bigint] {
  if (nanos === null) return [0n, utimeOmit];
  const rest = ((nanos % nanosPerSecond) + nanosPerSecond) % nanosPerSecond;
  return [(nanos - rest) / nanosPerSecond, rest];
}

export function lchown(path: Path, uid: number, gid: number): void {
  checked('lchown', shown(path), lchownCall, cString(path), uid, gid);
}
