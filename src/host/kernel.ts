/** Features of the kernel and the root's file system, for checks at startup and for mounts. */
import type { FileHandle } from 'node:fs/promises';
import * as os from 'node:os';
import { reasonOf } from '../base/errors.js';
import { jobModule } from './threads/job-module.js';
import type * as kernelJobs from './kernel-jobs.js';
import type { ProbeResult } from './kernel-jobs.js';
import { fileSystemMagic } from './mounts/statfs.js';
import type { FileSystemStatus } from './mounts/statfs.js';
import { openUserNamespace } from './mounts/user-namespace.js';
import type { LaneName, WorkerPool } from './threads/workers.js';

export type { FileSystemStatus } from './mounts/statfs.js';

const jobs = jobModule<typeof kernelJobs>(new URL('./kernel-jobs.js', import.meta.url));

export interface KernelFacts {
  /** `uname -r`. */
  readonly release: string;
  readonly isInUserNamespace: boolean;
  /** Most overlays cannot hold the upper directory of another overlay. */
  readonly isRootOnOverlay: boolean;
  /** The root does not survive a reboot. */
  readonly isRootInMemory: boolean;
  readonly directoryTypes: ProbeResult;
  readonly overlay: ProbeResult;
  readonly overlayIndexParameter: boolean;
  readonly needsUserXattr: boolean;
  readonly idmappedLowers: ProbeResult;
  readonly erofsFiles: ProbeResult;
  readonly loopDevices: ProbeResult;
}

/** Free space of a file system. Runs on a thread: a remote file system may not answer. */
export function fileSystemStatus(
  pool: WorkerPool,
  path: string,
  signal?: AbortSignal,
  lane: LaneName = 'through',
): Promise<FileSystemStatus> {
  return pool.run(jobs, 'fileSystemStatus', { path }, { lane, path, signal });
}

/**
 * Probes all features in the directory, which must exist and be writable, and cleans up. An
 * unsupported feature is a result with its reason, not an error.
 */
export async function probeKernel(
  pool: WorkerPool,
  directory: string,
  signal?: AbortSignal,
): Promise<KernelFacts> {
  const options = { lane: 'mount', path: directory, signal } as const;
  const input = { directory };
  // Sequentially on one thread: starting another thread costs more than all probes.
  const status = await fileSystemStatus(pool, directory, signal, options.lane);
  const inside = await pool.run(jobs, 'isInUserNamespace', undefined, options);
  const types = await pool.run(jobs, 'reportsDirectoryTypes', input, options);
  const overlay = await pool.run(jobs, 'canMountOverlay', input, options);
  const index = await pool.run(jobs, 'hasOverlayIndexParameter', undefined, options);
  const userXattr = await pool.run(jobs, 'needsUserXattr', input, options);
  const idmap = await probeIdmappedLowers(pool, directory, signal);
  const erofs = await pool.run(jobs, 'canMountErofsFiles', input, options);
  const loop = await pool.run(jobs, 'canUseLoopDevices', undefined, options);
  return {
    release: os.release(),
    isInUserNamespace: inside,
    isRootOnOverlay: status.type === fileSystemMagic.overlay,
    isRootInMemory: status.type === fileSystemMagic.tmpfs || status.type === fileSystemMagic.ramfs,
    directoryTypes: types,
    overlay,
    overlayIndexParameter: index,
    needsUserXattr: userXattr,
    idmappedLowers: idmap,
    erofsFiles: erofs,
    loopDevices: loop,
  };
}

/** Whether overlays support idmapped lowers; mounts one. */
export async function probeIdmappedLowers(
  pool: WorkerPool,
  directory: string,
  signal?: AbortSignal,
): Promise<ProbeResult> {
  let namespace: FileHandle;
  try {
    namespace = await openUserNamespace({ uids: '0:666:1', gids: '0:666:1' }, signal);
  } catch (thrown) {
    signal?.throwIfAborted();
    return { supported: false, reason: reasonOf(thrown) };
  }
  try {
    const input = { directory, namespace: namespace.fd };
    const options = { lane: 'mount', path: directory, signal } as const;
    return await pool.run(jobs, 'canIdmapOverlayLower', input, options);
  } finally {
    await namespace.close();
  }
}
