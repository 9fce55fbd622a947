/** What the kernel and the file system of the root can do, for `check` at start and for mounts. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf, reasonOf } from '../base/errors.js';
import { jobModule } from './job-module.js';
import type * as kernelJobs from './kernel-jobs.js';
import type { ProbeResult } from './kernel-jobs.js';
import { fileSystemMagic } from './statfs.js';
import type { FileSystemStatus } from './statfs.js';
import type { LaneName, WorkerPool } from './workers.js';

export type { FileSystemStatus } from './statfs.js';

const jobs = jobModule<typeof kernelJobs>(new URL('./kernel-jobs.js', import.meta.url));

export interface KernelFacts {
  /** `uname -r`. */
  readonly release: string;
  readonly isInUserNamespace: boolean;
  /** An overlay cannot have its upper directory on most overlays. */
  readonly isRootOnOverlay: boolean;
  /** What is on it does not outlive the machine's next start. */
  readonly isRootInMemory: boolean;
  readonly directoryTypes: ProbeResult;
  readonly overlay: ProbeResult;
  readonly overlayIndexParameter: boolean;
  readonly needsUserXattr: boolean;
  readonly idmappedLowers: ProbeResult;
  readonly erofsFiles: ProbeResult;
  readonly loopDevices: ProbeResult;
}

/** Room left on a file system. Never on the event loop: a remote one may not answer. */
export function fileSystemStatus(
  pool: WorkerPool,
  path: string,
  signal?: AbortSignal,
  lane: LaneName = 'through',
): Promise<FileSystemStatus> {
  return pool.run(jobs, 'fileSystemStatus', { path }, { lane, path, signal });
}

/**
 * Tries it all below the directory, which must exist and be writable; nothing stays behind.
 * What cannot be done is a fact with its reason, not a failure.
 */
export async function probeKernel(
  pool: WorkerPool,
  directory: string,
  signal?: AbortSignal,
): Promise<KernelFacts> {
  const options = { lane: 'mount', path: directory, signal } as const;
  const input = { directory };
  // One after the other, on one thread: each further thread costs more than all of this.
  const status = await fileSystemStatus(pool, directory, signal, options.lane);
  const inside = await pool.run(jobs, 'isInUserNamespace', undefined, options);
  const types = await pool.run(jobs, 'tellsDirectoryTypes', input, options);
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

const namespaceMillisMax = 2_000;

/**
 * Whether overlays here take idmapped lowers, by a real one. A user namespace is only to be had
 * from a process in it, and a process with threads cannot enter one: unshare(1) lends a child.
 */
async function probeIdmappedLowers(
  pool: WorkerPool,
  directory: string,
  signal?: AbortSignal,
): Promise<ProbeResult> {
  const child = spawn('unshare', ['-U', 'sleep', '30'], { stdio: 'ignore' });
  try {
    const pid = await childInNamespace(child);
    if (typeof pid !== 'number') return { supported: false, reason: pid.reason };
    const options = { lane: 'mount', path: directory, signal } as const;
    return await pool.run(jobs, 'canIdmapOverlayLower', { directory, pid }, options);
  } finally {
    child.kill('SIGKILL');
  }
}

/** The child's pid once its namespace stands and maps one id; or why there is none. */
async function childInNamespace(child: ChildProcess): Promise<number | { reason: string }> {
  let failure: string | undefined;
  child.once('error', (error) => {
    failure = `unshare(1): ${reasonOf(error)}`;
  });
  child.once('exit', (code) => {
    failure ??= `unshare(1) ended with ${String(code)}: no user namespace is to be had`;
  });
  const ours = await fs.promises.readlink('/proc/self/ns/user');
  const deadline = performance.now() + namespaceMillisMax;
  while (performance.now() < deadline) {
    await sleep(2);
    if (failure !== undefined) return { reason: failure };
    const { pid } = child;
    if (pid === undefined) continue;
    try {
      if ((await fs.promises.readlink(`/proc/${pid}/ns/user`)) === ours) continue;
      await fs.promises.writeFile(`/proc/${pid}/uid_map`, '0 666 1\n');
      await fs.promises.writeFile(`/proc/${pid}/gid_map`, '0 666 1\n');
      return pid;
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') return { reason: `mapping ids: ${reasonOf(error)}` };
    }
  }
  return { reason: `unshare(1) made no user namespace within ${namespaceMillisMax} ms` };
}
