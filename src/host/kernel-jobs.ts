/**
 * Probes kernel features in a directory, as jobs for worker threads. Features are tried where
 * possible, because a version number does not reflect back-ports or the file system. Each probe
 * cleans up.
 */
import * as fs from 'node:fs';
import * as os from 'node:os';
import { errnoOf, HostFault, reasonOf } from '../base/errors.js';
import { emptyTree } from './files/remove-tree.js';
import { guarded } from './faults.js';
import { attachIdmappedClone } from './mounts/idmapped-mount.js';
import { checked, cString, errnoName, lastErrno, libraryCall } from './libc.js';
import { fileSystemMagic, statfs } from './mounts/statfs.js';
import type { FileSystemStatus } from './mounts/statfs.js';
import { openDirectory } from './files/tree.js';

export type ProbeResult =
  { readonly supported: true } | { readonly supported: false; readonly reason: string };

const supported: ProbeResult = { supported: true };
const unsupported = (reason: string): ProbeResult => ({ supported: false, reason });

const mountCall = libraryCall(
  'int mount(const void *source, const void *target, const void *type, unsigned long flags, const void *data)',
);
const umount2 = libraryCall('int umount2(const void *target, int flags)');
const detach = 2 | 8; // MNT_DETACH | UMOUNT_NOFOLLOW

const getdents = libraryCall('long syscall(long number, int fd, void *into, size_t size)');
const getdentsNumbers: Readonly<Record<string, number>> = {
  x64: 217,
  arm64: 61,
  riscv64: 61,
  ppc64: 202,
  s390x: 220,
};

interface Directory {
  readonly directory: string;
}

/** Errors that do not show whether a feature is supported: disk errors and exhausted resources. */
const INCONCLUSIVE: ReadonlySet<string> = new Set([
  ...['ENOSPC', 'EDQUOT', 'EIO', 'ESTALE', 'EMFILE', 'ENFILE', 'ENOMEM', 'EAGAIN', 'EINTR'],
]);

export function fileSystemStatus({ path }: { readonly path: string }): FileSystemStatus {
  return statfs(path);
}

/** `6.18` is [6, 18]. */
function kernelVersion(): readonly [number, number] {
  const [, major = '0', minor = '0'] = /^(\d+)\.(\d+)/.exec(os.release()) ?? [];
  return [Number(major), Number(minor)];
}

function isAtLeast(major: number, minor: number): boolean {
  const [ours, oursMinor] = kernelVersion();
  return ours > major || (ours === major && oursMinor >= minor);
}

/** Whether this is not the initial user namespace: its uid map is not the full identity. */
export function isInUserNamespace(): boolean {
  const map = guarded('read', '/proc/self/uid_map', () =>
    fs.readFileSync('/proc/self/uid_map', 'utf8'),
  );
  return !/^\s*0\s+0\s+4294967295\s*$/.test(map);
}

/** If overlay has the parameter `index`, containerd adds `index=off` to its mounts. */
export function hasOverlayIndexParameter(): boolean {
  return fs.existsSync('/sys/module/overlay/parameters/index');
}

/**
 * Whether readdir(3) reports entry types, which overlayfs requires of its upper directory (xfs
 * without ftype does not). Source: continuity fs/dtype_linux.go.
 */
export function reportsDirectoryTypes({ directory }: Directory): ProbeResult {
  const number = getdentsNumbers[process.arch];
  if (number === undefined)
    return unsupported(`cannot probe on ${process.arch}: unknown number of getdents64`);
  return withScratch(directory, (scratch) => {
    fs.writeFileSync(`${scratch}/entry`, '');
    const fd = openDirectory(scratch);
    try {
      const bytes = Buffer.alloc(4096);
      const length = checked('getdents64', scratch, getdents, number, fd, bytes, bytes.length);
      // struct linux_dirent64: inode 8, offset 8, length 2, type 1, name.
      for (let at = 0; at < length; at += bytes.readUInt16LE(at + 16)) {
        if (bytes[at + 18] === 0) return unsupported('d_type is DT_UNKNOWN');
      }
      return supported;
    } finally {
      fs.closeSync(fd);
    }
  });
}

/** Mounts an overlay of two lowers below the directory. */
export function canMountOverlay({ directory }: Directory): ProbeResult {
  return tryOverlay(directory, []);
}

/**
 * Whether overlays need `userxattr`: only in a user namespace, where `trusted.*` is not writable.
 * Source: containerd overlayutils/check.go, NeedsUserXAttr.
 */
export function needsUserXattr({ directory }: Directory): boolean {
  if (!isInUserNamespace()) return false;
  // tmpfs has no user.* attributes before Linux 6.6; containerd never uses the option on it.
  if (statfs(directory).type === fileSystemMagic.tmpfs) return false;
  if (isAtLeast(5, 11)) return true;
  return tryOverlay(directory, ['userxattr']).supported;
}

