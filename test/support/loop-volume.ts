/** A real file system in an image file, which gets another device number each time it is mounted. */
import { execFileSync, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';

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

export class LoopVolume {
  /** Hold the device numbers that were given before, so that the next mount gets another. */
  readonly #holders: (() => void)[] = [];
  readonly #mounts: string[] = [];

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

  /** The directory is made. Answers its device number. */
  mount(at: string, options = 'loop'): bigint {
    fs.mkdirSync(at, { recursive: true });
    output('mount', '-t', this.type, '-o', `loop,${options}`, this.image, at);
    this.#mounts.push(at);
    return fs.statSync(at, { bigint: true }).dev;
  }

  unmount(...options: readonly string[]): void {
    for (const at of this.#mounts.splice(0).reverse()) output('umount', ...options, at);
  }

  /** As after a reboot on which other disks and mounts came first: mounted again, under another number. */
  remount(at: string, options?: string): bigint {
    const before = fs.statSync(at, { bigint: true }).dev;
    this.unmount();
    this.#takeNumbers();
    const device = this.mount(at, options);
    if (device === before) throw new Error(`${at} has device number ${device} again`);
    return device;
  }

  /** Unmounts, whatever still uses it, and gives the numbers back; the directory is left to the test. */
  close(): void {
    this.unmount('-l');
    for (const release of this.#holders.splice(0)) release();
  }

  #takeNumbers(): void {
    const name = `${this.directory}/holder-${this.#holders.length}`;
    fs.writeFileSync(name, Buffer.alloc(4096));
    const device = output('losetup', '--find', '--show', name);
    this.#holders.push(() => output('losetup', '--detach', device));
    const at = `${name}.mount`;
    fs.mkdirSync(at);
    output('mount', '-t', 'tmpfs', 'holder', at);
    this.#holders.push(() => output('umount', at));
  }
}
