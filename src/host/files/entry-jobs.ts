/** What the tools ask of an entry of `snapshots/`, whatever it is, as jobs for the threads of workers.ts. */
import * as fs from 'node:fs';
import { measure } from './directory-jobs.js';
import { guarded } from '../faults.js';
import type { JobControl } from '../threads/job-module.js';

/**
 * Nanoseconds since 1970 of the last change of the entry itself: the ctime, which nobody can set
 * back, and which a rename into the directory renews.
 */
export function changedAt({ path }: { readonly path: string }): bigint {
  return guarded('lstat', path, () => fs.lstatSync(path, { bigint: true })).ctimeNs;
}

/** Allocated bytes of the entry and all below it. */
export function sizeOf({ path }: { readonly path: string }, control: JobControl): number {
  const found = guarded('lstat', path, () => fs.lstatSync(path));
  return found.isDirectory() ? measure({ path }, control).usage.size : found.blocks * 512;
}
