/**
 * Loop devices for image files. With LO_FLAGS_AUTOCLEAR a device is detached after its last close,
 * so closing the descriptor is the only cleanup: after success (the mount keeps it open), after a
 * failure, and when this process is killed. Use it on worker threads only. Source: loop(4),
 * linux/loop.h.
 */
import * as fs from 'node:fs';
import { HostFault } from '../../base/errors.js';
import { guarded } from '../faults.js';
import { checked, errnoName, lastErrno, libraryCall } from '../libc.js';

const ioctlNumber = libraryCall('int ioctl(int fd, unsigned long request, long argument)');
const ioctlMemory = libraryCall('int ioctl(int fd, unsigned long request, void *argument)');

const control = '/dev/loop-control';
const getFree = 0x4c82; // LOOP_CTL_GET_FREE
const configure = 0x4c0a; // LOOP_CONFIGURE, Linux 5.8

/** struct loop_config: fd, block size, struct loop_info64 (232 bytes), reserved. */
const configBytes = 304;
const infoOffset = 8;
const flagsOffset = infoOffset + 52;
const fileNameOffset = infoOffset + 56;
const fileNameBytes = 64;
const readOnly = 1; // LO_FLAGS_READ_ONLY
const autoClear = 4; // LO_FLAGS_AUTOCLEAR

/** Another process may take a free device before it is configured. */
const attemptsMax = 64;

export interface LoopDevice {
  /** `/dev/loop3`. */
  readonly path: string;
  /** Closes the descriptor; the device stays attached while a mount uses it. */
  close(): void;
}

/** Attaches the image read-only to a free loop device and keeps it open. */
export function attachLoopDevice(image: string): LoopDevice {
  const file = guarded('open', image, () => fs.openSync(image, fs.constants.O_RDONLY));
  try {
    for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
      const device = tryAttach(file, image);
      if (device !== null) return device;
    }
  } finally {
    fs.closeSync(file);
  }
  throw new HostFault('LOOP_CONFIGURE', image, 'EBUSY');
}

/** Null if another process took the device first. */
function tryAttach(file: number, image: string): LoopDevice | null {
  const path = `/dev/loop${freeNumber()}`;
  const fd = guarded('open', path, () => fs.openSync(path, fs.constants.O_RDONLY));
  if (ioctlMemory(fd, configure, configuration(file, image)) === 0) {
    return {
      path,
      close: () => {
        fs.closeSync(fd);
      },
    };
  }
  const code = errnoName(lastErrno());
  fs.closeSync(fd);
  if (code === 'EBUSY') return null;
  throw new HostFault('LOOP_CONFIGURE', path, code);
}

function freeNumber(): number {
  const fd = guarded('open', control, () => fs.openSync(control, fs.constants.O_RDWR));
  try {
    return checked('LOOP_CTL_GET_FREE', control, ioctlNumber, fd, getFree, 0);
  } finally {
    fs.closeSync(fd);
  }
}

function configuration(file: number, image: string): Uint8Array {
  const bytes = Buffer.alloc(configBytes);
  bytes.writeUInt32LE(file, 0);
  bytes.writeUInt32LE(readOnly | autoClear, flagsOffset);
  // Shown by losetup(8) and in sysfs; must be NUL-terminated.
  bytes.write(image, fileNameOffset, fileNameBytes - 1, 'utf8');
  return bytes;
}
