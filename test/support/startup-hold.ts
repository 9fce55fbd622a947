/**
 * Holds a startup between its first connection and its first answer. It opens the newest segment
 * for writing once the log is replayed; a read lease (fcntl(2), F_SETLEASE) makes that open wait.
 * The kernel breaks the lease by itself after /proc/sys/fs/lease-break-time, 45 s.
 */
import { closeSync, openSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { libraryCall } from '../../src/host/libc.js';

const fcntl = libraryCall('int fcntl(int fd, int command, int argument)');
const setLease = 1024;
const readLease = 0;
const noLease = 2;

export interface StartupHold {
  release(): void;
}

/** The root must have a log, and no daemon. */
export function holdStartup(root: string): StartupHold {
  const segments = readdirSync(join(root, 'log')).filter((name) => name.endsWith('.seg'));
  const fd = openSync(join(root, 'log', segments.sort().at(-1) ?? ''), 'r');
  // The kernel reports that somebody waits, and ends a process that does not listen.
  process.on('SIGIO', ignore);
  if (fcntl(fd, setLease, readLease) < 0) throw new Error('the file system knows no leases');
  let isHeld = true;
  return {
    release: () => {
      if (!isHeld) return;
      isHeld = false;
      fcntl(fd, setLease, noLease);
      closeSync(fd);
      process.off('SIGIO', ignore);
    },
  };
}

const ignore = (): void => undefined;
