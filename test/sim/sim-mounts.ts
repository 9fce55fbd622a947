/**
 * The mount table, and the remote file system that mounts layers into it. Each layer has a
 * health of its own, which the run changes: it dies, it hangs, it lies, it comes back.
 */
import { HostFault } from '../../src/base/errors.js';
import type { MountEntry, MountRequest, MountTable } from '../../src/base/ports.js';
import type { Labels } from '../../src/base/units.js';
import type { FileSystem } from '../../src/filesystems/contract.js';
import { TARGET_LABEL } from '../../src/machines/labels.js';
import type { Life } from './life.js';
import { SIM_PEER_GROUP } from './sim-clients.js';
import type { DirectoryTree } from './sim-directories.js';
import type { Weather } from './weather.js';

export const LAYER_HEALTH = {
  fine: 12,
  /** Mounts and checks fail. */
  dead: 3,
  hanging: 1,
  /** Mounts, then says that it failed. */
  dirty: 1,
  /** Writes into the mountpoint, then fails. */
  littering: 1,
  /** Says that it has mounted, and has not. */
  lying: 1,
} as const;
export type LayerHealth = keyof typeof LAYER_HEALTH;

export interface MountsOfHost {
  isAtOrBelow(path: string): boolean;
}

interface Mounted {
  readonly mountId: number;
  readonly mountpoint: string;
  readonly source: string;
  /** Of a clone with mapped ids, the mount that it shows; 0 for a directory. */
  readonly shows: number | null;
}

/** The kernel's table: it outlives the daemon, not the power. */
export class HostMounts implements MountsOfHost {
  #entries: readonly Mounted[] = [];
  #nextId = 1;

  get entries(): readonly Mounted[] {
    return this.#entries;
  }

  at(mountpoint: string): readonly Mounted[] {
    return this.#entries.filter((entry) => entry.mountpoint === mountpoint);
  }

  isAtOrBelow(path: string): boolean {
    return this.#entries.some(
      ({ mountpoint }) => mountpoint === path || mountpoint.startsWith(`${path}/`),
    );
  }

  add(mountpoint: string, source: string, shows: number | null = null): void {
    this.#entries = [...this.#entries, { mountId: this.#nextId, mountpoint, source, shows }];
    this.#nextId += 1;
  }

  /** Takes the topmost one away. */
  drop(mountpoint: string): void {
    const top = this.at(mountpoint).at(-1);
    if (top === undefined) throw new HostFault('umount2', mountpoint, 'EINVAL');
    this.#entries = this.#entries.filter((entry) => entry !== top);
  }

  clear(): void {
    this.#entries = [];
  }
}

export class SimMountTable implements MountTable {
  constructor(
    private readonly life: Life,
    private readonly weather: Weather,
    private readonly host: HostMounts,
  ) {}

  read(signal?: AbortSignal): Promise<readonly MountEntry[]> {
    const entryOf = ({ mountId, mountpoint, source, shows }: Mounted): MountEntry => ({
      mountId,
      parentMountId: 0,
      device: '0:1',
      root: '/',
      mountpoint,
      options: shows === null ? ['ro'] : ['ro', 'idmapped'],
      peerGroup: null,
      master: null,
      fileSystemType: 'sim',
      source,
      superOptions: [],
    });
    const home = { mountId: 0, mountpoint: '/', source: 'sim', shows: null };
    const ofRoot = { ...entryOf(home), peerGroup: SIM_PEER_GROUP };
    return this.#call('read mountinfo', () => [ofRoot, ...this.host.entries.map(entryOf)], signal);
  }

  mount({ mountpoint, source }: MountRequest, signal?: AbortSignal): Promise<void> {
    return this.#call(`mount ${mountpoint}`, () => this.host.add(mountpoint, source), signal);
  }

  unmount(
    mountpoint: string,
    _options: { readonly detach: boolean },
    signal?: AbortSignal,
  ): Promise<void> {
    return this.#call(`umount ${mountpoint}`, () => this.host.drop(mountpoint), signal);
  }

