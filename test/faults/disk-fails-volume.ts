/**
 * A small real file system for one daemon: it can be filled to the last byte, cut off from its
 * disk, and brought back. The daemon's root is where it is mounted.
 */
import * as fs from 'node:fs';
import { run } from '../../scripts/rig/command.js';
import { Daemon } from '../../scripts/rig/daemon.js';
import { mountsWithin } from '../../scripts/rig/mounts.js';
import type { Workspace } from '../../scripts/rig/workspace.js';
import { errnoOf } from '../../src/base/errors.js';

export type VolumeKind = 'ext4' | 'xfs';

const mkfs: Readonly<Record<VolumeKind, readonly [string, ...string[]]>> = {
  // No blocks kept for root, who the daemon is: full is full.
  ext4: ['mkfs.ext4', '-q', '-F', '-m', '0', '-J', 'size=4'],
  xfs: ['mkfs.xfs', '-q', '-f'],
};
const mebibyte = 1024 * 1024;
/** XFS is not made smaller than this. */
const bytesOf: Readonly<Record<VolumeKind, number>> = { ext4: 64 * mebibyte, xfs: 320 * mebibyte };

/** As small as the setting goes, so that a test can use a segment up. */
const config = '[log_store]\nsegment_size = "1MiB"\n';

export class Volume {
  readonly daemon: Daemon;
  readonly #image: string;
  readonly #kind: VolumeKind;

  private constructor(daemon: Daemon, image: string, kind: VolumeKind) {
    this.daemon = daemon;
    this.#image = image;
    this.#kind = kind;
  }

  static async create(workspace: Workspace, kind: VolumeKind): Promise<Volume> {
    const image = workspace.path('volume.image');
    fs.writeFileSync(image, '');
    fs.truncateSync(image, bytesOf[kind]);
    const [program, ...words] = mkfs[kind];
    await run(program, [...words, image]);
    const flags = ['--log-format', 'json'];
    const daemon = Daemon.stratalog(workspace, { config, flags }, 'volume');
    fs.mkdirSync(daemon.root);
    const volume = new Volume(daemon, image, kind);
    await volume.mount();
    return volume;
  }

  get root(): string {
    return this.daemon.root;
  }

  async mount(): Promise<void> {
    await run('mount', ['-t', this.#kind, '-o', 'loop', this.#image, this.root]);
  }

  async unmount(): Promise<void> {
    for (const path of mountsWithin(this.root)) await run('umount', [path]);
  }

  /** Takes all room there is, in a file of ever smaller pieces. */
  fill(name = 'filler'): void {
    const fd = fs.openSync(`${this.root}/${name}`, 'a');
    try {
      for (const bytes of [mebibyte, 64 * 1024, 4096, 512]) fillWith(fd, Buffer.alloc(bytes, 1));
    } finally {
      fs.closeSync(fd);
    }
  }

  /** Somebody deletes something. */
  makeRoom(name = 'filler'): void {
    fs.rmSync(`${this.root}/${name}`);
  }

  /** The file system stops as if its disk were gone: every write from now on is EIO. */
  async shutDown(): Promise<void> {
    await run('xfs_io', ['-x', '-c', 'shutdown', this.root]);
  }

  /** ext4 only: remounted read-only under open files, as its `errors=remount-ro` does. */
  async turnReadOnly(): Promise<void> {
    await run('mount', ['-o', 'remount,errors=remount-ro,abort', this.root]);
  }

  /** Lines that the daemon has written at a level or above it, as objects. */
  messages(level: string): Record<string, unknown>[] {
    return this.daemon
      .log()
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .filter((line) => line['level'] === level);
  }
}

function fillWith(fd: number, bytes: Buffer): void {
  for (;;) {
    try {
      fs.writeSync(fd, bytes);
      // Delayed allocation promises room that is not there yet.
      if (bytes.length < 4096) fs.fsyncSync(fd);
    } catch (thrown) {
      if (errnoOf(thrown) === 'ENOSPC') return;
      throw thrown;
    }
  }
}
