/**
 * The C library as this program calls it, through koffi. It knows how a call fails and what its
 * errno is named; what a call is for stands in the files beside it. The calls block: only those
 * that cannot hang (clock_gettime, getsockopt …) may be made on the event loop, all others run on
 * the threads of workers.ts.
 */
import { createRequire } from 'node:module';
import { getSystemErrorName } from 'node:util';
import { getEnvironmentData, isMainThread, setEnvironmentData } from 'node:worker_threads';
import type koffiModule from 'koffi';
import { HostFault } from '../base/errors.js';

/** What goes into a call: numbers, C strings, and memory the call reads or fills. */
export type Argument = number | bigint | string | Uint8Array | null;

/** Answers what the C function answers; -1 stands for a failure whose errno koffi keeps. */
export type LibraryCall = (...args: Argument[]) => number;

type Koffi = typeof koffiModule;

interface KoffiFunc {
  readonly async: (...args: unknown[]) => void;
}

// Loaded at the first need: it takes a tenth of a short command, and reading files needs none of it.
let loaded: Koffi | undefined;
const koffi = (): Koffi => (loaded ??= openedByParent() ?? loadKoffi());

/** Where threads find which file this thread has opened. */
const openedKey = 'stratalog:koffi';

function loadKoffi(): Koffi {
  const require = createRequire(import.meta.url);
  const koffi = require('koffi') as Koffi;
  const file = Object.keys(require.cache).find((path) => path.endsWith('/koffi.node'));
  if (file !== undefined) setEnvironmentData(openedKey, file);
  return koffi;
}

/**
 * The native module as the thread that started this one has opened it. The file itself is not
 * read: glibc knows it by its name, so threads start even after an upgrade has replaced it.
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

// The process itself, not a file name: so the same code finds glibc and musl.
let library: ReturnType<Koffi['load']> | undefined;

/** Binds a function of the C library, at its first call, by its prototype in C. */
export function libraryCall(prototype: string): LibraryCall {
  let call: ((...args: Argument[]) => unknown) | undefined;
  return (...args) => {
    library ??= koffi().load(null);
    call ??= library.func(prototype) as (...args: Argument[]) => unknown;
    return Number(call(...args));
  };
}

/**
 * The same on a thread of libuv's pool, for calls that may wait for a disk. The errno is that
 * thread's own and cannot be read: -1 is all there is to know of a failure.
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
 * `ENOENT` for 2. Node's own name where it has one, so that a name means the same whoever made
 * the call; libuv knows only about eighty of them (not EUCLEAN, not ESTALE).
 */
export function errnoName(errno: number): string {
  const name = getSystemErrorName(-errno);
  if (!name.startsWith('Unknown')) return name;
  namesByNumber ??= new Map(
    Object.entries(koffi().os.errno).map(([known, number]) => [number, known]),
  );
  return namesByNumber.get(errno) ?? `E${errno}`;
}

/** Makes the call and answers its result; a failure becomes a HostFault. */
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
 * A path as C reads it. A NUL byte would silently cut it, so it is refused as Node refuses it.
 * Bytes are taken as they are: names on Linux need not be UTF-8.
 */
export function cString(value: string | Uint8Array): Uint8Array {
  const bytes = typeof value === 'string' ? Buffer.from(value, 'utf8') : value;
  if (bytes.includes(0))
    throw new HostFault('path', String(value).replaceAll('\0', '\\0'), 'EINVAL');
  const terminated = new Uint8Array(bytes.length + 1);
  terminated.set(bytes);
  return terminated;
}
