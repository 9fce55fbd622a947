/**
 * Mounts with mapped ids on the simulated machine: clones that show the mount which was there when
 * they were made, and go on showing it when that one is gone.
 */
import { HostFault } from '../../src/base/errors.js';
import type { IdmappedClone, IdmappedMounts } from '../../src/base/ports.js';
import type { Life } from './life.js';
import type { HostMounts } from './sim-mounts.js';
import type { Weather } from './weather.js';

/** Is asked before, and notified of, what happens below `idmapped/`. */
export interface IdmappedRules {
  mayAttach(mountpoint: string, signal?: AbortSignal): void;
  mayDetach(path: string, signal?: AbortSignal): void;
  /** The clone there has just been found, or made, as it should be. */
  wasChecked(mountpoint: string): void;
}

/** Directories below `idmapped/`, relative to it; they outlive the daemon and the power. */
export type IdmappedDirectories = Set<string>;

export class SimIdmapped implements IdmappedMounts {
  constructor(
    readonly directory: string,
    private readonly life: Life,
    private readonly weather: Weather,
    private readonly host: HostMounts,
    private readonly directories: IdmappedDirectories,
    private readonly rules: IdmappedRules,
  ) {}

  missing(clones: readonly IdmappedClone[], signal?: AbortSignal) {
    return this.#call(
      'look at idmapped mounts',
      () => {
        const missing = clones.filter((clone) => !this.#isRight(clone));
        for (const clone of clones) {
          if (!missing.includes(clone)) this.rules.wasChecked(clone.mountpoint);
        }
        return missing;
      },
      signal,
    );
  }

  async attach(
    _maps: unknown,
    clones: readonly IdmappedClone[],
    signal?: AbortSignal,
  ): Promise<void> {
    // What stops being needed while this is under way is taken away after it.
    for (const { mountpoint } of clones) this.rules.mayAttach(mountpoint, signal);
    for (const { source, mountpoint, isMount } of clones) {
      const step = (what: string, work: () => void) =>
        this.#call(`${what} ${mountpoint}`, work, signal);
      await step('make directory', () => {
        const path = this.#relative(mountpoint);
        this.directories.add(path.split('/')[0] ?? '').add(path);
      });
      await step('attach', () => {
        const shown = this.host.at(source).at(-1);
        if (isMount && shown === undefined) throw new HostFault('open_tree', source, 'EINVAL');
        while (this.host.at(mountpoint).length > 0) this.host.drop(mountpoint);
        this.host.add(mountpoint, source, isMount ? (shown?.mountId ?? 0) : 0);
        this.rules.wasChecked(mountpoint);
      });
    }
  }

  async detach(path: string, signal?: AbortSignal): Promise<void> {
    const relative = this.#relative(path);
    await this.#call(
      `detach ${path}`,
      () => {
        this.rules.mayDetach(path, signal);
        while (this.host.at(path).length > 0) this.host.drop(path);
      },
      signal,
    );
    await this.#call(
      `remove directory ${path}`,
      () => {
        this.directories.delete(relative);
        const [maps = ''] = relative.split('/');
        const isEmpty = ![...this.directories].some((other) => other.startsWith(`${maps}/`));
        if (isEmpty) this.directories.delete(maps);
      },
      signal,
    );
  }

  list(signal?: AbortSignal): Promise<readonly string[]> {
    return this.#call('list idmapped', () => [...this.directories].sort(), signal);
  }

  #isRight({ source, mountpoint, isMount }: IdmappedClone): boolean {
    const shown = isMount ? (this.host.at(source).at(-1)?.mountId ?? -1) : 0;
    return this.host.at(mountpoint).at(-1)?.shows === shown;
  }

  #relative(path: string): string {
    return path.slice(this.directory.length + 1);
  }

  #call<Value>(what: string, work: () => Value, signal?: AbortSignal): Promise<Value> {
    return this.life.call(
      what,
      () => {
        const code = this.weather.hostFault();
        if (code !== null) throw new HostFault(what, this.directory, code);
        return work();
      },
      { signal, mayHang: true },
    );
  }
}
