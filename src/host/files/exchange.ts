/** renameat2(2) with RENAME_EXCHANGE: swaps two names atomically, also across a crash. Blocks. */
import { HostFault } from '../../base/errors.js';
import { cString, errnoName, lastErrno, libraryCall } from '../libc.js';
import type { LibraryCall } from '../libc.js';

const currentDirectory = -100; // AT_FDCWD
const exchangeNames = 2; // RENAME_EXCHANGE

/** Null if the C library does not have it (musl before 1.2.6). */
let renameat2: LibraryCall | null | undefined;

function bound(): LibraryCall | null {
  try {
    return libraryCall(
      'int renameat2(int fromDirectory, const void *from, int toDirectory, const void *to, unsigned int flags)',
    );
  } catch {
    return null;
  }
}

/** False, and nothing has changed, if the file system or the C library does not support it. */
export function exchange(one: string, other: string): boolean {
  if (renameat2 === undefined) renameat2 = bound();
  if (renameat2 === null) return false;
  const [from, to] = [cString(one), cString(other)];
  if (renameat2(currentDirectory, from, currentDirectory, to, exchangeNames) === 0) return true;
  const code = errnoName(lastErrno());
  if (['EINVAL', 'ENOSYS', 'EOPNOTSUPP', 'ENOTSUP'].includes(code)) return false;
  throw new HostFault('renameat2', other, code);
}
