/**
 * A stable identity of a file system. Its device number is not stable: the kernel assigns it at
 * mount time (btrfs, NFS, overlay) or when the disk appears (loop, NVMe, LVM). Neither is `f_fsid`
 * of statfs(2), which XFS and others derive from the device number.
 *
 * Uses the ioctls of ext4, XFS and btrfs, which older kernels also support, and FS_IOC_GETFSUUID
 * for other file systems. Sources: Linux, fs/ext4/ext4.h (EXT4_IOC_GETFSUUID, 6.0),
 * fs/xfs/libxfs/xfs_fs.h (XFS_IOC_FSGEOMETRY_V1), include/uapi/linux/btrfs.h (BTRFS_IOC_FS_INFO, and
 * BTRFS_IOC_GET_SUBVOL_INFO, 4.18), include/uapi/linux/fs.h (FS_IOC_GETFSUUID, 6.9).
 */
import * as fs from 'node:fs/promises';
import { errnoOf } from '../../base/errors.js';
import type { FileSystemFacts } from '../../base/ports.js';
import { asHostFault } from '../faults.js';
import { libraryCallAsync } from '../libc.js';

const ioctl = libraryCallAsync('int ioctl(int fd, unsigned long request, void *argument)');

/** `f_type` of statfs(2). */
const typeNames: ReadonlyMap<number, string> = new Map([
  [0xef53, 'ext4'],
  [0x58465342, 'xfs'],
  [0x9123683e, 'btrfs'],
  [0xf2f52010, 'f2fs'],
  [0xca451a4e, 'bcachefs'],
  [0x2fc12fc1, 'zfs'],
  [0x01021994, 'tmpfs'],
  [0x858458f6, 'ramfs'],
  [0x794c7630, 'overlay'],
  [0x6969, 'nfs'],
  [0x517b, 'smb'],
  [0xff534d42, 'cifs'],
  [0x65735546, 'fuse'],
  [0x01021997, '9p'],
  [0x00c36400, 'ceph'],
]);

/** An ioctl that fills a structure, and the offset of the UUID in it. */
interface UuidRequest {
  readonly request: number;
  readonly bytes: number;
  readonly uuidAt: number;
  /** The input value of the first 32-bit field. */
  readonly first?: number;
}

/** struct fsuuid: length and flags, then the UUID. */
const ext4Uuid: UuidRequest = { request: 0x8008662c, bytes: 24, uuidAt: 8, first: 16 };
/** struct xfs_fsop_geom_v1: eight 32-bit and four 64-bit fields before the UUID. */
const xfsGeometry: UuidRequest = { request: 0x80705864, bytes: 112, uuidAt: 64 };
/** struct btrfs_ioctl_fs_info_args: two 64-bit fields before `fsid`. */
const btrfsInfo: UuidRequest = { request: 0x8400941f, bytes: 1024, uuidAt: 16 };
/** struct fsuuid2: one byte of length before the UUID. */
const anyUuid: UuidRequest = { request: 0x80111500, bytes: 17, uuidAt: 1 };

/** struct btrfs_ioctl_get_subvol_info_args, 504 bytes; `treeid` is its first field. */
const btrfsSubvolume = { request: 0x81f8943c, bytes: 504 } as const;

/** @throws HostFault: ENOENT if there is no such directory */
export async function fileSystemFacts(directory: string): Promise<FileSystemFacts> {
  try {
    const handle = await fs.open(directory, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY);
    try {
      const { dev: device } = await handle.stat({ bigint: true });
      const { type: magic } = await fs.statfs(directory);
      const type = typeNames.get(magic) ?? `0x${magic.toString(16)}`;
      const id = await idOf(handle.fd, type, device);
      return { type, id, device, mountId: await mountIdOf(handle.fd) };
    } finally {
      await handle.close();
    }
  } catch (thrown) {
    throw asHostFault('identify the file system of', directory, thrown);
  }
}

async function idOf(fd: number, type: string, device: bigint): Promise<string | null> {
  switch (type) {
    case 'ext4':
      return (await uuidBy(fd, ext4Uuid)) ?? (await uuidOfBlockDevice(device));
    case 'xfs':
      return uuidBy(fd, xfsGeometry);
    case 'btrfs': {
      const [uuid, subvolume] = [await uuidBy(fd, btrfsInfo), await subvolumeOf(fd)];
      return uuid === null || subvolume === null ? null : `${uuid}/${subvolume}`;
    }
    default:
      // tmpfs, overlay and others without a disk return a UUID generated for this mount.
      return isAnonymous(device) && type !== 'bcachefs' ? null : uuidBy(fd, anyUuid);
  }
}

/** Major 0 has no disk: the number was assigned to this mount. */
const isAnonymous = (device: bigint): boolean => major(device) === 0n;

/** The encoding of `st_dev`: gnu_dev_major(3). */
const major = (device: bigint): bigint => ((device >> 8n) & 0xfffn) | ((device >> 32n) & ~0xfffn);
const minor = (device: bigint): bigint => (device & 0xffn) | ((device >> 12n) & ~0xffn);

/** Null if the kernel or file system does not support the request, or the UUID is all zeros. */
async function uuidBy(fd: number, uuid: UuidRequest): Promise<string | null> {
  const answer = Buffer.alloc(uuid.bytes);
  answer.writeUInt32LE(uuid.first ?? 0, 0);
  if ((await ioctl(fd, uuid.request, answer)) < 0) return null;
  return uuidText(answer.subarray(uuid.uuidAt, uuid.uuidAt + 16));
}

async function subvolumeOf(fd: number): Promise<bigint | null> {
  const answer = Buffer.alloc(btrfsSubvolume.bytes);
  if ((await ioctl(fd, btrfsSubvolume.request, answer)) < 0) return null;
  return answer.readBigUInt64LE(0);
}

function uuidText(bytes: Buffer): string | null {
  if (bytes.every((byte) => byte === 0)) return null;
  const hex = bytes.toString('hex');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** The superblock of ext2, ext3 and ext4: `s_magic` and `s_uuid` (fs/ext4/ext4.h). */
const extSuperblock = {
  offset: 1024,
  bytes: 120,
  magicAt: 56,
  magic: 0xef53,
  uuidAt: 104,
} as const;

/** For ext4 before Linux 6.0, which has no ioctl for it. Null if the disk cannot be read. */
export async function uuidOfBlockDevice(device: bigint): Promise<string | null> {
  const { offset, bytes, magicAt, magic, uuidAt } = extSuperblock;
  try {
    const about = await fs.readFile(
      `/sys/dev/block/${major(device)}:${minor(device)}/uevent`,
      'utf8',
    );
    const name = /^DEVNAME=(.+)$/m.exec(about)?.[1];
    if (name === undefined) return null;
    const disk = await fs.open(`/dev/${name}`, fs.constants.O_RDONLY);
    try {
      const superblock = Buffer.alloc(bytes);
      await disk.read(superblock, 0, bytes, offset);
      if (superblock.readUInt16LE(magicAt) !== magic) return null;
      return uuidText(superblock.subarray(uuidAt, uuidAt + 16));
    } finally {
      await disk.close();
    }
  } catch (thrown) {
    if (errnoOf(thrown) === undefined) throw thrown;
    return null;
  }
}

/** proc_pid_fdinfo(5). */
async function mountIdOf(fd: number): Promise<number> {
  const about = await fs.readFile(`/proc/self/fdinfo/${fd}`, 'utf8');
  return Number(/^mnt_id:\s*(\d+)$/m.exec(about)?.[1]);
}
