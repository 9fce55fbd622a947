/**
 * The ports of one process, all behind its gate. The log stands on the disk in memory that knows
 * what a power cut leaves; directories and mounts are real, made by the real jobs, which run here
 * in the process itself so that there is a boundary between any two of their system calls.
 */
import * as fs from 'node:fs';
import { basename, dirname } from 'node:path';
import { errnoOf, HostFault } from '../../../src/base/errors.js';
import type { Clock, Disk, DiskFile } from '../../../src/base/ports.js';
import { unixNanos, type UnixNanos } from '../../../src/base/units.js';
import * as directoryJobs from '../../../src/host/files/directory-jobs.js';
import * as directoryUseJobs from '../../../src/host/files/directory-use-jobs.js';
import * as idmappedJobs from '../../../src/host/mounts/idmapped-jobs.js';
import * as mountJobs from '../../../src/host/mounts/mount-jobs.js';
import type { JobControl } from '../../../src/host/threads/job-module.js';
import type { WorkerPool } from '../../../src/host/threads/workers.js';
import type { Gate } from './gate.js';
import { Died } from './gate.js';
import type { RealTree } from './real-tree.js';
import { atGate } from './system-calls.js';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Time goes on with each look at it, and jumps only when told: two equal runs see equal times. */
export class SteadyClock {
  #nanos = 1_700_000_000_000_000_000n;

