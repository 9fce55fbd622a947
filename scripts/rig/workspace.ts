/**
 * One temporary directory with everything that a rig makes: sockets, roots, logs. Closing it ends
 * what was started in it, unmounts, deletes, and then proves that nothing is left. Whatever a
 * rig starts is handed over with `onClose` at once, so that a failure half-way leaks nothing.
 */
import { existsSync, mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { chmod, cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { mountsWithin, unmountWithin } from './mounts.js';
import { until } from './wait.js';

const open = new Set<Workspace>();

/** SIGINT and SIGTERM end the process only when all that is open has been closed. */
export function closeOnSignals(): void {
  const closeAll = async () => {
    const closings = await Promise.allSettled([...open].map((workspace) => workspace.close()));
    for (const closing of closings) {
      if (closing.status === 'rejected') console.error(String(closing.reason));
    }
    process.exit(130);
  };
  process.on('SIGINT', () => void closeAll()).on('SIGTERM', () => void closeAll());
}

export class Workspace {
  readonly directory: string;
  readonly #closers: (() => Promise<unknown>)[] = [];
  #closing: Promise<void> | null = null;

  private constructor(directory: string) {
    this.directory = directory;
  }

  static async create(prefix = 'strata-'): Promise<Workspace> {
    const directory = await mkdtemp(join(tmpdir(), prefix));
    // Processes of a user namespace must be able to walk through to their root file system.
    await chmod(directory, 0o711);
    const workspace = new Workspace(directory);
    open.add(workspace);
    return workspace;
  }

  /** Unique on this machine while the workspace lives. */
  get name(): string {
    return basename(this.directory);
  }

  path(...names: string[]): string {
    return join(this.directory, ...names);
  }

  /** A directory in the workspace, made when it is not there. */
  makeDirectory(...names: string[]): string {
    const directory = this.path(...names);
    mkdirSync(directory, { recursive: true });
    return directory;
  }

  /** Throws once the workspace is closing: nothing may be started in it any more. */
  assertOpen(): void {
    if (this.#closing !== null) throw new Error(`${this.directory} is being closed`);
  }

  /** Runs on close, the latest first, whatever the others do. Must bear being run after a failure. */
  onClose(closer: () => Promise<unknown>): void {
    this.#closers.push(closer);
  }

  /** Rejects when something could not be ended or is left; all the rest is cleaned up even then. */
  close(): Promise<void> {
    this.#closing ??= this.#closeOnce();
    return this.#closing;
  }

  async #closeOnce(): Promise<void> {
    const faults: unknown[] = [];
    const attempt = async (work: () => Promise<unknown>) => {
      try {
        await work();
      } catch (error) {
        faults.push(error);
      }
    };
    for (const closer of this.#closers.reverse()) await attempt(closer);
    await attempt(() => keepLogs(this.directory));
    await attempt(() => unmountWithin(this.directory));
    // Never delete through a mount that would not go.
    if (mountsWithin(this.directory).length === 0) {
      await attempt(() => rm(this.directory, { recursive: true, force: true, maxRetries: 3 }));
    }
    await attempt(() =>
      until(
        `nothing is left of ${this.directory}`,
        () => {
          const left = this.leftovers();
          if (left.length > 0) throw new Error(left.join('; '));
          return true;
        },
        { timeoutMillis: 5_000 },
      ),
    );
    // Reported already; but the machine is left clean even then.
    for (const { pid } of processesNaming(this.directory)) killQuietly(pid);
    open.delete(this);
    if (faults.length > 0) throw new AggregateError(faults, faults.map(String).join('\n'));
  }

  /** What a closed workspace may not leave: its directory, mounts in it, processes that name it. */
  leftovers(): string[] {
    const left = mountsWithin(this.directory).map((mountpoint) => `mount ${mountpoint}`);
    if (existsSync(this.directory)) left.push(`directory ${this.directory}`);
    for (const { pid, commandLine } of processesNaming(this.directory)) {
      left.push(`process ${pid}: ${commandLine}`);
    }
    return left;
  }
}

/** With STRATALOG_KEEP_LOGS=DIR the logs of all services outlive their workspace. */
async function keepLogs(directory: string): Promise<void> {
  const keep = process.env['STRATALOG_KEEP_LOGS'];
  if (keep === undefined || keep === '') return;
  mkdirSync(keep, { recursive: true });
  for (const name of readdirSync(directory).filter((file) => file.endsWith('.log'))) {
    await cp(join(directory, name), join(keep, `${basename(directory)}-${name}`));
  }
}

export interface RunningProcess {
  readonly pid: number;
  readonly commandLine: string;
}

/** Processes, other than this one, whose command line holds the text. */
export function processesNaming(text: string): RunningProcess[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((name) => {
      try {
        const commandLine = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ');
        return commandLine.includes(text) ? [{ pid: Number(name), commandLine }] : [];
      } catch {
        return []; // it ended while we looked
      }
    });
}

/** SIGKILL by pid; a process that has ended is fine. */
export function killQuietly(pid: number): void {
  if (!Number.isInteger(pid) || pid <= 1) return;
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}

/** Whether the process is there and not merely waiting to be reaped. */
export function isRunning(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 1) return false;
  try {
    // proc_pid_stat(5): `pid (name) state …`; the name may hold blanks and brackets.
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat[stat.lastIndexOf(')') + 2] !== 'Z';
  } catch {
    return false;
  }
}
