/**
 * The Disk port on the real file system. Each method is one hop to a thread of libuv's pool. Calls
 * that can hang must not use that pool; see workers.ts.
 */
import * as fs from 'node:fs';
import { HostFault, errnoOf } from '../../base/errors.js';
import type { Disk, DiskFile, DiskLock, DiskStat } from '../../base/ports.js';
import { asHostFault } from '../faults.js';
import { fileSystemFacts } from './file-system.js';
import { lockModule } from './lock-module.js';

const { O_RDONLY, O_RDWR, O_WRONLY, O_CREAT, O_EXCL, O_DSYNC, O_DIRECTORY } = fs.constants;
const { O_NONBLOCK, O_NOFOLLOW } = fs.constants;

/** O_NONBLOCK, so that an open does not wait for the other end of a pipe. */
const openFlags = {
  read: O_RDONLY | O_NONBLOCK,
  write: O_RDWR,
  create: O_RDWR | O_CREAT | O_EXCL,
} as const;
/** O_NOFOLLOW, so that a symlink cannot make a startup overwrite or create another file. */
const lockFlags = O_RDWR | O_CREAT | O_NONBLOCK | O_NOFOLLOW;

/** Errors of open(2) for a dangling symlink, which are also those of an absent file. */
const DANGLING: ReadonlySet<string> = new Set(['ENOENT', 'ENOTDIR', 'ELOOP', 'ENAMETOOLONG']);

type Done<Value> = (error: NodeJS.ErrnoException | null, value: Value) => void;

/** One asynchronous call of node:fs as a promise that rejects with HostFault. */
function hop<Value>(
  operation: string,
  path: string,
  start: (done: Done<Value>) => void,
): Promise<Value> {
  return new Promise((resolve, reject) => {
    start((error, value) => {
      if (error) reject(asHostFault(operation, path, error));
      else resolve(value);
    });
  });
}

/** As `hop`, for calls without a result. */
function voidHop(
  operation: string,
  path: string,
  start: (done: (error: NodeJS.ErrnoException | null) => void) => void,
): Promise<void> {
  return hop(operation, path, (done) => {
    start((error) => {
      done(error, undefined);
    });
  });
}

export function systemDisk(): Disk {
  return {
    open: async (path, mode) => {
      const flags = openFlags[mode];
      const fd = await (mode === 'read' ? openRegular : openDescriptor)(path, flags);
      return new SystemFile(path, fd);
    },
    list: (directory) => hop<string[]>('readdir', directory, (done) => fs.readdir(directory, done)),
    stat,
    fileSystem: fileSystemFacts,
    makeDirectory: (path) => voidHop('mkdir', path, (done) => fs.mkdir(path, 0o700, done)),
    rename: (from, to) => voidHop('rename', from, (done) => fs.rename(from, to, done)),
    remove: (path) => voidHop('unlink', path, (done) => fs.unlink(path, done)),
    syncDirectory,
    lock,
  };
}

/** @param shownPath the path in error messages */
function openDescriptor(path: string, flags: number, shownPath = path): Promise<number> {
  return hop('open', shownPath, (done) => fs.open(path, flags, 0o600, done));
}

/**
 * Opens a regular file. Rejects devices, which have no end, and pipes, which can block.
 *
 * @throws HostFault: EISDIR for a directory; ESPIPE for a device, a pipe and a dangling symlink,
 *   which must not be mistaken for an absent file; ENXIO for a socket
 */
async function openRegular(path: string, flags: number): Promise<number> {
  const fd = await openDescriptor(path, flags).catch(async (thrown: unknown) => {
    const isDangling = DANGLING.has(errnoOf(thrown) ?? '') && (await isLink(path));
    throw isDangling ? new HostFault('open', path, 'ESPIPE', { cause: thrown }) : thrown;
  });
  try {
    const found = await hop<fs.Stats>('fstat', path, (done) => fs.fstat(fd, done));
    if (found.isFile()) return fd;
    throw new HostFault('open', path, found.isDirectory() ? 'EISDIR' : 'ESPIPE');
  } catch (error) {
    await closeDescriptor(path, fd);
    throw error;
  }
}

/** False on failure: the caller then reports its own error. */
function isLink(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    fs.lstat(path, (error, found) => {
      resolve(error === null && found.isSymbolicLink());
    });
  });
}

function closeDescriptor(path: string, fd: number): Promise<void> {
  return voidHop('close', path, (done) => fs.close(fd, done));
}

