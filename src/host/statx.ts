/**
 * statx(2): what Node's stat does not tell (whether a directory is the root of a mount, which
 * attributes forbid a delete), relative to an open directory, without following a link.
 */
import { HostFault } from '../base/errors.js';
import { checked, cString, errnoName, lastErrno, libraryCall } from './libc.js';

const statxCall = libraryCall(
  'int statx(int directory, const void *path, int flags, unsigned int mask, void *into)',
);

const currentDirectory = -100; // AT_FDCWD
const atEmptyPath = 0x1000;
const atSymlinkNofollow = 0x100;
const atNoAutomount = 0x800;
const basicStats = 0x7ff;
const mountIdMask = 0x1000; // STATX_MNT_ID, Linux 5.8
const requested = basicStats | mountIdMask;
const structBytes = 256;

/** `stx_attributes`, statx(2). */
export const attribute = { immutable: 0x10, append: 0x20, mountRoot: 0x2000 } as const;

const typeMask = 0o170000;
const typeDirectory = 0o040000;

export interface FileStatus {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly links: number;
  readonly inode: bigint;
  readonly device: bigint;
  /** Of the mount that it was reached through; null before Linux 5.8. */
  readonly mountId: bigint | null;
  /** Allocated, in units of 512 bytes. */
  readonly blocks: number;
  readonly isDirectory: boolean;
  /** Bits of `attribute`; those that the kernel or the file system cannot tell are 0. */
  readonly attributes: number;
}

const memory = new Uint8Array(structBytes);
const fields = new DataView(memory.buffer);

/** Of a name in an open directory, or of the directory itself when the name is empty. */
export function statusAt(directory: number, name: Uint8Array | '', path: string): FileStatus {
  const flags = atSymlinkNofollow | atNoAutomount | (name === '' ? atEmptyPath : 0);
  checked('statx', path, statxCall, directory, cString(name), flags, requested, memory);
  return currentFields();
}

/** The same; null where nothing of that name is (any more). */
export function statusIfThere(
  directory: number,
  name: Uint8Array,
  path: string,
): FileStatus | null {
  const flags = atSymlinkNofollow | atNoAutomount;
  if (statxCall(directory, cString(name), flags, requested, memory) === 0) return currentFields();
  const code = errnoName(lastErrno());
  if (code === 'ENOENT') return null;
  throw new HostFault('statx', path, code);
}

/**
 * Whether two are on one mount. A nested btrfs subvolume has a device number of its own and is no
 * mount, so the device decides only where the kernel does not report mounts.
 */
export function areOnOneMount(one: FileStatus, other: FileStatus): boolean {
  if (one.mountId !== null && other.mountId !== null) return one.mountId === other.mountId;
  return one.device === other.device;
}

/** Of a path, without following a link in its last component. */
export function statusOf(path: string): FileStatus {
  return statusAt(currentDirectory, Buffer.from(path), path);
}

function currentFields(): FileStatus {
  const mode = fields.getUint16(28, true);
  return {
    mode,
    uid: fields.getUint32(20, true),
    gid: fields.getUint32(24, true),
    links: fields.getUint32(16, true),
    inode: fields.getBigUint64(32, true),
    device: (BigInt(fields.getUint32(136, true)) << 32n) | BigInt(fields.getUint32(140, true)),
    mountId:
      (fields.getUint32(0, true) & mountIdMask) === 0 ? null : fields.getBigUint64(144, true),
    blocks: Number(fields.getBigUint64(48, true)),
    isDirectory: (mode & typeMask) === typeDirectory,
    attributes: fields.getUint32(8, true),
  };
}
