/** The ports implemented with the real operating system. */
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
  /** For blocking jobs of other components, such as file systems. */
  readonly workers: WorkerPool;
  /**
   * Ends the threads and returns how many hang in a system call. While any does, neither an
   * ordinary exit nor process.exit() ends the process, only `endProcess` of limits.ts.
   */
  close(): Promise<number>;
}

/**
 * Opens and creates nothing. Threads start with the first call that needs one.
 *
 * @param onThreads called when threads fail to start or die, and when they start again
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
