/**
 * Calls of the C library through koffi. The calls block: only those that cannot hang
 * (clock_gettime, getsockopt …) may run on the event loop, all others on worker threads.
 */
import { createRequire } from 'node:module';
import { getSystemErrorName } from 'node:util';
import { getEnvironmentData, isMainThread, setEnvironmentData } from 'node:worker_threads';
import type koffiModule from 'koffi';
import { HostFault } from '../base/errors.js';

/** Numbers, C strings, and memory that the call reads or fills. */
export type Argument = number | bigint | string | Uint8Array | null;

/** Returns the result of the C function; after -1, koffi keeps the errno. */
export type LibraryCall = (...args: Argument[]) => number;

type Koffi = typeof koffiModule;

interface KoffiFunc {
  readonly async: (...args: unknown[]) => void;
}

// Loaded on first use: it takes a tenth of a short command, and reading files does not need it.
let loaded: Koffi | undefined;
const koffi = (): Koffi => (loaded ??= openedByParent() ?? loadKoffi());

/** Environment data with the file that the parent thread has opened. */
const openedKey = 'stratalog:koffi';

function loadKoffi(): Koffi {
  const require = createRequire(import.meta.url);
  const koffi = require('koffi') as Koffi;
  const file = Object.keys(require.cache).find((path) => path.endsWith('/koffi.node'));
  if (file !== undefined) setEnvironmentData(openedKey, file);
  return koffi;
}

/**
 * The native module that the parent thread has opened. glibc finds it by name without reading the
 * file, so threads start even after an upgrade has replaced it.
 */
function openedByParent(): Koffi | null {
  const file = getEnvironmentData(openedKey);
  if (isMainThread || typeof file !== 'string') return null;
  const own: { exports: unknown } = { exports: {} };
  try {
    process.dlopen(own, file);
  } catch {
    return null;
  }
  return own.exports as Koffi;
}

// Symbols of the process itself, which works for glibc and musl.
let library: ReturnType<Koffi['load']> | undefined;

/** Binds a function of the C library by its C prototype, on its first call. */
export function libraryCall(prototype: string): LibraryCall {
  let call: ((...args: Argument[]) => unknown) | undefined;
  return (...args) => {
    library ??= koffi().load(null);
    call ??= library.func(prototype) as (...args: Argument[]) => unknown;
    return Number(call(...args));
  };
}

/**
 * As `libraryCall`, on a thread of libuv's pool, for calls that may wait for a disk. The errno is
 * local to that thread and cannot be read: a failure is only -1.
 */
export function libraryCallAsync(prototype: string): (...args: Argument[]) => Promise<number> {
  let call: KoffiFunc | undefined;
  return (...args) => {
    library ??= koffi().load(null);
    const bound = (call ??= library.func(prototype) as KoffiFunc);
    return new Promise((resolve, reject) => {
      bound.async(...args, (thrown: unknown, result: unknown) => {
        if (thrown instanceof Error) reject(thrown);
        else resolve(Number(result));
      });
    });
  };
}

/** The errno of this thread's last library call. */
export function lastErrno(): number {
  return koffi().errno();
}

let namesByNumber: ReadonlyMap<number, string> | undefined;

/**
 * `ENOENT` for 2. Prefers Node's name, so that names are the same for calls of Node and of libc.
 * libuv knows only about eighty of them (not EUCLEAN, not ESTALE).
 */
export function errnoName(errno: number): string {
  const name = getSystemErrorName(-errno);
  if (!name.startsWith('Unknown')) return name;
  namesByNumber ??= new Map(
    Object.entries(koffi().os.errno).map(([known, number]) => [number, known]),
  );
  return namesByNumber.get(errno) ?? `E${errno}`;
}

/** Makes the call and returns its result. @throws HostFault */
export function checked(
  operation: string,
  path: string,
  call: LibraryCall,
  ...args: Argument[]
): number {
  const result = call(...args);
  if (result < 0) throw new HostFault(operation, path, errnoName(lastErrno()));
  return result;
}

/**
 * A NUL-terminated path. Rejects NUL bytes, which would truncate it. Does not validate bytes: names
 * on Linux need not be UTF-8.
 */
export function cString(value: string | Uint8Array): Uint8Array {
  const bytes = typeof value === 'string' ? Buffer.from(value, 'utf8') : value;
  if (bytes.includes(0))
    throw new HostFault('path', String(value).replaceAll('\0', '\\0'), 'EINVAL');
  const terminated = new Uint8Array(bytes.length + 1);
  terminated.set(bytes);
  return terminated;
}
