/** Looks at other processes that may have to wait for them, as jobs for the threads of workers.ts. */
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import type { MountEntry } from '../../base/ports.js';
import { errnoOf } from '../../base/errors.js';
import { guarded } from '../faults.js';
import type { JobControl } from '../threads/job-module.js';
import { parseMountinfo } from '../mounts/mountinfo.js';

/** Of the command line's digest: enough to tell programs apart, and nothing that a secret could be read from. */
const DIGEST_DIGITS = 8;

/**
 * As `Processes.programOf`. Reading a command line waits for the memory of that process, which may
 * be in a system call that never answers.
 */
export function programOf({ pid }: { readonly pid: number }): string | null {
  const name = commandName(pid);
  const commandLine = readIfThere(`/proc/${pid}/cmdline`);
  // A zombie and a thread of the kernel have a name and no command line.
  if (name === null || commandLine === null || commandLine.length === 0) return null;
  const digest = createHash('sha256').update(commandLine).digest('hex').slice(0, DIGEST_DIGITS);
  return `${name}-${digest}`;
}

/** Every pid but `except` that runs the program. */
export function pidsOfProgram(
  { program, except }: { readonly program: string; readonly except: number },
  control: JobControl,
): readonly number[] {
  const name = program.slice(0, -DIGEST_DIGITS - 1);
  const pids: number[] = [];
  for (const entry of guarded('list', '/proc', () => fs.readdirSync('/proc'))) {
    if (control.aborted()) break;
    const pid = /^\d+$/.test(entry) ? Number(entry) : except;
    // The name first: it is read without waiting for the process.
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
    const theirs = statIfThere(`/proc/${pid}/root${directory}`);
    return theirs?.dev !== ours.dev || theirs.ino !== ours.ino;
  });
}

function commandName(pid: number): string | null {
  return readIfThere(`/proc/${pid}/comm`)?.toString('utf8').trimEnd() ?? null;
}

function statIfThere(path: string): fs.BigIntStats | null {
  try {
    return fs.statSync(path, { bigint: true });
  } catch (thrown) {
    if (isAbsent(thrown)) return null;
    return guarded('stat', path, () => {
      throw thrown;
    });
  }
}

/** Null when the process is gone. */
function readIfThere(path: string): Buffer | null {
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
