/**
 * A computer with one root on it: what stands on its disk and in its mount table outlives the
 * processes that are started on it one after the other. A process can be killed at any boundary;
 * then the computer goes on, or its power fails as well.
 */
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import * as os from 'node:os';
import * as path from 'node:path';
import { defaultPolicies } from '../../../src/effects/policies.js';
import { snapshotDirectories } from '../../../src/host/files/directories.js';
import { openUserNamespace, type NamespaceMaps } from '../../../src/host/mounts/user-namespace.js';
import { mount, unmount } from '../../../src/host/mounts/mount-jobs.js';
import { systemIdmappedMounts } from '../../../src/host/mounts/idmapped.js';
import { systemMountTable } from '../../../src/host/mounts/mounts.js';
import { systemProcesses } from '../../../src/host/process/processes.js';
import { openSnapshotter, type OpenedSnapshotter } from '../../../src/snapshotter/startup/open.js';
import type { SnapshotterSettings } from '../../../src/snapshotter/settings.js';
import { BindFileSystem, type LayerSwitch } from '../../support/bind-file-system.js';
import { mountpointsBelow } from '../../support/daemon.js';
import { FaultyDisk } from '../../support/faulty-disk.js';
import type { Gate } from './gate.js';
import { gatedDisk, jobsInProcess, ProcessClock, SteadyClock } from './ports.js';
import { RealTree } from './real-tree.js';
import { closeFilesBelow } from './system-calls.js';

export interface MachineSettings extends Partial<Omit<SnapshotterSettings, 'mounts'>> {
  readonly segmentBytes?: number;
  /** Refs of remote layers, and how each behaves. */
  readonly layers?: Readonly<Record<string, LayerSwitch>>;
}

export interface Process {
  readonly gate: Gate;
  readonly clock: ProcessClock;
  /** What nobody should have to hear. */
  readonly faults: string[];
  /** Settles when the root is open and the recovery plan has been carried out. */
  readonly opened: Promise<OpenedSnapshotter>;
}

const mounts = { mountOptions: [], kernelOptions: ['index=off'], whyNoIdMapping: null };

const notAborted = { aborted: () => false };
let place: string | null = null;

/** The log tells where its root is: equal runs need equal paths, so machines come one by one. */
export function placeOfAll(): string {
  if (place === null) {
    place = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'stratalog-crash-')));
    // What a disk would lose is kept book of, so thousands of roots need not wait for one.
    mount({ type: 'tmpfs', source: 'tmpfs', mountpoint: place, options: [] }, notAborted);
  }
  return place;
}

/** Leaves nothing behind. To be called when the last machine is gone. */
export function removePlace(): void {
  if (place === null) return;
  unmount({ mountpoint: place, detach: true });
  fs.rmdirSync(place);
  place = null;
}

let namespace: FileHandle | null = null;

/** One namespace with the maps of all scenarios: a process cannot wait for a child at its gate. */
export async function openNamespace(): Promise<void> {
  namespace = await openUserNamespace(MAPS);
}

export async function closeNamespace(): Promise<void> {
  await namespace?.close();
}

export const MAPS = { uids: '0:100000:65536', gids: '0:0:4294967295' };

function lentNamespace(maps: NamespaceMaps): Promise<{ fd: number; close(): Promise<void> }> {
  if (namespace === null || maps.uids !== MAPS.uids) throw new Error('no such namespace is open');
  return Promise.resolve({ fd: namespace.fd, close: () => Promise.resolve() });
}

export class Machine {
  readonly base = `${placeOfAll()}/machine`;
  readonly root = `${this.base}/root`;
  readonly snapshots = `${this.root}/snapshots`;
  readonly tree = new RealTree();
  readonly time = new SteadyClock();
  disk = new FaultyDisk([this.base, this.root]);
  readonly #settings: MachineSettings;

  constructor(settings: MachineSettings) {
    this.#settings = settings;
    fs.mkdirSync(this.root, { recursive: true });
    for (const ref of Object.keys(settings.layers ?? {})) {
      fs.mkdirSync(`${this.base}/layers/${ref}`, { recursive: true });
      fs.writeFileSync(`${this.base}/layers/${ref}/from`, ref);
    }
  }

