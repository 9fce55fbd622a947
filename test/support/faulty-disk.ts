/**
 * A disk in memory that forgets like a real one. It keeps two contents of each file and two of
 * each directory: what a process sees, and what a power cut would leave. A sync moves the first
 * to the second; a power cut throws away, sector by sector as the draw says, what was not synced.
 *
 * As Linux does it, a failed sync forgets which pages were dirty: asking again answers "fine" and
 * writes nothing (fsync(2) reports an error once).
 */
import { HostFault } from '../../src/base/errors.js';
import type { Disk, DiskFile, DiskLock, DiskStat, FileSystemFacts } from '../../src/base/ports.js';
import { PendingRenames } from './pending-renames.js';

const SECTOR_BYTES = 512;

export type DiskOperation =
  | 'open'
  | 'read'
  | 'write'
  | 'writeDurably'
  | 'sync'
  | 'rename'
  | 'remove'
  | 'truncate'
  | 'syncDirectory';

/** What goes wrong with an operation. */
export type DiskFault =
  | { readonly kind: 'fail'; readonly code: string }
  /** Only the first bytes reach the page cache, then it fails. */
  | { readonly kind: 'short'; readonly bytes: number; readonly code: string }
  /** The power goes while the operation is under way: everything after it fails, too. */
  | { readonly kind: 'power-cut' };

/** Asked before each operation that changes something. */
export type FaultPlan = (operation: DiskOperation, path: string) => DiskFault | undefined;

interface Inode {
  live: Buffer;
  durable: Buffer;
  /** Sectors whose live bytes are not durable yet. */
  readonly dirty: Set<number>;
}

export class FaultyDisk implements Disk {
  /** Counts what was asked of the disk, to tell how many syncs a load needed. */
  readonly counts = new Map<DiskOperation, number>();
  plan: FaultPlan = () => undefined;
  device = 7n;
  /** Lasting id of the file system; null where there is none. */
  fileSystemId: string | null = '6f1d3a52-0c4e-4b7a-9a51-2d9c3e8f7b10';
  fileSystemType = 'ext4';
  /** Directories that are mounts of their own, and what is mounted there. */
  readonly mounts = new Map<string, Omit<FileSystemFacts, 'mountId'>>();

  readonly #live = new Map<string, Inode | 'directory'>();
  readonly #durable = new Map<string, Inode | 'directory'>();
  readonly #locks = new Set<string>();
  #renames = new PendingRenames<Inode | 'directory'>();
  #isOff = false;

  constructor(directories: readonly string[] = ['/root']) {
    for (const path of directories) {
      this.#live.set(path, 'directory');
      this.#durable.set(path, 'directory');
    }
  }

