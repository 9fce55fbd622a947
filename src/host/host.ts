/** The operating system behind the ports, assembled: what the program hands to everybody else. */
import type {
  Clock,
  Disk,
  IdmappedMounts,
  MountTable,
  Processes,
  SnapshotDirectories,
} from '../base/ports.js';
import { systemClock } from './process/clock.js';
import { snapshotDirectories } from './files/directories.js';
import { systemDisk } from './files/disk.js';
import { systemIdmappedMounts } from './mounts/idmapped.js';
import { systemMountTable } from './mounts/mounts.js';
import { systemProcesses } from './process/processes.js';
import type { ThreadReports } from './threads/thread-health.js';
import { WorkerPool } from './threads/workers.js';

export interface Host {
  readonly clock: Clock;
  readonly disk: Disk;
  readonly mountTable: MountTable;
  readonly processes: Processes;
  readonly directories: SnapshotDirectories;
  readonly idmappedMounts: IdmappedMounts;
  /** For jobs of others that block, such as those of the file systems. */
  readonly workers: WorkerPool;
  /**
   * Ends the threads. Answers how many hang in a system call: while there are any, the process
   * cannot end by itself nor by process.exit(), only by `endProcess` of limits.ts.
   */
  close(): Promise<number>;
}

/**
 * Opens nothing and makes nothing yet; threads start with the first call that needs one.
 *
 * @param onThreads learns when threads cannot be started or die, and when one starts again
 */
export function openHost({
  root,
  onThreads,
}: {
  readonly root: string;
  readonly onThreads?: ThreadReports;
}): Host {
  const workers = new WorkerPool({}, onThreads);
  return {
    clock: systemClock(),
    disk: systemDisk(),
    mountTable: systemMountTable(workers),
    processes: systemProcesses(workers),
    directories: snapshotDirectories(root, workers),
    idmappedMounts: systemIdmappedMounts(`${root}/idmapped`, workers),
    workers,
    close: () => workers.close(),
  };
}
