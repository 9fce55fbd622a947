/**
 * A snapshotter on the real operating system, in a temporary root of its own, spoken to in short
 * words. `crash` abandons it as a kill would: nothing is recorded, nothing is unmounted.
 */
import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import type {
  Clock,
  Disk,
  IdmappedMounts,
  MountTable,
  SnapshotDirectories,
} from '../../src/base/ports.js';
import type { Result } from '../../src/base/result.js';
import { snapshotName, type Labels } from '../../src/base/units.js';
import { defaultPolicies, type EffectPolicies } from '../../src/effects/policies.js';
import type { FileSystem } from '../../src/filesystems/contract.js';
import { snapshotDirectories } from '../../src/host/files/directories.js';
import { openHost, type Host } from '../../src/host/host.js';
import { systemIdmappedMounts } from '../../src/host/mounts/idmapped.js';
import { readLog } from '../../src/log/reader.js';
import type { LogRecord } from '../../src/log/types.js';
import { TARGET_LABEL } from '../../src/machines/labels.js';
import { classOf, type Refusal } from '../../src/machines/refusals.js';
import type { MountSpec } from '../../src/snapshotter/mounts.js';
import { openSnapshotter, type OpenedSnapshotter } from '../../src/snapshotter/startup/open.js';
import type { SnapshotterSettings } from '../../src/snapshotter/settings.js';
import { BindFileSystem } from './bind-file-system.js';

/** Limits of a test's patience instead of an operator's. */
const quickPolicies: EffectPolicies = {
  ...defaultPolicies,
  mountRemote: { ...defaultPolicies.mountRemote, timeLimitMillis: 2000 },
  checkLayer: { ...defaultPolicies.checkLayer, timeLimitMillis: 2000 },
  restoreLayer: { ...defaultPolicies.restoreLayer, timeLimitMillis: 2000, backoffMillis: 50 },
  removeDirectories: { ...defaultPolicies.removeDirectories, retries: 1, backoffMillis: 20 },
  removeRemote: { ...defaultPolicies.removeRemote, retries: 1, backoffMillis: 20 },
};

export interface TestRoot {
  readonly path: string;
  readonly snapshots: string;
  /** Where the layers of the bind file system are. */
  readonly layers: string;
  /** Makes a layer with one file, and answers the labels that ask for it. */
  addLayer(ref: string): Labels;
  remove(): void;
}

export function testRoot(): TestRoot {
  const base = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'stratalog-snapshotter-')));
  const layers = `${base}/layers`;
  fs.mkdirSync(layers);
  return {
    path: `${base}/root`,
    snapshots: `${base}/root/snapshots`,
    layers,
    addLayer: (ref) => {
      fs.mkdirSync(`${layers}/${ref}`);
      fs.writeFileSync(`${layers}/${ref}/from`, ref);
      return new Map([[TARGET_LABEL, ref]]);
    },
    remove: () => {
      for (const mountpoint of mountpointsBelow(base).reverse()) {
        execFileSync('umount', ['-l', mountpoint]);
      }
      fs.rmSync(base, { recursive: true, force: true });
    },
  };
}

/** Read without the code under test. */
export function mountpointsBelow(directory: string): string[] {
  return fs
    .readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((mountpoint) => mountpoint.startsWith(`${directory}/`));
}

/** `ok`, or the class and the name of the refusal. */
export function told(result: Result<unknown, Refusal>): string {
  return result.ok ? 'ok' : `${classOf(result.refusal)} ${result.refusal.name}`;
}

export function valueOf<Value>(result: Result<Value, Refusal>): Value {
  if (!result.ok) throw new Error(result.refusal.message);
  return result.value;
}