  /** What stands on disk after the power came back. `draw` answers numbers from 0 up to 1. */
  powerCut(draw: () => number): FaultyDisk {
    this.#isOff = true;
    const after = new FaultyDisk([]);
    after.#isOnTheSame(this);
    const paths = new Set([...this.#durable.keys(), ...this.#live.keys()]);
    const renamed = this.#renames.remains(this.#live, this.#durable, draw);
    for (const path of paths) {
      const live = this.#live.get(path);
      const durable = this.#durable.get(path);
      // A name that was not synced is there or not; so is one whose removal was not synced.
      const drawn = () => (live === durable || draw() < 0.5 ? live : durable);
      const entry = renamed.has(path) ? renamed.get(path) : drawn();
      if (entry === undefined) continue;
      const kept = entry === 'directory' ? entry : inodeOf(remains(entry, draw));
      after.#live.set(path, kept);
      after.#durable.set(path, kept);
    }
    // A directory that is gone takes all that was in it along.
    for (const path of [...after.#live.keys()].sort()) {
      const parent = parentOf(path);
      if (!paths.has(parent) || after.#live.has(parent)) continue;
      after.#live.delete(path);
      after.#durable.delete(path);
    }
    return after;
  }

  /** The process is gone, the machine is not: everything written stays, the locks are free. */
  afterKill(): FaultyDisk {
    // Whoever still holds this object is dead.
    this.#isOff = true;
    const after = new FaultyDisk([]);
    after.#isOnTheSame(this);
    for (const [path, entry] of this.#live) after.#live.set(path, entry);
    for (const [path, entry] of this.#durable) after.#durable.set(path, entry);
    after.#renames = this.#renames.copy();
    return after;
  }

  /** An independent copy of what a process sees, all of it durable. */
  copy(): FaultyDisk {
    const copy = new FaultyDisk([]);
    copy.#isOnTheSame(this);
    for (const [path, entry] of this.#live) {
      const twin = entry === 'directory' ? entry : inodeOf(Buffer.from(entry.live));
      copy.#live.set(path, twin);
      copy.#durable.set(path, twin);
    }
    return copy;
  }

  #isOnTheSame({ device, fileSystemId, fileSystemType, mounts }: FaultyDisk): void {
    this.device = device;
    this.fileSystemId = fileSystemId;
    this.fileSystemType = fileSystemType;
    for (const [directory, facts] of mounts) this.mounts.set(directory, facts);
  }

  /** The bytes a process sees; changing them is changing the disk behind everybody's back. */
  bytes(path: string): Buffer {
    return this.#inode('read', path).live;
  }

  /** The bytes that no power cut can take any more; null when even the name is not durable. */
  durableBytes(path: string): Buffer | null {
    const entry = this.#durable.get(path);
    return entry === undefined || entry === 'directory' ? null : entry.durable;
  }

  /** Puts a file there, durably. */
  put(path: string, bytes: Buffer): void {
    const inode = inodeOf(Buffer.from(bytes));
    this.#live.set(path, inode);
    this.#durable.set(path, inode);
  }

  has(path: string): boolean {
    return this.#live.has(path);
  }

  isDirectory(path: string): boolean {
    return this.#live.get(path) === 'directory';
  }

  paths(): readonly string[] {
    return [...this.#live.keys()].sort();
  }

  open(path: string, mode: 'read' | 'write' | 'create'): Promise<DiskFile> {
    return this.#hop(() => {
      if (mode === 'create') {
        if (this.#live.has(path)) throw new HostFault('open', path, 'EEXIST');
        this.#check('open', path);
        this.#live.set(path, inodeOf(Buffer.alloc(0)));
      }
      return this.#file(path, this.#inode('open', path));
    });
  }

  list(directory: string): Promise<readonly string[]> {
    return this.#hop(() => {
      if (!this.#live.has(directory)) throw new HostFault('readdir', directory, 'ENOENT');
      return [...this.#live.keys()].filter((path) => parentOf(path) === directory).map(nameOf);
    });
  }

  stat(path: string): Promise<DiskStat> {
    return this.#hop(() => {
      const entry = this.#live.get(path);
      if (entry === undefined) throw new HostFault('stat', path, 'ENOENT');
      const size = entry === 'directory' ? 0 : entry.live.length;
      return { size, device: this.device, isDirectory: entry === 'directory' };
    });
  }

  fileSystem(directory: string): Promise<FileSystemFacts> {
    return this.#hop(() => {
      if (!this.isDirectory(directory)) {
        throw new HostFault('identify the file system of', directory, 'ENOENT');
      }
      const { fileSystemType: type, fileSystemId: id, device } = this;
      const mountId = [...this.mounts.keys()].indexOf(directory) + 1;
      return { ...(this.mounts.get(directory) ?? { type, id, device }), mountId };
    });
  }

  makeDirectory(path: string): Promise<void> {
    return this.#hop(() => {
      if (this.#live.has(path)) throw new HostFault('mkdir', path, 'EEXIST');
      this.#live.set(path, 'directory');
    });
  }

