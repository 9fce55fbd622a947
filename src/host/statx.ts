/**
 * statx(2), for what Node's stat lacks: mount roots, the attributes that prevent deletion, and
 * names relative to an open directory. Never follows a symlink.
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
  /** The mount that contains it; null before Linux 5.8. */
  readonly mountId: bigint | null;
  /** Allocated, in units of 512 bytes. */
  readonly blocks: number;
  readonly isDirectory: boolean;
  /** Bits of `attribute`; 0 if the kernel or the file system does not report them. */
  readonly attributes: number;
}

const memory = new Uint8Array(structBytes);
const fields = new DataView(memory.buffer);

/** The status of a name in an open directory, or of the directory if the name is empty. */
export function statusAt(directory: number, name: Uint8Array | '', path: string): FileStatus {
  const flags = atSymlinkNofollow | atNoAutomount | (name === '' ? atEmptyPath : 0);
  checked('statx', path, statxCall, directory, cString(name), flags, requested, memory);
  return currentFields();
}

/** As `statusAt`; null if the name does not exist. */
export function statusIfExists(
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
 * Whether two files are on the same mount. Compares devices only if the kernel does not report
 * mounts, because a nested btrfs subvolume has its own device number but is not a mount.
 */
export function areOnOneMount(one: FileStatus, other: FileStatus): boolean {
  if (one.mountId !== null && other.mountId !== null) return one.mountId === other.mountId;
  return one.device === other.device;
}

/** The status of a path. Does not follow a symlink in its last component. */
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