export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 25_000;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`never happened: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export interface TestDaemonOptions extends Partial<SnapshotterSettings> {
  /** Without it: no remote file system. */
  readonly remote?: boolean;
  /** Before the recovery plan is executed, for switches. */
  readonly beforeRecovery?: (fileSystem: BindFileSystem) => void;
  /** False: the test calls `assembled.recover` itself, or does not. */
  readonly recovers?: boolean;
  readonly segmentBytes?: number;
  /** Between the log and the real disk. */
  readonly disk?: (real: Disk) => Disk;
  /** In place of the bind file system, or round it. */
  readonly fileSystem?: (bind: BindFileSystem, host: Host) => FileSystem;
  readonly clock?: (real: Clock) => Clock;
  readonly mountTable?: (real: MountTable) => MountTable;
  readonly directories?: (real: SnapshotDirectories) => SnapshotDirectories;
  readonly idmappedMounts?: (real: IdmappedMounts) => IdmappedMounts;
}

interface Heard {
  readonly warnings: string[];
  readonly fatal: unknown[];
  readonly health: string[];
  readonly failures: string[];
}

/** One for all daemons of a test file: threads take long to start, and hold nothing of a root. */
let sharedHost: Host | null = null;

export function hostOf(root: Pick<TestRoot, 'path'>): Host {
  // It opens and makes nothing, and its threads do not keep the process alive.
  sharedHost ??= openHost({ root: root.path });
  const { workers } = sharedHost;
  return {
    ...sharedHost,
    directories: snapshotDirectories(root.path, workers),
    idmappedMounts: systemIdmappedMounts(`${root.path}/idmapped`, workers),
  };
}

const mounts = { mountOptions: [], kernelOptions: ['index=off'], whyNoIdMapping: null };

export class TestDaemon {
  readonly root: TestRoot;
  readonly assembled: OpenedSnapshotter;
  readonly fileSystem: BindFileSystem;
  readonly warnings: string[];
  readonly fatal: unknown[];
  /** Each change of the supervisor's health. */
  readonly health: string[];
  /** Failed attempts: the effect and why. */
  readonly failures: string[];

  private constructor(
    root: TestRoot,
    assembled: OpenedSnapshotter,
    fileSystem: BindFileSystem,
    heard: Heard,
  ) {
    this.root = root;
    this.assembled = assembled;
    this.fileSystem = fileSystem;
    this.warnings = heard.warnings;
    this.fatal = heard.fatal;
    this.health = heard.health;
    this.failures = heard.failures;
  }

  static async open(root: TestRoot, options: TestDaemonOptions = {}): Promise<TestDaemon> {
    const { remote = false, beforeRecovery, disk, segmentBytes = 1024 * 1024, ...more } = options;
    const { fileSystem: round, clock, mountTable, directories, ...rest } = more;
    const { recovers = true, idmappedMounts, mounts: mountSettings = mounts, ...chosen } = rest;
    const heard: Heard = { warnings: [], fatal: [], health: [], failures: [] };
    const host = hostOf(root);
    // A thread that has yet to start must not be counted against the limit of a mount.
    await host.mountTable.unmount(root.layers, { detach: false }).catch(() => undefined);
    const fileSystem = new BindFileSystem(root.layers, host.mountTable);
    const assembled = await openSnapshotter({
      root: root.path,
      release: { version: '0.0.0', node: process.version, pid: process.pid },
      ports: {
        ...host,
        clock: clock?.(host.clock) ?? host.clock,
        disk: disk?.(host.disk) ?? host.disk,
        mountTable: mountTable?.(host.mountTable) ?? host.mountTable,
        directories: directories?.(host.directories) ?? host.directories,
        idmappedMounts: idmappedMounts?.(host.idmappedMounts) ?? host.idmappedMounts,
        random: () => 0,
      },
      fileSystem: remote ? (round?.(fileSystem, host) ?? fileSystem) : null,
      settings: {
        asynchronousRemove: false,
        durability: 'metadata',
        upperdirLabel: false,
        preallocatedDirectories: 0,
        policies: quickPolicies,
        failureLimit: { failures: 20, withinMillis: 60_000 },
        checkpointEveryEvents: 10_000,
        historyCheckpointEveryEvents: 0,
        retainMillis: null,
        ...chosen,
      },
      mountSettings: () => Promise.resolve(mountSettings),
      log: {
        uuid: randomUUID,
        holder: { pid: process.pid, host: os.hostname(), command: 'test' },
        expectExisting: false,
        segmentBytes,
      },
      observer: {
        warning: (message) => heard.warnings.push(message),
        fatal: (thrown) => heard.fatal.push(thrown),
        effectFailed: (effect, _snapshot, reason) => heard.failures.push(`${effect}: ${reason}`),
        healthChanged: (health) => heard.health.push(health),
      },
    });
    beforeRecovery?.(fileSystem);
    if (recovers) await assembled.recover();
    return new TestDaemon(root, assembled, fileSystem, heard);
  }

  get host(): Host {
    return hostOf(this.root);
  }

  get snapshotter() {
    return this.assembled.snapshotter;
  }

  prepare(key: string, parent: string | null = null, labels: Labels = new Map(), signal = never()) {
    return this.snapshotter.prepare(request(key, parent, labels), signal);
  }

  view(key: string, parent: string | null = null, labels: Labels = new Map()) {
    return this.snapshotter.view(request(key, parent, labels), never());
  }

  mounts(key: string) {
    return this.snapshotter.mounts(snapshotName(key), {}, never());
  }

  commit(key: string, name: string, labels: Labels = new Map()) {
    const names = { key: snapshotName(key), name: snapshotName(name) };
    return this.snapshotter.commit({ ...names, parent: null, labels, caller: {} }, never());
  }

  /** An ordinary layer with one file. */
  async layer(name: string, parent: string | null = null): Promise<void> {
    const mounts = valueOf(await this.prepare(`${name} key`, parent));
    fs.writeFileSync(`${upperOf(mounts)}/${name}`, name);
    valueOf(await this.commit(`${name} key`, name));
  }

  remove(name: string) {
    return this.snapshotter.remove(snapshotName(name), {});
  }

  stat(name: string) {
    return this.snapshotter.stat(snapshotName(name));
  }

  usage(name: string) {
    return this.snapshotter.usage(snapshotName(name), never());
  }

  update(name: string, labels: Labels, ...paths: string[]) {
    return this.snapshotter.update({ name: snapshotName(name), labels, paths, caller: {} });
  }

  list(...filters: string[]): string[] {
    return [...valueOf(this.snapshotter.list(filters))].map(({ name }) => name).sort();
  }

  async cleanup(): Promise<void> {
    valueOf(await this.snapshotter.cleanup(never()));
  }

  /** A Cleanup that also deletes these entries, with what is in them. */
  deleteDirectories(...names: readonly string[]) {
    return this.snapshotter.cleanup(never(), { names, caller: { pid: 7 } });
  }

  /** Entries of `snapshots/`, in order. */
  directories(): string[] {
    return fs.readdirSync(this.root.snapshots).sort((a, b) => Number(a) - Number(b));
  }

  fs(id: number): string {
    return `${this.root.snapshots}/${id}/fs`;
  }

  /** What stands in the log by now. */
  events(): Promise<readonly LogRecord[]> {
    return eventsOf(this.root);
  }

  async eventsOfType(type: string): Promise<readonly LogRecord[]> {
    return (await this.events()).filter((record) => record.type === type);
  }

  async close(): Promise<void> {
    await this.assembled.close('the test is over');
    this.fileSystem.release();
  }

  /**
   * Gives the root up without a word in the log. The lock is this process's, so the log is
   * closed; a daemon that was killed would have lost it as well.
   */
  async crash(): Promise<void> {
    await this.assembled.log.close();
    this.fileSystem.release();
  }
}

export async function eventsOf(root: TestRoot): Promise<readonly LogRecord[]> {
  const { disk } = hostOf(root);
  const records: LogRecord[] = [];
  for await (const record of readLog({ root: root.path, disk })) records.push(record);
  return records;
}

/** The directory that a client writes to. */
export function upperOf(mounts: readonly MountSpec[]): string {
  const [mount] = mounts;
  if (mount === undefined) throw new Error('no mounts');
  const upper = mount.options.find((option) => option.startsWith('upperdir='));
  return upper === undefined ? mount.source : upper.slice('upperdir='.length);
}

function never(): AbortSignal {
  return new AbortController().signal;
}

function request(key: string, parent: string | null, labels: Labels) {
  return {
    key: snapshotName(key),
    parent: parent === null ? null : snapshotName(parent),
    labels,
    caller: {},
  };
}
