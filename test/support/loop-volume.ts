/** A real file system in an image file, which gets another device number each time it is mounted. */
import { execFileSync, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { basename } from 'node:path';

export type VolumeType = 'ext4' | 'xfs' | 'btrfs';

/** As small as each can be made. */
const megabytes: Readonly<Record<VolumeType, number>> = { ext4: 64, xfs: 320, btrfs: 128 };

export const volumeTypes: readonly VolumeType[] = ['ext4', 'xfs', 'btrfs'];

/** Both halves are needed: the tool, and a kernel that mounts what it makes. */
export function isVolumeAvailable(type: VolumeType): boolean {
  const known = fs.readFileSync('/proc/filesystems', 'utf8').split(/\s+/).includes(type);
  const tool = spawnSync('sh', ['-c', `command -v mkfs.${type}`]).status === 0;
  return tool && (known || spawnSync('modprobe', [type]).status === 0);
}

const output = (program: string, ...args: string[]): string =>
  execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();

const pause = (millis: number) =>
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, millis);

export class LoopVolume {
  /** Every loop device that the image was ever attached to: the numbers stay taken until the end. */
  readonly #devices: string[] = [];
  readonly #mounts: string[] = [];
  /** A tmpfs takes the number that a btrfs gave back. */
  readonly #holders: string[] = [];

  /** `directory` is for the image, and for what takes device numbers up. */
  constructor(
    readonly directory: string,
    readonly type: VolumeType,
    options: readonly string[] = [],
  ) {
    fs.mkdirSync(directory);
    fs.writeFileSync(this.image, '');
    fs.truncateSync(this.image, megabytes[type] * 2 ** 20);
    output(`mkfs.${type}`, '-q', ...options, this.image);
  }

  get image(): string {
    return `${this.directory}/image`;
  }

  /** As blkid(8) reads it from the image. */
  get uuid(): string {
    return output('blkid', '-p', '-o', 'value', '-s', 'UUID', this.image);
  }

  /** The directory is made, the loop device is a new one. Answers the device number of the mount. */
  mount(at: string, ...options: readonly string[]): bigint {
    fs.mkdirSync(at, { recursive: true });
    const device = output('losetup', '--find', '--show', this.image);
    this.#devices.push(device);
    const chosen = options.length > 0 ? ['-o', options.join()] : [];
    output('mount', '-t', this.type, ...chosen, device, at);
    this.#mounts.push(at);
    return fs.statSync(at, { bigint: true }).dev;
  }

  /**
   * Ends when the file system has let go of the image, not when its mount is gone: a mount
   * namespace that a process has just copied from this one keeps it, and a second mount of the same
   * image would be of another file system (btrfs), refused (xfs), or damage it (ext4).
   */
  unmount(): void {
    this.#takeMountsAway();
    const names = this.type === 'btrfs' ? [this.uuid] : this.#devices.map((name) => basename(name));
    const used = names.map((name) => `/sys/fs/${this.type}/${name}`);
    while (used.some((name) => fs.existsSync(name))) pause(10);
  }

  /** As after a reboot on which other disks and mounts came first: mounted again, under another number. */
  remount(at: string, ...options: readonly string[]): bigint {
    const before = fs.statSync(at, { bigint: true }).dev;
    for (;;) {
      this.unmount();
      // A loop device keeps its number while it is attached; the number of a btrfs goes with the
      // mount, and whoever mounts anything at this moment may take it and give it back.
      this.#holdNumber();
      const device = this.mount(at, ...options);
      if (device !== before) return device;
    }
  }

  /** Unmounts, whatever still uses it, and gives the numbers back; the directory is left to the test. */
  close(): void {
    this.#takeMountsAway('-l');
    for (const holder of this.#holders.splice(0)) output('umount', holder);
    for (const device of this.#devices.splice(0)) output('losetup', '--detach', device);
  }

  #takeMountsAway(...options: readonly string[]): void {
    for (const at of this.#mounts.splice(0).reverse()) output('umount', ...options, at);
  }

  #holdNumber(): void {
    const holder = `${this.directory}/holder-${this.#holders.length}`;
    fs.mkdirSync(holder);
    output('mount', '-t', 'tmpfs', 'holder', holder);
    this.#holders.push(holder);
  }
}
