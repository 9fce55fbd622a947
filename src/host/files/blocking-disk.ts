/**
 * The Disk port with synchronous reads, for commands and worker threads that have nothing else to
 * do. For hundreds of small files, the thread hops of disk.ts cost more than the reads.
 */
import * as fs from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { HostFault } from '../../base/errors.js';
import type { Disk, DiskFile } from '../../base/ports.js';
import { systemDisk } from './disk.js';
import { guarded } from '../faults.js';

const { O_RDONLY, O_NONBLOCK } = fs.constants;

/** Bytes after which a read yields to the event loop, for progress bars and timers. */
const TURN_BYTES = 1024 * 1024;

export function blockingDisk(): Disk {
  const other = systemDisk();
  return {
    ...other,
    open: (path, mode) => (mode === 'read' ? openToRead(path, other) : other.open(path, mode)),
    list: (directory) =>
      settled(() => guarded('readdir', directory, () => fs.readdirSync(directory))),
  };
}

function openToRead(path: string, other: Disk): Promise<DiskFile> {
  let fd: number;
  try {
    fd = fs.openSync(path, O_RDONLY | O_NONBLOCK);
  } catch {
    // Repeated to get the detailed error.
    return other.open(path, 'read');
  }
  return settled(() => {
    try {
      const found = guarded('fstat', path, () => fs.fstatSync(fd));
      if (found.isFile()) return new BlockingFile(path, fd);
      throw new HostFault('open', path, found.isDirectory() ? 'EISDIR' : 'ESPIPE');
    } catch (thrown) {
      fs.closeSync(fd);
      throw thrown;
    }
  });
}

/** Runs a synchronous call as a promise. */
function settled<Value>(call: () => Value): Promise<Value> {
  return new Promise((resolve) => {
    resolve(call());
  });
}

class BlockingFile implements DiskFile {
  #fd: number | null;
  #sinceTurn = 0;

  constructor(
    readonly path: string,
    fd: number,
  ) {
    this.#fd = fd;
  }

  size(): Promise<number> {
    return settled(() => guarded('fstat', this.path, () => fs.fstatSync(this.#open()).size));
  }

  async read(into: Uint8Array, offset: number): Promise<number> {
    let filled = 0;
    while (filled < into.length) {
      const count = guarded('read', this.path, () =>
        fs.readSync(this.#open(), into, filled, into.length - filled, offset + filled),
      );
      if (count === 0) break;
      filled += count;
    }
    this.#sinceTurn += filled;
    if (this.#sinceTurn >= TURN_BYTES) {
      this.#sinceTurn = 0;
      await nextTurn();
    }
    return filled;
  }

  write(): Promise<never> {
    return this.#readOnly('write');
  }

  writeDurably(): Promise<never> {
    return this.#readOnly('write');
  }

  sync(): Promise<never> {
    return this.#readOnly('fdatasync');
  }

  truncate(): Promise<never> {
    return this.#readOnly('ftruncate');
  }

  close(): Promise<void> {
    const fd = this.#fd;
    this.#fd = null;
    if (fd === null) return Promise.resolve();
    return settled(() => {
      guarded('close', this.path, () => {
        fs.closeSync(fd);
      });
    });
  }

  #readOnly(operation: string): Promise<never> {
    return Promise.reject(new HostFault(operation, this.path, 'EBADF'));
  }

  #open(): number {
    if (this.#fd === null) throw new HostFault('use', this.path, 'EBADF');
    return this.#fd;
  }
}
