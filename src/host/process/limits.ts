/** Resource limits of this process, and how to end it when threads hang. */
import * as fs from 'node:fs';
import { HostFault } from '../../base/errors.js';
import { guarded } from '../faults.js';
import { checked, libraryCall } from '../libc.js';

const getrlimit = libraryCall('int getrlimit(int resource, void *limits)');
const setrlimit = libraryCall('int setrlimit(int resource, const void *limits)');
const exitNow = libraryCall('void _exit(int code)');

const openFiles = 7; // RLIMIT_NOFILE
const infinity = 0xffff_ffff_ffff_ffffn; // RLIM_INFINITY

export interface DescriptorLimits {
  /** Infinity if there is no limit. */
  readonly soft: number;
  readonly hard: number;
}

/** The number of open descriptors of this process. */
export function openDescriptorCount(): number {
  // Without the descriptor of this readdir.
  const open = '/proc/self/fd';
  return guarded('readdir', open, () => fs.readdirSync(open)).length - 1;
}

export function descriptorLimits(): DescriptorLimits {
  const [soft = 0n, hard = 0n] = readLimits();
  return { soft: asNumber(soft), hard: asNumber(hard) };
}

/** Raises the soft limit to the hard limit, which needs no privilege. Returns the new limits. */
export function raiseDescriptorLimit(): DescriptorLimits {
  const limits = readLimits();
  limits[0] = limits[1] ?? 0n;
  checked('setrlimit', 'RLIMIT_NOFILE', setrlimit, openFiles, new Uint8Array(limits.buffer));
  return descriptorLimits();
}

function readLimits(): BigUint64Array {
  const limits = new BigUint64Array(2);
  checked('getrlimit', 'RLIMIT_NOFILE', getrlimit, openFiles, new Uint8Array(limits.buffer));
  return limits;
}

function asNumber(limit: bigint): number {
  return limit === infinity ? Infinity : Number(limit);
}

/**
 * Ends the process without joining its threads: process.exit() would wait forever for a thread
 * that hangs in a system call. Does not flush buffers.
 */
export function endProcess(code: number): never {
  exitNow(code);
  throw new HostFault('_exit', String(code), 'ENOSYS');
}