  now(): UnixNanos {
    this.#nanos += 1000n;
    return unixNanos(this.#nanos);
  }

  advance(millis: number): void {
    this.#nanos += BigInt(Math.round(millis * 1e6));
  }

  monotonicMillis(): number {
    return Number(this.#nanos / 1000n) / 1000 - 1_700_000_000_000;
  }
}

interface Timer {
  readonly at: number;
  readonly callback: () => void;
}

/** A process's view of the clock: its timers end with it. */
export class ProcessClock implements Clock {
  readonly #time: SteadyClock;
  readonly #gate: Gate;
  readonly #timers = new Set<Timer>();

  constructor(time: SteadyClock, gate: Gate) {
    this.#time = time;
    this.#gate = gate;
  }

  now(): UnixNanos {
    return this.#time.now();
  }

  monotonicMillis(): number {
    return this.#time.monotonicMillis();
  }

  schedule(delayMillis: number, callback: () => void): () => void {
    const timer = { at: this.#time.monotonicMillis() + delayMillis, callback };
    this.#timers.add(timer);
    return () => {
      this.#timers.delete(timer);
    };
  }

  /** Lets the next timer that is due within the time run; false when there is none. */
  jump(withinMillis: number): boolean {
    const [next] = [...this.#timers].sort((one, other) => one.at - other.at);
    if (next === undefined || this.#gate.isDead) return false;
    const delay = next.at - this.#time.monotonicMillis();
    if (delay > withinMillis) return false;
    this.#timers.delete(next);
    this.#time.advance(Math.max(0, delay));
    next.callback();
    return true;
  }
}

/** Jobs run where they are asked for, one system call after the other, each at the gate. */
export function jobsInProcess(gate: Gate, tree: RealTree): WorkerPool {
  const modules: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
    'directory-jobs.js': directoryJobs,
    'directory-use-jobs.js': directoryUseJobs,
    'mount-jobs.js': mountJobs,
    'idmapped-jobs.js': idmappedJobs,
  };
  const run = async (
    module: { readonly url: string },
    name: string,
    input: unknown,
    options: { readonly signal?: AbortSignal | undefined },
  ): Promise<unknown> =>
    gate.look(async () => {
      await turn();
      options.signal?.throwIfAborted();
      const job = modules[basename(module.url)]?.[name];
      if (typeof job !== 'function') throw new Error(`no job ${name} of ${module.url}`);
      const control: JobControl = { aborted: () => false };
      try {
        return atGate({ gate, tree }, () => Reflect.apply(job, null, [input, control]) as unknown);
      } catch (thrown) {
        // The gate is shut, so `look` never answers.
        if (thrown instanceof Died) return undefined;
        throw thrown;
      }
    });
  return { run } as unknown as WorkerPool;
}

/** The log's disk. `snapshots/` is asked for through it too, but stands on the real one. */
export function gatedDisk(inner: Disk, gate: Gate, tree: RealTree, snapshots: string): Disk {
  const shown = (path: string): string => basename(path).replace(/\d{20}/, 'N');
  const known = async <Value>(operation: string, work: () => Value): Promise<Value> => {
    await turn();
    try {
      return work();
    } catch (thrown) {
      throw new HostFault(operation, snapshots, errnoOf(thrown) ?? 'EIO');
    }
  };
  return {
    open: async (path, mode) => {
      const open = () => inner.open(path, mode);
      const file =
        mode === 'create' ? await gate.step(`create ${shown(path)}`, open) : await gate.look(open);
      return gatedFile(file, gate, shown(path), () => inner.open(path, 'write'));
    },
    list: (path) =>
      gate.look(() =>
        path === snapshots ? known('readdir', () => fs.readdirSync(path)) : inner.list(path),
      ),
    stat: (path) => gate.look(() => inner.stat(path)),
    fileSystem: (path) =>
      gate.look(async () => {
        // Only whether it exists is known of the real directory.
        if (path === snapshots) await known('open', () => fs.statSync(path));
        return inner.fileSystem(path === snapshots ? dirname(path) : path);
      }),
    makeDirectory: (path) => {
      if (path !== snapshots) {
        return gate.step(`mkdir ${shown(path)}`, () => inner.makeDirectory(path));
      }
      return gate.step('mkdir snapshots', () =>
        known('mkdir', () => {
          fs.mkdirSync(path, 0o700);
          tree.made(path);
        }),
      );
    },
    rename: (from, to) => gate.step(`rename to ${shown(to)}`, () => inner.rename(from, to)),
    remove: (path) => gate.step(`unlink ${shown(path)}`, () => inner.remove(path)),
    syncDirectory: (path) =>
      gate.step(`sync directory ${shown(path)}`, async () => {
        await inner.syncDirectory(path);
        if (path === dirname(snapshots)) tree.synced(path);
      }),
    lock: async (path) => {
      const lock = await gate.step('lock', () => inner.lock(path));
      return lock === null ? null : { release: () => gate.step('unlock', () => lock.release()) };
    },
  };
}

const sectorBytes = 512;

/** About half of a write, up to the end of a sector: the log counts on whole sectors. 0: none. */
function sectorsWithin(offset: number, length: number): number {
  const end = Math.floor((offset + length / 2) / sectorBytes) * sectorBytes;
  const next = Math.max(end, (Math.floor(offset / sectorBytes) + 1) * sectorBytes);
  return next < offset + length ? next - offset : 0;
}

function gatedFile(
  file: DiskFile,
  gate: Gate,
  name: string,
  openAgain: () => Promise<DiskFile>,
): DiskFile {
  let cache: DiskFile | null = null;
  const writeTo = async (to: DiskFile, bytes: Uint8Array, offset: number): Promise<void> => {
    await gate.pass(`before write ${name}`);
    const half = sectorsWithin(offset, bytes.length);
    if (half > 0 && gate.isLast(`within write ${name}`)) {
      await to.write(bytes.subarray(0, half), offset);
      gate.die();
    }
    await gate.look(() => to.write(bytes, offset));
    await gate.pass(`after write ${name}`);
  };
  return {
    path: file.path,
    size: () => gate.look(() => file.size()),
    read: (into, offset) => gate.look(() => file.read(into, offset)),
    write: (bytes, offset) => writeTo(file, bytes, offset),
    // Twice the same bytes: once as the kernel has them, once as the disk has them.
    writeDurably: async (bytes, offset) => {
      cache ??= await openAgain();
      await writeTo(cache, bytes, offset);
      await gate.step(`sync of the write ${name}`, () => file.writeDurably(bytes, offset));
    },
    sync: () => gate.step(`sync ${name}`, () => file.sync()),
    truncate: (size) => gate.step(`truncate ${name}`, () => file.truncate(size)),
    close: () => gate.look(() => file.close()),
  };
}
