/**
 * Parses mount options of a command line into the arguments of mount(2): flags, propagation (a
 * separate call) and the data string. Sources: mount(8), mount(2), and containerd's
 * mount/mount_linux.go for the order of the calls.
 */
import { HostFault } from '../../base/errors.js';

export const mountFlag = {
  readOnly: 0x1,
  noSuid: 0x2,
  noDev: 0x4,
  noExec: 0x8,
  synchronous: 0x10,
  remount: 0x20,
  mandLock: 0x40,
  dirSync: 0x80,
  noSymfollow: 0x100,
  noAtime: 0x400,
  noDirAtime: 0x800,
  bind: 0x1000,
  recursive: 0x4000,
  silent: 0x8000,
  unbindable: 0x20000,
  private: 0x40000,
  slave: 0x80000,
  shared: 0x100000,
  relAtime: 0x200000,
  iVersion: 0x800000,
  strictAtime: 0x1000000,
  lazyTime: 0x2000000,
} as const;

const setting: Readonly<Record<string, number>> = {
  ro: mountFlag.readOnly,
  nosuid: mountFlag.noSuid,
  nodev: mountFlag.noDev,
  noexec: mountFlag.noExec,
  sync: mountFlag.synchronous,
  remount: mountFlag.remount,
  mand: mountFlag.mandLock,
  dirsync: mountFlag.dirSync,
  nosymfollow: mountFlag.noSymfollow,
  noatime: mountFlag.noAtime,
  nodiratime: mountFlag.noDirAtime,
  bind: mountFlag.bind,
  rbind: mountFlag.bind | mountFlag.recursive,
  silent: mountFlag.silent,
  relatime: mountFlag.relAtime,
  iversion: mountFlag.iVersion,
  strictatime: mountFlag.strictAtime,
  lazytime: mountFlag.lazyTime,
};

const clearing: Readonly<Record<string, number>> = {
  defaults: 0,
  rw: mountFlag.readOnly,
  suid: mountFlag.noSuid,
  dev: mountFlag.noDev,
  exec: mountFlag.noExec,
  async: mountFlag.synchronous,
  nomand: mountFlag.mandLock,
  symfollow: mountFlag.noSymfollow,
  atime: mountFlag.noAtime,
  diratime: mountFlag.noDirAtime,
  loud: mountFlag.silent,
  norelatime: mountFlag.relAtime,
  noiversion: mountFlag.iVersion,
  nostrictatime: mountFlag.strictAtime,
  nolazytime: mountFlag.lazyTime,
};

const propagations: Readonly<Record<string, number>> = {
  private: mountFlag.private,
  rprivate: mountFlag.private | mountFlag.recursive,
  shared: mountFlag.shared,
  rshared: mountFlag.shared | mountFlag.recursive,
  slave: mountFlag.slave,
  rslave: mountFlag.slave | mountFlag.recursive,
  unbindable: mountFlag.unbindable,
  runbindable: mountFlag.unbindable | mountFlag.recursive,
};

/** Flags of the mountpoint; a bind mount takes them only in a second, remounting call. */
export const perMountFlags =
  mountFlag.readOnly |
  mountFlag.noSuid |
  mountFlag.noDev |
  mountFlag.noExec |
  mountFlag.noSymfollow |
  mountFlag.noAtime |
  mountFlag.noDirAtime |
  mountFlag.relAtime |
  mountFlag.strictAtime;

/** The kernel copies one page of data, including the terminating NUL. */
const dataBytesMax = 4095;

export interface MountArguments {
  readonly flags: number;
  /** One call each, after the mount. */
  readonly propagation: readonly number[];
  readonly data: string;
  /** The source is an image file. */
  readonly loop: boolean;
}

/**
 * Each element is one option. `ro,nodev` in one element is data, because a path may contain `,ro`.
 *
 * @throws HostFault: E2BIG if the data is longer than mount(2) accepts
 */
export function parseMountOptions(options: readonly string[], mountpoint: string): MountArguments {
  let flags = 0;
  let loop = false;
  const propagation: number[] = [];
  const data: string[] = [];
  for (const option of options) {
    const set = lookUp(setting, option);
    const clear = lookUp(clearing, option);
    const propagate = lookUp(propagations, option);
    if (set !== undefined) flags |= set;
    else if (clear !== undefined) flags &= ~clear;
    else if (propagate !== undefined) propagation.push(propagate);
    else if (option === 'loop') loop = true;
    else if (option !== '') data.push(option);
  }
  const joined = data.join(',');
  const bytes = Buffer.byteLength(joined, 'utf8');
  if (bytes > dataBytesMax) {
    const fault = new HostFault('mount', mountpoint, 'E2BIG');
    fault.message += `: options have ${bytes} bytes (limit ${dataBytesMax})`;
    throw fault;
  }
  return { flags, propagation, data: joined, loop };
}

/** Own properties only: an option may be named `constructor`. */
function lookUp(table: Readonly<Record<string, number>>, option: string): number | undefined {
  return Object.hasOwn(table, option) ? table[option] : undefined;
}
