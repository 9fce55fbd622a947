/** Reads of other processes that can block, as jobs for worker threads. */
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import type { MountEntry } from '../../base/ports.js';
import { errnoOf } from '../../base/errors.js';
import { guarded } from '../faults.js';
import type { JobControl } from '../threads/job-module.js';
import { parseMountinfo } from '../mounts/mountinfo.js';

/** Digits of the command line's digest: distinguishes programs without revealing secrets. */
const DIGEST_DIGITS = 8;

/**
 * As `Processes.programOf`. Reading a command line can block while that process is in a system call
 * that never returns.
 */
export function programOf({ pid }: { readonly pid: number }): string | null {
  const name = commandName(pid);
  const commandLine = readIfExists(`/proc/${pid}/cmdline`);
  // Zombies and kernel threads have a name but no command line.
  if (name === null || commandLine === null || commandLine.length === 0) return null;
  const digest = createHash('sha256').update(commandLine).digest('hex').slice(0, DIGEST_DIGITS);
  return `${name}-${digest}`;
}

/** The pids that run the program, without `except`. */
export function pidsOfProgram(
  { program, except }: { readonly program: string; readonly except: number },
  control: JobControl,
): readonly number[] {
  const name = program.slice(0, -DIGEST_DIGITS - 1);
  const pids: number[] = [];
  for (const entry of guarded('list', '/proc', () => fs.readdirSync('/proc'))) {
    if (control.aborted()) break;
    const pid = /^\d+$/.test(entry) ? Number(entry) : except;
    // The name is compared first, because reading it cannot block.
    if (pid === except || commandName(pid) !== name) continue;
    if (programOf({ pid }) === program) pids.push(pid);
  }
  return pids;
}

/** As `Processes.mountsOf`. */
export function mountsOf({ pid }: { readonly pid: number }): readonly MountEntry[] {
  const path = `/proc/${pid}/mountinfo`;
  return parseMountinfo(guarded('read', path, () => fs.readFileSync(path, 'utf8')));
}

/** As `Processes.hiddenFrom`. */
export function hiddenFrom({
  pid,
  directories,
}: {
  readonly pid: number;
  readonly directories: readonly string[];
}): readonly string[] {
  return directories.filter((directory) => {
    const ours = guarded('stat', directory, () => fs.statSync(directory, { bigint: true }));
    const theirs = statIfExists(`/proc/${pid}/root${directory}`);
    return theirs?.dev !== ours.dev || theirs.ino !== ours.ino;
  });
}

function commandName(pid: number): string | null {
  return readIfExists(`/proc/${pid}/comm`)?.toString('utf8').trimEnd() ?? null;
}

function statIfExists(path: string): fs.BigIntStats | null {
  try {
    return fs.statSync(path, { bigint: true });
  } catch (thrown) {
    if (isAbsent(thrown)) return null;
    return guarded('stat', path, () => {
      throw thrown;
    });
  }
}

/** Null if the process has ended. */
function readIfExists(path: string): Buffer | null {
  try {
    return fs.readFileSync(path);
  } catch (thrown) {
    if (isAbsent(thrown)) return null;
    return guarded('read', path, () => {
      throw thrown;
    });
  }
}

/** ESRCH: it ended while the file was open. */
function isAbsent(thrown: unknown): boolean {
  return ['ENOENT', 'ENOTDIR', 'ESRCH'].includes(errnoOf(thrown) ?? '');
}