  #call<Value>(what: string, work: () => Value, signal?: AbortSignal): Promise<Value> {
    return this.life.call(
      what,
      () => {
        const code = this.weather.hostFault();
        if (code !== null) throw new HostFault(what, '/', code);
        return work();
      },
      { signal, mayHang: true },
    );
  }
}

/** Is asked before the remote file system does anything. */
export interface RemoteRules {
  mayMount(mountpoint: string, signal: AbortSignal): void;
  mayUnmount(mountpoint: string, signal: AbortSignal): void;
  /** The layer there has just been found usable. */
  wasChecked(mountpoint: string): void;
}

/** The registry behind the remote layers, as far as it is of any interest. */
export class RemoteLayers {
  readonly #health = new Map<string, LayerHealth>();

  constructor(readonly refs: readonly string[]) {}

  of(ref: string): LayerHealth {
    return this.refs.includes(ref) ? (this.#health.get(ref) ?? 'fine') : 'dead';
  }

  become(ref: string, health: LayerHealth): void {
    this.#health.set(ref, health);
  }

  healAll(): void {
    this.#health.clear();
  }
}

export class SimFileSystem implements FileSystem {
  readonly name = 'sim';

  constructor(
    private readonly life: Life,
    private readonly layers: RemoteLayers,
    private readonly host: HostMounts,
    private readonly tree: DirectoryTree,
    private readonly rules: RemoteRules,
  ) {}

  async mount(mountpoint: string, labels: Labels, signal: AbortSignal): Promise<void> {
    const ref = labels.get(TARGET_LABEL) ?? '';
    this.rules.mayMount(mountpoint, signal);
    const health = this.layers.of(ref);
    if (health === 'hanging') await this.life.hangFor(90_000, signal);
    await this.life.call(
      `mount layer ${ref} ${health} ${mountpoint}`,
      () => {
        if (health === 'dead') throw new Error(`the server of ${ref} does not answer`);
        if (health === 'lying') return;
        if (health === 'littering') this.#litter(mountpoint);
        else if (this.host.at(mountpoint).length === 0) this.#show(mountpoint, ref);
        if (health !== 'fine' && health !== 'hanging') throw new Error(`${ref} is ${health}`);
      },
      { signal, mayHang: true },
    );
  }

  async check(mountpoint: string, labels: Labels, signal: AbortSignal): Promise<void> {
    const ref = labels.get(TARGET_LABEL) ?? '';
    const health = this.layers.of(ref);
    if (health === 'hanging') await this.life.hangFor(90_000, signal);
    await this.life.call(
      `check layer ${ref} ${health} ${mountpoint}`,
      () => {
        if (health === 'lying') return;
        if (health === 'dead') throw new Error(`the server of ${ref} does not answer`);
        if (this.host.at(mountpoint).length === 0) throw new Error(`${ref} is not mounted`);
      },
      { signal, mayHang: true },
    );
    this.rules.wasChecked(mountpoint);
  }

  async unmount(mountpoint: string, signal: AbortSignal): Promise<void> {
    this.rules.mayUnmount(mountpoint, signal);
    await this.life.call(
      `unmount layer ${mountpoint}`,
      () => {
        while (this.host.at(mountpoint).length > 0) this.host.drop(mountpoint);
      },
      { signal, mayHang: true },
    );
  }

  #show(mountpoint: string, ref: string): void {
    if (this.tree.get(this.#directoryOf(mountpoint))?.hasFs !== true) {
      throw new HostFault('mount', mountpoint, 'ENOENT');
    }
    this.host.add(mountpoint, ref);
  }

  #litter(mountpoint: string): void {
    const name = this.#directoryOf(mountpoint);
    if (this.tree.get(name)?.hasFs === true) this.tree.change(name, { content: 'litter' });
  }

  #directoryOf(mountpoint: string): string {
    return mountpoint.slice(this.tree.path.length + 1).split('/')[0] ?? '';
  }
}
