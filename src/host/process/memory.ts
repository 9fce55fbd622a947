/**
 * Returns unused memory to the kernel. V8 does not collect while a program is idle, and the C
 * library keeps freed memory, so the garbage of startup or a large response would stay resident.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { libraryCall, type LibraryCall } from '../libc.js';

/** A V8 thread sweeps most freed buffers within this time. */
const sweptMillis = 500;

/**
 * Collects all garbage, which blocks the event loop for about a millisecond per live megabyte, and
 * returns free memory to the kernel shortly after. Returns the milliseconds of the collection.
 */
export function releaseMemory(): number {
  const began = performance.now();
  collector()();
  const held = performance.now() - began;
  setTimeout(() => trimmer()?.(0), sweptMillis).unref();
  return held;
}

let collect: (() => void) | undefined;

/** V8 exposes its collector only to contexts created after this flag is set. */
function collector(): () => void {
  if (collect === undefined) {
    setFlagsFromString('--expose-gc');
    const found: unknown = runInNewContext('gc');
    collect =
      typeof found === 'function' ? () => void Reflect.apply(found, null, []) : () => undefined;
  }
  return collect;
}

let trim: LibraryCall | null | undefined;

/** Null if the C library has no malloc_trim (musl, which keeps less). */
function trimmer(): LibraryCall | null {
  if (trim === undefined) {
    try {
      trim = libraryCall('int malloc_trim(size_t keep)');
    } catch {
      trim = null;
    }
  }
  return trim;
}
