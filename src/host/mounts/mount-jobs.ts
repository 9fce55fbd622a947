/** mount(2), umount2(2) and the mount table, as jobs for worker threads. */
import * as fs from 'node:fs';
import { HostFault } from '../../base/errors.js';
import type { MountEntry, MountRequest } from '../../base/ports.js';
import { guarded } from '../faults.js';
import type { JobControl } from '../threads/job-module.js';
import { checked, cString, libraryCall } from '../libc.js';
import type { Argument } from '../libc.js';
import { attachLoopDevice } from './loop.js';
import { mountFlag, parseMountOptions, perMountFlags } from './mount-options.js';
import type { MountArguments } from './mount-options.js';
import { parseMountinfo } from './mountinfo.js';
import { mountFlagsOf } from './statfs.js';

const mountCall = libraryCall(
  'int mount(const void *source, const void *target, const void *type, unsigned long flags, const void *data)',
);
const umount2 = libraryCall('int umount2(const void *target, int flags)');

const detachFlag = 2; // MNT_DETACH
const noFollow = 8; // UMOUNT_NOFOLLOW
const tablePath = '/proc/self/mountinfo';

export function readTable(): readonly MountEntry[] {
  return parseMountinfo(guarded('read', tablePath, () => fs.readFileSync(tablePath, 'utf8')));
}

/**
 * Mounts completely or not at all: unmounts again if a later call (flags, propagation) fails or the
 * job was aborted.
 */
export function mount(request: MountRequest, control: JobControl): void {
  const parsed = parseMountOptions(request.options, request.mountpoint);
  if ((parsed.flags & mountFlag.remount) !== 0 || isPropagationOnly(request, parsed)) {
    applyToExisting(request, parsed);
    return;
  }
  if (parsed.loop) mountImage(request, parsed);
  else call(request, request.source, parsed.flags, parsed.data);
  try {
    finish(request, parsed);
    // Aborted while mount(2) was waiting: no caller would unmount it.
    if (control.aborted()) throw new HostFault('mount', request.mountpoint, 'ECANCELED');
  } catch (error) {
    umount2(cString(request.mountpoint), detachFlag | noFollow);
    throw error;
  }
}

function isPropagationOnly(request: MountRequest, parsed: MountArguments): boolean {
  return parsed.propagation.length > 0 && parsed.flags === 0 && ['', 'none'].includes(request.type);
}

function applyToExisting(request: MountRequest, parsed: MountArguments): void {
  if ((parsed.flags & mountFlag.remount) !== 0) {
    call(request, request.source, parsed.flags, parsed.data);
  }
  propagate(request, parsed);
}

function mountImage(request: MountRequest, parsed: MountArguments): void {
  const device = attachLoopDevice(request.source);
  try {
    call(request, device.path, parsed.flags | mountFlag.readOnly, parsed.data);
  } finally {
    device.close();
  }
}

function finish(request: MountRequest, parsed: MountArguments): void {
  const ofMountpoint = parsed.flags & perMountFlags;
  if ((parsed.flags & mountFlag.bind) !== 0 && ofMountpoint !== 0) {
    // mount(2) ignores these flags for a bind. The remount replaces all flags, so those inherited
    // from the source (such as nodev) are passed again.
    const inherited = mountFlagsOf(request.mountpoint);
    call(
      request,
      request.source,
      ofMountpoint | inherited | mountFlag.bind | mountFlag.remount,
      '',
    );
  }
  propagate(request, parsed);
}

function propagate(request: MountRequest, parsed: MountArguments): void {
  for (const flags of parsed.propagation) call(request, '', flags, '');
}

function call(request: MountRequest, source: string, flags: number, data: string): void {
  const { mountpoint, type } = request;
  const values: Argument[] = [source, mountpoint, type === 'none' ? '' : type].map(cString);
  checked('mount', mountpoint, mountCall, ...values, flags, data === '' ? null : cString(data));
}

export interface UnmountInput {
  readonly mountpoint: string;
  readonly detach: boolean;
}

/** Does not follow a symlink at the mountpoint. EINVAL if nothing is mounted there. */
export function unmount({ mountpoint, detach }: UnmountInput): void {
  if (!mountpoint.startsWith('/')) throw new HostFault('umount', mountpoint, 'EINVAL');
  checked('umount', mountpoint, umount2, cString(mountpoint), noFollow | (detach ? detachFlag : 0));
}
