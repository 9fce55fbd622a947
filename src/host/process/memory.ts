/**
 * Gives memory that nobody uses back to the kernel. V8 collects when it needs room, never because
 * the program rests, and the C library keeps what was freed: what a start and a long answer have
 * used would stay resident for days.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { libraryCall, type LibraryCall } from '../libc.js';

/** Freed buffers are swept by a thread of V8's; most are within this time. */
const sweptMillis = 500;

/**
 * Collects all garbage, which holds the event loop for about a millisecond for each megabyte that
 * is alive, and gives what is free to the kernel a moment later. Answers the milliseconds of the
 * first part.
 */
export function releaseMemory(): number {
  const began = performance.now();
  collector()();
  const held = performance.now() - began;
  setTimeout(() => trimmer()?.(0), sweptMillis).unref();
  return held;
}

let collect: (() => void) | undefined;

/** V8 shows its collector only to contexts that are made once this flag is set. */
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

/** Null where the C library has no such call (musl): it keeps less. */
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
