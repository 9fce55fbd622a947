/** Converts errors of Node's calls to HostFault. */
import { HostFault } from '../base/errors.js';
import { errnoName } from './libc.js';

/**
 * Converts an errno error to a HostFault. Returns a HostFault, and any other error (a broken
 * invariant, an invalid argument), unchanged.
 */
export function asHostFault(operation: string, path: string, thrown: unknown): Error {
  if (!(thrown instanceof Error)) return new Error(String(thrown));
  if (thrown instanceof HostFault) return thrown;
  const code = codeOf(thrown);
  return code === undefined ? thrown : new HostFault(operation, path, code, { cause: thrown });
}

function codeOf(error: Error): string | undefined {
  // libuv has the code UNKNOWN for errnos that it does not know, but keeps the number.
  if ('errno' in error && typeof error.errno === 'number') return errnoName(Math.abs(error.errno));
  if ('code' in error && typeof error.code === 'string' && /^E[A-Z0-9]+$/.test(error.code)) {
    return error.code;
  }
  return undefined;
}

/** Runs a synchronous call of Node and converts what it throws. */
export function guarded<Value>(operation: string, path: string, call: () => Value): Value {
  try {
    return call();
  } catch (error) {
    throw asHostFault(operation, path, error);
  }
}
