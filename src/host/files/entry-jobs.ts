/** Time and size of any entry of `snapshots/`, as jobs for worker threads. */
import * as fs from 'node:fs';
import { measure } from './directory-jobs.js';
import { guarded } from '../faults.js';
import type { JobControl } from '../threads/job-module.js';

/**
 * The ctime of the entry itself, in nanoseconds since 1970. It cannot be set, and a rename into the
 * directory updates it.
 */
export function changedAt({ path }: { readonly path: string }): bigint {
  return guarded('lstat', path, () => fs.lstatSync(path, { bigint: true })).ctimeNs;
}

/** Allocated bytes of the entry and all below it. */
export function sizeOf({ path }: { readonly path: string }, control: JobControl): number {
  const found = guarded('lstat', path, () => fs.lstatSync(path));
  return found.isDirectory() ? measure({ path }, control).usage.size : found.blocks * 512;
}
