/**
 * The test's side of a disk that remembers (disk-process.ts): starts it, puts a file system on it,
 * mounts that through a loop device, and cuts the power. The loop driver hands each write of the
 * file system on as a write and each flush as an fsync, and has no other way to make data last
 * (no FUA), so nothing is durable but by a flush that is seen.
 */
import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import { run } from '../../../scripts/rig/command.js';
import { mountsWithin } from '../../../scripts/rig/mounts.js';
import type { Workspace } from '../../../scripts/rig/workspace.js';
import { PLACE_BYTES, type DiskCommand } from './disk-process.js';
import type { Cut } from './recording.js';

const program = `${import.meta.dirname}/disk-process.ts`;

export class BlockDevice {
  /** Where the file system on the disk is mounted. */
  readonly mountpoint: string;
  readonly #show: string;
  readonly #mountArguments: readonly string[];
  readonly #placesFd: number;

  private constructor(
    mountpoint: string,
    show: string,
    mountArguments: readonly string[],
    placesFd: number,
  ) {
    this.mountpoint = mountpoint;
    this.#show = show;
    this.#mountArguments = mountArguments;
    this.#placesFd = placesFd;
  }

  /** Everything of it goes with the workspace, also after a failure. */
  static async start(
    workspace: Workspace,
    options: {
      readonly name: string;
      readonly bytes: number;
      readonly mountArguments: readonly string[];
    },
  ): Promise<BlockDevice> {
    const show = workspace.makeDirectory(`${options.name}-disk`);
    const mountpoint = workspace.makeDirectory(`${options.name}-root`);
    const args = ['--import', 'tsx', program, show, String(options.bytes)];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    let placesFd: number | null = null;
    workspace.onClose(async () => {
      if (placesFd !== null) fs.closeSync(placesFd);
      await unmount(mountpoint);
      await unmount(show);
      // Unmounted, it ends by itself; it may still be waiting for the loop device to let go.
      const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
      await ended;
      clearTimeout(timer);
    });
    await new Promise<void>((resolve, reject) => {
      child.stdout.once('data', () => resolve());
      child.once('exit', (code) => reject(new Error(`the disk ended with ${code}`)));
    });
    placesFd = fs.openSync(`${show}/places`, 'r');
    return new BlockDevice(mountpoint, show, options.mountArguments, placesFd);
  }

  /** The whole disk as a file, for mkfs. */
  get file(): string {
    return `${this.#show}/disk`;
  }

  async mount(...more: readonly string[]): Promise<void> {
    const args = ['-o', 'loop', ...this.#mountArguments, ...more, this.file, this.mountpoint];
    const isExt4 = this.#mountArguments.includes('ext4');
    const { exitCode } = await run('mount', args, { mayFail: isExt4 });
    if (exitCode === 0) return;
    // As a boot does: ext4 does not mount when a cut has torn its superblock, which is longer than
    // a sector, and e2fsck then takes the one of a backup.
    await run('e2fsck', ['-fy', this.file], { mayFail: true });
    await run('mount', args);
  }

  async unmount(): Promise<void> {
    await unmount(this.mountpoint);
  }

  /** What stands on the disk now is the beginning; every request from now on counts. */
  record(): void {
    this.#command({ command: 'record' });
  }

  /** How many requests the disk has carried out. Cheap: it is asked with each acknowledgement. */
  get position(): number {
    const bytes = Buffer.alloc(PLACE_BYTES);
    fs.readSync(this.#placesFd, bytes, 0, PLACE_BYTES, 0);
    return bytes.readDoubleLE(0);
  }

  flushes(): number[] {
    const bytes = fs.readFileSync(`${this.#show}/places`);
    const places = Array.from({ length: bytes.length / PLACE_BYTES }, (_, index) =>
      bytes.readDoubleLE(index * PLACE_BYTES),
    );
    return places.slice(1);
  }

  /** The disk as it may be after a power cut. It must not be mounted. */
  cut(cut: Cut): void {
    this.#command({ command: 'cut', cut });
  }

  #command(command: DiskCommand): void {
    fs.writeFileSync(`${this.#show}/control`, JSON.stringify(command), { flag: 'r+' });
  }
}

/** All that is mounted there. The loop device goes with its mount (LO_FLAGS_AUTOCLEAR). */
async function unmount(mountpoint: string): Promise<void> {
  for (const path of mountsWithin(mountpoint)) {
    const { exitCode } = await run('umount', [path], { mayFail: true });
    if (exitCode !== 0) await run('umount', ['-l', path]);
  }
}