async function stat(path: string): Promise<DiskStat> {
  const found = await hop<fs.BigIntStats>('stat', path, (done) =>
    fs.stat(path, { bigint: true }, done),
  );
  return { size: Number(found.size), device: found.dev, isDirectory: found.isDirectory() };
}

async function syncDirectory(path: string): Promise<void> {
  const fd = await openDescriptor(path, O_RDONLY | O_DIRECTORY);
  try {
    await voidHop('fsync', path, (done) => fs.fsync(fd, done));
  } finally {
    await closeDescriptor(path, fd);
  }
}

/**
 * flock(2): the kernel releases it when the process ends in any way. The module is loaded only
 * here, because only one thread of a process may load it and readers do not need it.
 */
async function lock(path: string): Promise<DiskLock | null> {
  const { flock } = lockModule();
  const fd = await openRegular(path, lockFlags);
  try {
    await voidHop('flock', path, (done) => flock(fd, 'exnb', done));
  } catch (error) {
    await closeDescriptor(path, fd);
    // EWOULDBLOCK is the same number as EAGAIN.
    if (errnoOf(error) === 'EAGAIN') return null;
    throw error;
  }
  let released: Promise<void> | undefined;
  return { release: () => (released ??= closeDescriptor(path, fd)) };
}

class SystemFile implements DiskFile {
  readonly path: string;
  readonly #fd: number;
  /** Opened with O_DSYNC on first use: each pwrite is durable when it returns. */
  #durable: Promise<number> | undefined;
  /** There are plain writes, which an O_DSYNC write elsewhere in the file does not make durable. */
  #hasPlainWrites = false;
  #closed: Promise<void> | undefined;

  constructor(path: string, fd: number) {
    this.path = path;
    this.#fd = fd;
  }

  async size(): Promise<number> {
    const found = await hop<fs.Stats>('fstat', this.path, (done) => fs.fstat(this.#open(), done));
    return found.size;
  }

  async read(into: Uint8Array, offset: number): Promise<number> {
    let filled = 0;
    while (filled < into.length) {
      const count = await hop<number>('read', this.path, (done) =>
        fs.read(this.#open(), into, filled, into.length - filled, offset + filled, done),
      );
      if (count === 0) break;
      filled += count;
    }
    return filled;
  }

  async write(bytes: Uint8Array, offset: number): Promise<void> {
    this.#hasPlainWrites = true;
    await this.#writeAll(this.#open(), bytes, offset);
  }

  async writeDurably(bytes: Uint8Array, offset: number): Promise<void> {
    // O_DSYNC covers only its own write; earlier plain writes need fdatasync.
    if (this.#hasPlainWrites) {
      await this.#writeAll(this.#open(), bytes, offset);
      await this.sync();
      return;
    }
    await this.#writeAll(await this.#durableDescriptor(), bytes, offset);
  }

  async sync(): Promise<void> {
    this.#hasPlainWrites = false;
    try {
      await voidHop('fdatasync', this.path, (done) => fs.fdatasync(this.#open(), done));
    } catch (error) {
      // The next writeDurably must sync these writes again.
      this.#hasPlainWrites = true;
      throw error;
    }
  }

  async truncate(size: number): Promise<void> {
    this.#hasPlainWrites = true;
    await voidHop('ftruncate', this.path, (done) => fs.ftruncate(this.#open(), size, done));
  }

  close(): Promise<void> {
    return (this.#closed ??= this.#closeBoth());
  }

  #open(): number {
    if (this.#closed !== undefined) throw new HostFault('use', this.path, 'EBADF');
    return this.#fd;
  }

  #durableDescriptor(): Promise<number> {
    // Reopened through the descriptor, because the file may have been renamed.
    const here = `/proc/self/fd/${this.#open()}`;
    this.#durable ??= openDescriptor(here, O_WRONLY | O_DSYNC, this.path).catch(
      (error: unknown) => {
        this.#durable = undefined;
        throw error;
      },
    );
    return this.#durable;
  }

  async #writeAll(fd: number, bytes: Uint8Array, offset: number): Promise<void> {
    let written = 0;
    while (written < bytes.length) {
      written += await hop<number>('write', this.path, (done) =>
        fs.write(fd, bytes, written, bytes.length - written, offset + written, done),
      );
    }
  }

  async #closeBoth(): Promise<void> {
    const durable = await this.#durable?.catch(() => undefined);
    if (durable !== undefined) await closeDescriptor(this.path, durable);
    await closeDescriptor(this.path, this.#fd);
  }
}
