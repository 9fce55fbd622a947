/** A long-running program with its log in a file. It is ended by its own pid, never by a name. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { until } from './wait.js';
import type { Workspace } from './workspace.js';

export interface ServiceSpec {
  /** As people call it in messages. */
  readonly name: string;
  readonly program: string;
  readonly args: readonly string[];
  /** Appended to; standard output and error together. */
  readonly logFile: string;
  readonly env?: Readonly<Record<string, string>>;
}

export type StopSignal = 'SIGTERM' | 'SIGINT';

export interface Ended {
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
}

export class Service {
  readonly name: string;
  readonly logFile: string;
  readonly #child: ChildProcess;
  readonly #ended: Promise<Ended>;
  #end: Ended | null = null;

  private constructor(spec: ServiceSpec, child: ChildProcess) {
    this.name = spec.name;
    this.logFile = spec.logFile;
    this.#child = child;
    this.#ended = new Promise((resolve) => {
      const settle = (end: Ended) => {
        this.#end = end;
        resolve(end);
      };
      child.once('exit', (exitCode, signal) => {
        settle({ exitCode, signal });
      });
      // The program could not be started at all.
      child.once('error', () => {
        settle({ exitCode: 127, signal: null });
      });
    });
  }

  /**
   * Starts the program and waits until `ready` returns true. On failure, stops it and includes its
   * log in the error. Stops at the latest when the workspace is closed, even before it is ready.
   */
  static async start(
    workspace: Workspace,
    spec: ServiceSpec,
    ready: () => Promise<boolean>,
    timeoutMillis = 60_000,
  ): Promise<Service> {
    workspace.assertOpen();
    const log = openSync(spec.logFile, 'a');
    const child = spawn(spec.program, spec.args, {
      stdio: ['ignore', log, log],
      env: { ...process.env, ...spec.env },
    });
    closeSync(log);
    const service = new Service(spec, child);
    workspace.onClose(() => service.stop());
    try {
      await until(`${spec.name} is ready`, async () => (service.isRunning ? ready() : 'ended'), {
        timeoutMillis,
      });
      if (!service.isRunning) throw new Error(`${spec.name} ended at once`);
      return service;
    } catch (error) {
      await service.stop();
      throw new Error(`${spec.name} did not start. Its log ends:\n${service.logTail()}`, {
        cause: error,
      });
    }
  }

  get isRunning(): boolean {
    return this.#end === null;
  }

  get pid(): number {
    const { pid } = this.#child;
    if (pid === undefined) throw new Error(`${this.name} was never started`);
    return pid;
  }

  /** SIGKILL, as a crash would. Resolves when the process is gone. */
  async crash(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#ended;
  }

  /** Sends the signal, and SIGKILL if the program has not ended within a minute. */
  async stop(signal: StopSignal = 'SIGTERM'): Promise<Ended> {
    if (this.#end !== null) return this.#end;
    this.#child.kill(signal);
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 60_000);
    try {
      return await this.#ended;
    } finally {
      clearTimeout(timer);
    }
  }

  log(): string {
    return readFileSync(this.logFile, 'utf8');
  }

  logTail(lines = 25): string {
    return this.log().trimEnd().split('\n').slice(-lines).join('\n');
  }
}

/** Whether something accepts connections on the unix socket. */
export function accepts(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => {
      resolve(false);
    });
  });
}