  rename(from: string, to: string): Promise<void> {
    return this.#hop(() => {
      this.#check('rename', from);
      const entry = this.#live.get(from);
      if (entry === undefined) throw new HostFault('rename', from, 'ENOENT');
      if (this.isDirectory(to)) throw new HostFault('rename', to, 'EISDIR');
      const group = entry === 'directory' ? {} : entry;
      const names = this.paths().filter((path) => path === from || path.startsWith(`${from}/`));
      for (const name of names) {
        const moved = this.#live.get(name) ?? entry;
        const newName = to + name.slice(from.length);
        this.#live.set(newName, moved);
        this.#live.delete(name);
        this.#renames.add(group, moved, name, newName);
      }
    });
  }

  remove(path: string): Promise<void> {
    return this.#hop(() => {
      this.#check('remove', path);
      if (!this.#live.delete(path)) throw new HostFault('unlink', path, 'ENOENT');
    });
  }

  syncDirectory(directory: string): Promise<void> {
    return this.#hop(() => {
      this.#check('syncDirectory', directory);
      const names = [...this.#live.keys(), ...this.#durable.keys()];
      const inIt = names.filter((path) => parentOf(path) === directory);
      for (const path of this.#renames.settle(inIt)) {
        const entry = this.#live.get(path);
        if (entry === undefined) this.#durable.delete(path);
        else this.#durable.set(path, entry);
      }
    });
  }

  lock(path: string): Promise<DiskLock | null> {
    return this.#hop(() => {
      if (this.#locks.has(path)) return null;
      if (!this.#live.has(path)) this.#live.set(path, inodeOf(Buffer.alloc(0)));
      this.#locks.add(path);
      return {
        release: () => {
          this.#locks.delete(path);
          return Promise.resolve();
        },
      };
    });
  }

  #file(path: string, inode: Inode): DiskFile {
    // As the real disk does it: without these, a durable write covers its own bytes alone.
    let hasPlainWrites = false;
    return {
      path,
      size: () => this.#hop(() => inode.live.length),
      read: (into, offset) =>
        this.#hop(() => {
          this.#check('read', path);
          if (offset >= inode.live.length) return 0;
          return inode.live.copy(into, 0, offset, offset + into.length);
        }),
      write: (bytes, offset) =>
        this.#hop(() => {
          hasPlainWrites = true;
          this.#write('write', path, inode, bytes, offset);
        }),
      writeDurably: (bytes, offset) =>
        this.#hop(() => {
          this.#write('writeDurably', path, inode, bytes, offset);
          if (hasPlainWrites) settle(inode);
          else settle(inode, sectorsOf(offset, bytes.length));
        }),
      sync: () =>
        this.#hop(() => {
          const fault = this.#fault('sync', path);
          // What could not be written is clean from now on, as far as the kernel can tell.
          if (fault?.kind === 'fail') inode.dirty.clear();
          if (fault) throw this.#thrown('sync', path, fault);
          hasPlainWrites = false;
          settle(inode);
        }),
      truncate: (size) =>
        this.#hop(() => {
          this.#check('truncate', path);
          hasPlainWrites = true;
          resize(inode, size);
        }),
      close: () => Promise.resolve(),
    };
  }

  #write(
    operation: 'write' | 'writeDurably',
    path: string,
    inode: Inode,
    bytes: Uint8Array,
    offset: number,
  ): void {
    const fault = this.#fault(operation, path);
    const reached = fault?.kind === 'short' ? bytes.subarray(0, fault.bytes) : bytes;
    if (inode.live.length < offset + reached.length) resize(inode, offset + reached.length);
    inode.live.set(reached, offset);
    for (const sector of sectorsOf(offset, reached.length)) inode.dirty.add(sector);
    if (!fault) return;
    if (fault.kind === 'fail') inode.dirty.clear();
    throw this.#thrown(operation, path, fault);
  }

  #fault(operation: DiskOperation, path: string): DiskFault | undefined {
    this.counts.set(operation, (this.counts.get(operation) ?? 0) + 1);
    return this.plan(operation, path);
  }

  #check(operation: DiskOperation, path: string): void {
    const fault = this.#fault(operation, path);
    if (fault) throw this.#thrown(operation, path, fault);
  }

  #thrown(operation: string, path: string, fault: DiskFault): HostFault {
    if (fault.kind === 'power-cut') this.#isOff = true;
    return new HostFault(operation, path, fault.kind === 'power-cut' ? 'EIO' : fault.code);
  }

  #inode(operation: string, path: string): Inode {
    const entry = this.#live.get(path);
    if (entry === undefined) throw new HostFault(operation, path, 'ENOENT');
    if (entry === 'directory') throw new HostFault(operation, path, 'EISDIR');
    return entry;
  }

  /** Every answer comes in a later turn, as from a real disk. */
  async #hop<T>(work: () => T): Promise<T> {
    await new Promise((resolve) => setImmediate(resolve));
    if (this.#isOff) throw new HostFault('use', '/', 'EIO');
    return work();
  }
}

const inodeOf = (bytes: Buffer): Inode => ({
  live: bytes,
  durable: Buffer.from(bytes),
  dirty: new Set(),
});

const parentOf = (path: string): string => path.slice(0, path.lastIndexOf('/'));
const nameOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1);

function sectorsOf(offset: number, length: number): readonly number[] {
  const first = Math.floor(offset / SECTOR_BYTES);
  const last = Math.ceil((offset + length) / SECTOR_BYTES);
  return Array.from({ length: last - first }, (_, index) => first + index);
}

function resize(inode: Inode, size: number): void {
  const resized = Buffer.alloc(size);
  inode.live.copy(resized, 0, 0, Math.min(size, inode.live.length));
  const first = Math.floor(Math.min(size, inode.live.length) / SECTOR_BYTES);
  const last = Math.ceil(Math.max(size, inode.live.length) / SECTOR_BYTES);
  for (let sector = first; sector < last; sector++) inode.dirty.add(sector);
  inode.live = resized;
}

/** Sectors that are dirty become durable; a sector forgotten by a failed sync does not. */
function settle(inode: Inode, sectors: Iterable<number> = [...inode.dirty]): void {
  if (inode.durable.length !== inode.live.length) {
    const resized = Buffer.alloc(inode.live.length);
    inode.durable.copy(resized);
    inode.durable = resized;
  }
  for (const sector of sectors) {
    if (inode.dirty.delete(sector)) copySector(inode.live, inode.durable, sector);
  }
}

function copySector(from: Buffer, to: Buffer, sector: number): void {
  const start = sector * SECTOR_BYTES;
  from.copy(to, start, start, Math.min(start + SECTOR_BYTES, from.length, to.length));
}

/** What a power cut leaves of a file. */
function remains(inode: Inode, draw: () => number): Buffer {
  const keepsSize = inode.live.length === inode.durable.length || draw() < 0.5;
  const left = Buffer.alloc(keepsSize ? inode.live.length : inode.durable.length);
  inode.durable.copy(left);
  for (const sector of inode.dirty) if (draw() < 0.5) copySector(inode.live, left, sector);
  return left;
}
