/**
 * A snapshotter with ordinary and remote layers, whose mounts are mounted as containerd mounts
 * them, and looked into.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import type { Labels } from '../../src/base/units.js';
import { defaultPolicies } from '../../src/effects/policies.js';
import { GID_MAPPING_LABEL, TARGET_LABEL, UID_MAPPING_LABEL } from '../../src/machines/labels.js';
import type { MountSpec } from '../../src/snapshotter/mounts.js';
import {
  mountpointsBelow,
  TestDaemon,
  testRoot,
  told,
  upperOf,
  valueOf,
  type TestDaemonOptions,
  type TestRoot,
} from '../support/daemon.js';

export function maps(range: string): Labels {
  return new Map([
    [UID_MAPPING_LABEL, range],
    [GID_MAPPING_LABEL, range],
  ]);
}

export const MAPS = maps('0:100000:65536');

/** With the limits of an operator: nothing here is about one that is passed. */
const ordinaryDaemon: TestDaemonOptions = { remote: true, policies: defaultPolicies };

export class MappedRig {
  readonly root: TestRoot = testRoot();
  #daemon: TestDaemon | null = null;

  static async start(): Promise<MappedRig> {
    const rig = new MappedRig();
    rig.#daemon = await TestDaemon.open(rig.root, ordinaryDaemon);
    return rig;
  }

  get daemon(): TestDaemon {
    if (this.#daemon === null) throw new Error('no daemon is open');
    return this.#daemon;
  }

  /** Ends the daemon and starts it again on the same root. */
  async restart(how: 'close' | 'crash' | 'reboot', options: TestDaemonOptions = {}): Promise<void> {
    await (how === 'close' ? this.daemon.close() : this.daemon.crash());
    if (how === 'reboot') this.#loseMounts();
    this.#daemon = await TestDaemon.open(this.root, { ...ordinaryDaemon, ...options });
  }

  async close(): Promise<void> {
    await this.daemon.close();
    this.root.remove();
  }

  /** An ordinary layer with a file of root's and one of user 1000. */
  async ordinary(name: string, parent: string | null = null): Promise<void> {
    const { daemon } = this;
    const upper = upperOf(valueOf(await daemon.prepare(`${name} key`, parent)));
    fs.writeFileSync(`${upper}/${name}`, name);
    fs.mkdirSync(`${upper}/home`);
    fs.writeFileSync(`${upper}/home/${name}`, name);
    fs.chownSync(`${upper}/home/${name}`, 1000, 1000);
    valueOf(await daemon.commit(`${name} key`, name));
  }

  /** A remote layer that holds the file `from`, and in which `without` is deleted. */
  async remote(ref: string, parent: string | null = null, without?: string): Promise<void> {
    this.root.addLayer(ref);
    if (without !== undefined) {
      execFileSync('mknod', [`${this.root.layers}/${ref}/${without}`, 'c', '0', '0']);
    }
    const labels = new Map([[TARGET_LABEL, ref]]);
    const answer = told(await this.daemon.prepare(`${ref} key`, parent, labels));
    if (!answer.includes('TargetReady')) throw new Error(`${ref}: ${answer}`);
  }

  /** Every file below a mount, with its owner on the host. */
  files(mounts: readonly MountSpec[]): Record<string, number> {
    return this.mounted(mounts, (path) => {
      const found: Record<string, number> = {};
      for (const name of fs.readdirSync(path, { recursive: true, encoding: 'utf8' }).sort()) {
        found[name] = fs.lstatSync(`${path}/${name}`).uid;
      }
      return found;
    });
  }

  /** Mounts as containerd does, looks, and unmounts. `cwd`: paths in the options begin there. */
  mounted<Value>(
    mounts: readonly MountSpec[],
    look: (path: string) => Value,
    cwd: string = this.root.path,
  ): Value {
    const path = fs.mkdtempSync(`${this.root.layers}/../merged-`);
    for (const { type, source, options } of mounts) {
      const kind = type === 'bind' ? [] : ['-t', type];
      execFileSync('mount', [...kind, '-o', options.join(), source, path], { cwd, stdio: 'pipe' });
    }
    try {
      return look(path);
    } finally {
      execFileSync('umount', [path]);
      fs.rmdirSync(path);
    }
  }

  /** Mountpoints of layers with mapped ids. */
  idmapped(): string[] {
    return mountpointsBelow(`${this.root.path}/idmapped`).sort();
  }

  /** Directories of maps. */
  entries(): string[] {
    const path = `${this.root.path}/idmapped`;
    return fs.existsSync(path) ? fs.readdirSync(path) : [];
  }

  #loseMounts(): void {
    for (const mountpoint of mountpointsBelow(this.root.path).reverse()) {
      execFileSync('umount', ['-l', mountpoint]);
    }
  }
}

export const lowersOf = (mounts: readonly MountSpec[]): string[] =>
  (mounts[0]?.options.find((option) => option.startsWith('lowerdir=')) ?? '')
    .slice('lowerdir='.length)
    .split(':');
