/**
 * The real disk with a fault put before one of its operations. Each operation that changes
 * something is counted by its kind, so that a life can be lived once to count them and then once
 * for each, with that one failing. By kind, because two operations that run side by side are not
 * always in the same order; of one kind there is only ever one under way.
 */
import { basename } from 'node:path';
import { HostFault } from '../../src/base/errors.js';
import type { Disk, DiskFile } from '../../src/base/ports.js';

/** One operation of a life: the how-manieth of its kind, counted from 0. */
export interface Place {
  readonly kind: string;
  readonly occurrence: number;
}

export interface Fault {
  /** The operation that fails. */
  readonly at: Place;
  readonly code: string;
  /** Whether everything after it fails too, as on a full or dead disk, or only this one. */
  readonly lasts: boolean;
}

export class FailingDisk {
  /** How often each kind was asked for. */
  readonly asked = new Map<string, number>();
  /** The operation that failed first, for example `writeDurably 00000000000000000000.seg`. */
  struck: string | null = null;
  #fault: Fault | null;

  constructor(fault: Fault | null) {
    this.#fault = fault;
  }

  /** The cause is gone: there is room again, or the disk was replaced. */
  heal(): void {
    this.#fault = null;
  }

  of(real: Disk): Disk {
    return {
      ...real,
      open: async (path, mode) => {
        if (mode === 'create') this.#before('create', path);
        return this.#file(await real.open(path, mode));
      },
      makeDirectory: (path) => this.#then('makeDirectory', path, () => real.makeDirectory(path)),
      rename: (from, to) => this.#then('rename', to, () => real.rename(from, to)),
      remove: (path) => this.#then('remove', path, () => real.remove(path)),
      syncDirectory: (path) => this.#then('syncDirectory', path, () => real.syncDirectory(path)),
    };
  }

  #file(file: DiskFile): DiskFile {
    const { path } = file;
    return {
      path,
      size: () => file.size(),
      read: (into, offset) => file.read(into, offset),
      write: (bytes, offset) => this.#then('write', path, () => file.write(bytes, offset)),
      writeDurably: (bytes, offset) =>
        this.#then('writeDurably', path, () => file.writeDurably(bytes, offset)),
      sync: () => this.#then('sync', path, () => file.sync()),
      truncate: (size) => this.#then('truncate', path, () => file.truncate(size)),
      close: () => file.close(),
    };
  }

  async #then(operation: string, path: string, work: () => Promise<void>): Promise<void> {
    this.#before(operation, path);
    await work();
  }

  #before(operation: string, path: string): void {
    const kind = `${operation} ${kindOf(path)}`;
    const occurrence = this.asked.get(kind) ?? 0;
    this.asked.set(kind, occurrence + 1);
    const fault = this.#fault;
    if (fault === null) return;
    const isIt = kind === fault.at.kind && occurrence === fault.at.occurrence;
    const strikes = isIt || (fault.lasts && this.struck !== null);
    // Removing makes room and does not need any.
    const needsRoom =
      fault.code !== 'ENOSPC' || (operation !== 'remove' && operation !== 'truncate');
    if (!strikes || !needsRoom) return;
    this.struck ??= `${operation} ${basename(path)}`;
    throw new HostFault(operation, path, fault.code);
  }
}

/** What a file is for: positions and the like in its name are not the same in each life. */
function kindOf(path: string): string {
  const name = basename(path);
  if (name.startsWith('stratalog-snapshotter-')) return 'parent';
  return name.replace(/\d+(?:\.\d+)*/g, 'N');
}
