/**
 * What Node has no call for and an unpacked layer needs: extended attributes, device nodes, times
 * with nanoseconds on links. Never follows a link in the last component. All calls block: for use
 * on the threads of workers.ts.
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
/** `tv_nsec` that leaves a time as it is. */
const utimeOmit = 0x3ffffffen;
const nanosPerSecond = 1_000_000_000n;

/** A path, as text or as the bytes that a tar header holds. */
export type Path = string | Uint8Array;

const shown = (path: Path): string =>
  typeof path === 'string' ? path : Buffer.from(path).toString('utf8');

/**
 * Sets `name` (`user.…`, `trusted.…`, `security.capability`), whether it exists or not. With
 * `create`, one that exists fails with EEXIST and keeps its value.
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

/** Null when the file has no such attribute, or its file system has none at all. */
export function lgetxattr(path: Path, name: Path): Uint8Array | null {
  return readGrowing('lgetxattr', path, lgetxattrCall, cString(path), cString(name));
}

/** The names of all attributes that this process may see: bytes, one character each (latin1). */
export function llistxattr(path: Path): readonly string[] {
  const list = readGrowing('llistxattr', path, llistxattrCall, cString(path));
  if (list === null || list.length === 0) return [];
  return Buffer.from(list).toString('latin1').slice(0, -1).split('\0');
}

export function lremovexattr(path: Path, name: string): void {
  checked('lremovexattr', shown(path), lremovexattrCall, cString(path), cString(name));
}

/** The kernel tells the size first; when the value grows in between it says ERANGE. */
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

/** `mode` holds the type (S_IFCHR, S_IFBLK, S_IFIFO …) and the permissions, less the umask. */
export function mknod(path: Path, mode: number, device: number | bigint): void {
  checked('mknod', shown(path), mknodCall, cString(path), mode, device);
}

/** Sets the times of a file or of a link itself, in nanoseconds since 1970; null leaves one be. */
export function lutimes(path: Path, accessed: bigint | null, modified: bigint | null): void {
  const timespecs = new BigInt64Array([...timespec(accessed), ...timespec(modified)]);
  const bytes = new Uint8Array(timespecs.buffer);
  const flags = symlinkNofollow;
  checked('utimensat', shown(path), utimensatCall, currentDirectory, cString(path), bytes, flags);
}

/** Seconds rounded down, so that times before 1970 keep their nanoseconds positive. */
function timespec(nanos: bigint | null): readonly [bigint, bigint] {
  if (nanos === null) return [0n, utimeOmit];
  const rest = ((nanos % nanosPerSecond) + nanosPerSecond) % nanosPerSecond;
  return [(nanos - rest) / nanosPerSecond, rest];
}

export function lchown(path: Path, uid: number, gid: number): void {
  checked('lchown', shown(path), lchownCall, cString(path), uid, gid);
}
