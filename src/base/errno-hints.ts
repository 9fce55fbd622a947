/** Hints on what to do about an error, for errors that only name what failed. */
import { errnoOf } from './errors.js';

const adviceOf: Readonly<Record<string, string>> = {
  ENOENT: 'it does not exist or is a dangling symlink',
  EACCES: 'run it as root or as the owner of the path',
  EPERM: 'run it as root; in a container, with CAP_SYS_ADMIN',
  EROFS:
    'the file system is mounted read-only: find the cause (findmnt, dmesg) or choose another path',
  ENOSPC: 'free space or inodes on the file system (df, df -i)',
  EDQUOT: 'raise the quota of the file system or free space',
  EMFILE: 'raise the limit of open files (ulimit -n, LimitNOFILE=)',
  ENFILE: 'the machine has no open files left: raise fs.file-max',
  EIO: 'the disk or its driver is failing: back up the data first, then see dmesg',
  EISDIR: 'expected a file, found a directory: move it away',
  ENOTDIR: 'expected a directory: move the existing file away or choose another path',
  EEXIST: 'expected a directory: move the existing file away or choose another path',
  ELOOP: 'an unexpected symlink or a symlink loop: remove it',
  ESPIPE: 'expected a regular file: move the existing one away',
  EBUSY: 'it is mounted or in use (findmnt, fuser -m): unmount it or stop its users first',
};

/** A hint to append to an error message; empty if there is none. */
export function errnoHint(thrown: unknown): string {
  const advice = eventAdvice(thrown) ?? adviceOf[errnoOf(thrown) ?? ''];
  return advice === undefined ? '' : `; ${advice}`;
}

/** Matched by name, because this folder cannot import the class. */
function eventAdvice(thrown: unknown): string | undefined {
  if (!(thrown instanceof Error) || thrown.name !== 'EventNotUnderstood') return undefined;
  const isNewer = 'isNewer' in thrown && thrown.isNewer === true;
  return isNewer
    ? 'run the release that wrote the log, or a later one'
    : 'run `stratalog verify` for all that is wrong, and see docs/recovery.md';
}
