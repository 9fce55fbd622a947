/**
 * The disk under the log: FaultyDisk, which knows what a power cut leaves, with the delays of a
 * life around it. Write and sync of `writeDurably` are two steps here, so that the power can go
 * between them.
 */
import type { Disk, DiskFile, DiskLock, DiskStat, FileSystemFacts } from '../../src/base/ports.js';
import type { FaultyDisk } from '../support/faulty-disk.js';
import type { Life } from './life.js';

export class SimDisk implements Disk {
  readonly #life: Life;
  readonly #inner: FaultyDisk;
  /** Called when something has become durable, or is about to go. */
  readonly #onChange: () => void;

  constructor(life: Life, inner: FaultyDisk, onChange: () => void) {
    this.#life = life;
    this.#inner = inner;
    this.#onChange = onChange;
  }

  open(path: string, mode: 'read' | 'write' | 'create'): Promise<DiskFile> {
    return this.#call(`open ${mode} ${path}`, async () =>
      this.#file(await this.#inner.open(path, mode)),
    );
  }

  list(directory: string): Promise<readonly string[]> {
    return this.#call(`list ${directory}`, () => this.#inner.list(directory));
  }

  stat(path: string): Promise<DiskStat> {
    return this.#call(`stat ${path}`, () => this.#inner.stat(path));
  }

  fileSystem(directory: string): Promise<FileSystemFacts> {
    return this.#call(`file system of ${directory}`, () => this.#inner.fileSystem(directory));
  }

  makeDirectory(path: string): Promise<void> {
    return this.#call(`mkdir ${path}`, () => this.#inner.makeDirectory(path));
  }

  rename(from: string, to: string): Promise<void> {
    return this.#call(`rename ${from} ${to}`, () => this.#inner.rename(from, to));
  }

  remove(path: string): Promise<void> {
    return this.#call(`unlink ${path}`, () => this.#inner.remove(path));
  }

  syncDirectory(path: string): Promise<void> {
    return this.#call(`fsync ${path}`, () => this.#inner.syncDirectory(path));
  }

  lock(path: string): Promise<DiskLock | null> {
    return this.#call(`flock ${path}`, () => this.#inner.lock(path));
  }

  #file(inner: DiskFile): DiskFile {
    const { path } = inner;
    return {
      path,
      size: () => this.#call(`size ${path}`, () => inner.size()),
      read: (into, offset) => this.#call(`read ${path} ${offset}`, () => inner.read(into, offset)),
      write: (bytes, offset) =>
        this.#call(`write ${path} ${offset}+${bytes.length}`, () => inner.write(bytes, offset)),
      writeDurably: async (bytes, offset) => {
        await this.#call(`write ${path} ${offset}+${bytes.length}`, () =>
          inner.write(bytes, offset),
        );
        await this.#call(`fdatasync ${path}`, () => inner.sync());
      },
      sync: () => this.#call(`fdatasync ${path}`, () => inner.sync()),
      truncate: (size) => this.#call(`truncate ${path} ${size}`, () => inner.truncate(size)),
      close: () => inner.close(),
    };
  }

  #call<Value>(what: string, work: () => Promise<Value>): Promise<Value> {
    return this.#life.call(what, async () => {
      this.#onChange();
      const value = await work();
      this.#onChange();
      return value;
    });
  }
}
