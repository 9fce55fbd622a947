/**
 * A remote file system of the smallest kind: a layer is a directory, shown by a read-only bind
 * mount. Each layer has a switch, so that a test can break it, let it hang, or heal it. The
 * mounts are real.
 */
import { existsSync, writeFileSync } from 'node:fs';
import type { MountTable } from '../../src/base/ports.js';
import type { Labels } from '../../src/base/units.js';
import type { FileSystem } from '../../src/filesystems/contract.js';
import { TARGET_LABEL } from '../../src/machines/labels.js';

export type LayerSwitch =
  | 'fine'
  /** Mount and check fail. */
  | 'broken'
  /** Mount never answers and does not listen to its signal. */
  | 'hanging'
  /** Check never answers. */
  | 'check hanging'
  /** Mounts, then says it failed: the mountpoint is not left clean. */
  | 'dirty'
  /** Writes into the mountpoint, then fails. */
  | 'littering'
  /** Says it has mounted, and has not. */
  | 'lying'
  /** Throws instead of rejecting. */
  | 'throwing';

export class BindFileSystem implements FileSystem {
  readonly name = 'bind';
  readonly switches = new Map<string, LayerSwitch>();
  /** Refs in the order in which mounts were asked for. */
  readonly mounted: string[] = [];
  readonly unmounted: string[] = [];
  /** Awaited before a mount begins, when a test sets it. */
  beforeMount: () => Promise<void> = () => Promise.resolve();
  /** Awaited before a check answers. */
  beforeCheck: (ref: string) => Promise<void> = () => Promise.resolve();
  readonly #layers: string;
  readonly #mountTable: MountTable;
  readonly #held: (() => void)[] = [];

  /** `layers` holds a directory for each ref. */
  constructor(layers: string, mountTable: MountTable) {
    this.#layers = layers;
    this.#mountTable = mountTable;
  }

  mount(mountpoint: string, labels: Labels, signal: AbortSignal): Promise<void> {
    const ref = labels.get(TARGET_LABEL) ?? '';
    this.mounted.push(ref);
    if (this.#of(ref) === 'throwing') throw new Error('thrown, not rejected');
    return this.#mount(mountpoint, ref, signal);
  }

  async check(mountpoint: string, labels: Labels): Promise<void> {
    const ref = labels.get(TARGET_LABEL) ?? '';
    await this.beforeCheck(ref);
    const state = this.#of(ref);
    if (state === 'check hanging') await this.#hang();
    if (state === 'broken') throw new Error(`the server of ${ref} does not answer`);
    if (state === 'lying') return;
    const mounts = await this.#mountTable.read();
    if (!mounts.some((entry) => entry.mountpoint === mountpoint)) {
      throw new Error(`${ref} is not mounted`);
    }
  }

  async unmount(mountpoint: string): Promise<void> {
    this.unmounted.push(mountpoint);
    for (;;) {
      const mounts = await this.#mountTable.read();
      if (!mounts.some((entry) => entry.mountpoint === mountpoint)) return;
      await this.#mountTable.unmount(mountpoint, { detach: false });
    }
  }

  /** Ends everything that hangs, so that a test leaves nothing behind. */
  release(): void {
    for (const end of this.#held.splice(0)) end();
  }

  async #mount(mountpoint: string, ref: string, signal: AbortSignal): Promise<void> {
    await this.beforeMount();
    const state = this.#of(ref);
    if (state === 'hanging') {
      await this.#hang();
      throw new Error('it hung');
    }
    if (state === 'lying') return;
    if (state === 'littering') {
      writeFileSync(`${mountpoint}/litter`, 'left behind');
    }
    const source = `${this.#layers}/${ref}`;
    if (state === 'broken' || state === 'littering' || !existsSync(source)) {
      throw new Error(`no layer ${ref}`);
    }
    await this.#mountTable.mount({ type: 'none', source, mountpoint, options: ['bind'] }, signal);
    if (state === 'dirty') throw new Error('failed after it had mounted');
  }

  #hang(): Promise<void> {
    return new Promise((resolve) => this.#held.push(resolve));
  }

  #of(ref: string): LayerSwitch {
    return this.switches.get(ref) ?? 'fine';
  }
}
