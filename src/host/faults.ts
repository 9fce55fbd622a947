/** Turns what Node's own calls throw into HostFault, so that nobody above has two forms to read. */
import { HostFault } from '../base/errors.js';
import { errnoName } from './libc.js';

/**
 * The HostFault behind a thrown value. A HostFault passes through, an errno error is renamed, and
 * anything else (a broken invariant, a wrong argument) is not the world's fault and stays itself.
 */
export function asHostFault(operation: string, path: string, thrown: unknown): Error {
  if (!(thrown instanceof Error)) return new Error(String(thrown));
  if (thrown instanceof HostFault) return thrown;
  const code = codeOf(thrown);
  return code === undefined ? thrown : new HostFault(operation, path, code, { cause: thrown });
}

function codeOf(error: Error): string | undefined {
  // libuv calls every errno it does not know UNKNOWN, but still carries the number.
  if ('errno' in error && typeof error.errno === 'number') return errnoName(Math.abs(error.errno));
  if ('code' in error && typeof error.code === 'string' && /^E[A-Z0-9]+$/.test(error.code)) {
    return error.code;
  }
  return undefined;
}

/** Runs a synchronous call of Node; what it throws comes out as HostFault. */
export function guarded<Value>(operation: string, path: string, call: () => Value): Value {
  try {
    return call();
  } catch (error) {
    throw asHostFault(operation, path, error);
  }
}