export interface IdmapInput extends Directory {
  /** Descriptor of a user namespace. */
  readonly namespace: number;
}

/**
 * Whether an idmapped mount can be the lower of an overlay. containerd checks only for Linux 5.19
 * (SupportsIDMappedMounts), but the file system must support it too, so it is tried.
 */
export function canIdmapOverlayLower({ directory, namespace }: IdmapInput): ProbeResult {
  return withScratch(directory, (scratch) => {
    const lower = `${scratch}/lower`;
    const mapped = `${scratch}/mapped`;
    for (const path of [lower, mapped]) fs.mkdirSync(path);
    attachIdmappedClone({ source: lower, mountpoint: mapped, namespace, recursive: false });
    try {
      return tryOverlayIn(scratch, [mapped], []);
    } finally {
      umount2(cString(mapped), detach);
    }
  });
}

/**
 * Whether an EROFS image can be mounted from a regular file (Linux 6.12). Tries a file of zeros:
 * EINVAL means that the kernel read it and found no superblock, ENOTBLK that it requires a device.
 */
export function canMountErofsFiles({ directory }: Directory): ProbeResult {
  return withScratch(directory, (scratch) => {
    const image = `${scratch}/image`;
    const mountpoint = `${scratch}/mountpoint`;
    fs.writeFileSync(image, Buffer.alloc(8192));
    fs.mkdirSync(mountpoint);
    const result = mountCall(cString(image), cString(mountpoint), cString('erofs'), 1, null);
    if (result === 0) {
      umount2(cString(mountpoint), detach);
      return unsupported('a file of zeros was mounted');
    }
    const code = errnoName(lastErrno());
    switch (code) {
      case 'EINVAL':
        return supported;
      case 'ENOTBLK':
        return unsupported(
          'the kernel mounts EROFS only from block devices (files require Linux 6.12)',
        );
      case 'ENODEV':
        return unsupported('the kernel does not support EROFS');
      default:
        throwIfInconclusive('mount', mountpoint, code);
        return unsupported(`mount(2) failed with ${code}`);
    }
  });
}

/** Whether the control device of loop devices can be opened. */
export function canUseLoopDevices(): ProbeResult {
  const device = '/dev/loop-control';
  try {
    fs.closeSync(fs.openSync(device, fs.constants.O_RDWR));
    return supported;
  } catch (error) {
    throwIfInconclusive('open', device, errnoOf(error));
    return unsupported(reasonOf(error));
  }
}

function tryOverlay(directory: string, options: readonly string[]): ProbeResult {
  return withScratch(directory, (scratch) => {
    const lowers = [`${scratch}/lower2`, `${scratch}/lower1`];
    for (const lower of lowers) fs.mkdirSync(lower);
    return tryOverlayIn(scratch, lowers, options);
  });
}

function tryOverlayIn(
  scratch: string,
  lowers: readonly string[],
  options: readonly string[],
): ProbeResult {
  const [upper, work, merged] = [`${scratch}/upper`, `${scratch}/work`, `${scratch}/merged`];
  for (const path of [upper, work, merged]) fs.mkdirSync(path);
  const escape = (path: string): string => path.replaceAll(/[\\:,]/g, '\\$&');
  const data = [
    `lowerdir=${lowers.map(escape).join(':')}`,
    `upperdir=${escape(upper)}`,
    `workdir=${escape(work)}`,
    ...options,
  ].join(',');
  const [target, type] = [cString(merged), cString('overlay')];
  if (mountCall(type, target, type, 0, cString(data)) !== 0) {
    const code = errnoName(lastErrno());
    throwIfInconclusive('mount', merged, code);
    return unsupported(`mounting an overlay failed with ${code}`);
  }
  umount2(target, detach);
  return supported;
}

/**
 * Runs a probe in a temporary directory. A refusal by the kernel means that the feature is not
 * supported.
 *
 * @throws HostFault if the probe is inconclusive, as on a full or broken disk
 */
function withScratch(directory: string, attempt: (scratch: string) => ProbeResult): ProbeResult {
  const scratch = guarded('mkdtemp', directory, () => fs.mkdtempSync(`${directory}/.probe-`));
  try {
    return attempt(scratch);
  } catch (error) {
    throwIfInconclusive('try', scratch, errnoOf(error));
    if (error instanceof HostFault) return unsupported(error.message);
    throw error;
  } finally {
    emptyTree(openDirectory(scratch), scratch, () => false);
    fs.rmdirSync(scratch);
  }
}

function throwIfInconclusive(operation: string, path: string, code: string | undefined): void {
  if (code !== undefined && INCONCLUSIVE.has(code)) throw new HostFault(operation, path, code);
}
