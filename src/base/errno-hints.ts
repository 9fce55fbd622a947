/** What to do about a fault, for faults that say only what failed: of the system, or of an event. */
import { errnoOf } from './errors.js';

const adviceOf: Readonly<Record<string, string>> = {
  ENOENT: 'it is not there, or is a link to nothing',
  EACCES: 'run it as root, or as who owns the path',
  EPERM: 'run it as root; in a container, with CAP_SYS_ADMIN',
  EROFS:
    'the file system is mounted read-only: find out why (findmnt, dmesg), or choose another place',
  ENOSPC: 'make room on the file system, in bytes and in inodes (df, df -i)',
  EDQUOT: 'raise the quota of the file system, or make room',
  EMFILE: 'raise the limit of open files (ulimit -n, LimitNOFILE=)',
  ENFILE: 'the machine has no open files left: raise fs.file-max',
  EIO: 'the disk or its driver fails: see dmesg, and copy what is needed before anything else',
  EISDIR: 'a directory stands where a file belongs: move it away',
  ENOTDIR: 'something else stands where a directory belongs: move it away, or choose another path',
  EEXIST: 'something else stands where a directory belongs: move it away, or choose another path',
  ELOOP: 'a link stands there that must not, or leads in a circle: remove it',
  ESPIPE: 'something that is no regular file stands there: move it away',
  EBUSY: 'something is mounted there, or in use (findmnt, fuser -m): end that first',
};

/** The end of a sentence that tells of the fault; empty when the fault says nothing of its sort. */
export function errnoHint(thrown: unknown): string {
  const advice = eventAdvice(thrown) ?? adviceOf[errnoOf(thrown) ?? ''];
  return advice === undefined ? '' : `; ${advice}`;
}

/** By its name: what an event is, is known further up. Here it is an error like others. */
function eventAdvice(thrown: unknown): string | undefined {
  if (!(thrown instanceof Error) || thrown.name !== 'EventNotUnderstood') return undefined;
  const isNewer = 'isNewer' in thrown && thrown.isNewer === true;
  return isNewer
    ? 'run the release that wrote the log, or a later one'
    : 'run `stratalog verify` for all that is wrong, and see docs/recovery.md';
}