  /** Starts the service. It runs as far as its gate lets it. */
  start(gate: Gate): Process {
    const clock = new ProcessClock(this.time, gate);
    const faults: string[] = [];
    return { gate, clock, faults, opened: this.#open(gate, clock, faults) };
  }

  async #open(gate: Gate, clock: ProcessClock, faults: string[]): Promise<OpenedSnapshotter> {
    const { segmentBytes = 16 * 1024, layers = {}, ...chosen } = this.#settings;
    const jobs = jobsInProcess(gate, this.tree);
    const mountTable = systemMountTable(jobs);
    const fileSystem = new BindFileSystem(`${this.base}/layers`, mountTable);
    for (const [ref, state] of Object.entries(layers)) fileSystem.switches.set(ref, state);
    const opened = await openSnapshotter({
      root: this.root,
      release: { version: '0.0.0', node: 'v0', pid: 1 },
      ports: {
        clock,
        disk: gatedDisk(this.disk, gate, this.tree, this.snapshots),
        mountTable,
        processes: systemProcesses(jobs),
        directories: snapshotDirectories(this.root, jobs),
        idmappedMounts: systemIdmappedMounts(`${this.root}/idmapped`, jobs, lentNamespace),
        random: () => 0,
      },
      fileSystem,
      settings: {
        asynchronousRemove: false,
        durability: 'data',
        upperdirLabel: false,
        policies: defaultPolicies,
        failureLimit: { failures: 20, withinMillis: 60_000 },
        checkpointEveryEvents: 10_000,
        historyCheckpointEveryEvents: 0,
        retainMillis: null,
        preallocatedDirectories: 0,
        ...chosen,
      },
      mountSettings: () => Promise.resolve(mounts),
      log: {
        uuid: () => '0b5c7a1e-2f3d-4c6b-8a9e-112233445566',
        holder: { pid: 1, host: 'here', command: 'test' },
        expectExisting: false,
        segmentBytes,
      },
      observer: {
        warning: (message, fields) => faults.push(`${message} ${JSON.stringify(fields)}`),
        fatal: (thrown) => faults.push(String(thrown)),
        effectFailed: () => undefined,
        healthChanged: () => undefined,
      },
    });
    await opened.recover();
    return opened;
  }

  /** The process is dead; the machine goes on. */
  killed(): void {
    closeFilesBelow(this.base);
    this.disk = this.disk.afterKill();
  }

  /** The machine is off and on again. What was not synced is lost or kept, as the draw says. */
  powerCut(draw: () => number): void {
    closeFilesBelow(this.base);
    this.#unmountAll();
    this.tree.powerCut(draw);
    this.disk = this.disk.powerCut(draw);
  }

  /** Mountpoints below the root, relative to `snapshots/`. */
  mountpoints(): string[] {
    return mountpointsBelow(this.root).map((each) => path.relative(this.snapshots, each));
  }

  /** All that the next process will find, as one word: equal words, equal worlds. */
  digest(): string {
    const hash = createHash('sha256');
    const twin = this.disk.afterKill();
    this.disk = twin.afterKill();
    for (const disk of [this.disk, twin.powerCut(() => 1)]) {
      for (const file of disk.paths()) {
        const name = path.relative(this.base, file);
        hash.update(`${name}\0`);
        if (/\.\w+$|lock$/.test(name)) hash.update(disk.bytes(file));
      }
    }
    const facts = [this.mountpoints(), listing(this.root), this.tree.pending()];
    return hash.update(JSON.stringify(facts)).digest('hex');
  }

  /** Every name below `snapshots/` with its type and mode; what is mounted is not looked into. */
  listing(): readonly string[] {
    return listing(this.snapshots, new Set(this.mountpoints()));
  }

  remove(): void {
    closeFilesBelow(this.base);
    this.#unmountAll();
    fs.rmSync(this.base, { recursive: true, force: true });
  }

  #unmountAll(): void {
    for (const mountpoint of mountpointsBelow(this.base).reverse()) {
      unmount({ mountpoint, detach: true });
    }
  }
}

/** Every name below a directory with its type, mode and size. */
export function listing(
  directory: string,
  closed: ReadonlySet<string> = new Set(),
  below = '',
): string[] {
  const found: string[] = [];
  for (const name of fs.existsSync(directory) ? fs.readdirSync(directory).sort() : []) {
    const relative = below === '' ? name : `${below}/${name}`;
    const status = fs.lstatSync(`${directory}/${name}`);
    const type = status.isDirectory() ? 'd' : '-';
    found.push(
      `${relative} ${type}${(status.mode & 0o7777).toString(8)} ${status.isFile() ? status.size : ''}`,
    );
    if (status.isDirectory() && !closed.has(relative)) {
      found.push(...listing(`${directory}/${name}`, closed, relative));
    }
  }
  return found;
}
