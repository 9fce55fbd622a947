/** Stratalog itself: `node dist/bin/stratalog.cjs serve …` as a process that can be killed and started again. */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Finished, run } from './command.js';
import { serves } from './first-answer.js';
import { type Ended, Service, type StopSignal } from './service.js';
import type { Workspace } from './workspace.js';

/** The top of this repository. */
export const repository = fileURLToPath(new URL('../..', import.meta.url));

const cli = join(repository, 'dist', 'bin', 'stratalog.cjs');

export interface SnapshotterProcess {
  readonly root: string;
  readonly address: string;
  readonly pid: number;
  readonly isRunning: boolean;
  /** Starts it, at first or again, with the root and the address it had. */
  start(within?: readonly string[]): Promise<void>;
  /** SIGTERM by default. */
  stop(signal?: StopSignal): Promise<Ended>;
  /** SIGKILL. */
  crash(): Promise<void>;
  log(): string;
}

export interface DaemonOptions {
  readonly layerStore?: string;
  readonly asyncRemove?: boolean;
  /** Text of a config file. */
  readonly config?: string;
  readonly flags?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/**
 * Configuration for tests of something else than time limits: on a machine with a busy disk, a
 * directory may take longer to make than operators want to wait. Tables come last in a file.
 */
export const patientLimits = `
[limits.budgets]
prepare = "10m"
mounts = "10m"
commit = "10m"
read = "10m"
[effects]
directories_timeout = "5m"
mount_timeout = "5m"
check_timeout = "5m"
restore_timeout = "5m"
unmount_timeout = "5m"
`;

/** Any program with a root and a socket; Stratalog, or the peer that it is compared with. */
export class Daemon implements SnapshotterProcess {
  readonly root: string;
  readonly address: string;
  /** The command without its `--root DIR --address SOCKET`. */
  readonly serveCommand: readonly [string, ...string[]];
  readonly #workspace: Workspace;
  readonly #logFile: string;
  readonly #env: Readonly<Record<string, string>>;
  #service: Service | null = null;

  private constructor(
    workspace: Workspace,
    name: string,
    serveCommand: readonly [string, ...string[]],
    env: Readonly<Record<string, string>> = {},
  ) {
    this.#workspace = workspace;
    this.root = workspace.path(`${name}-root`);
    this.address = workspace.path(`${name}.sock`);
    this.serveCommand = serveCommand;
    this.#logFile = workspace.path(`${name}.log`);
    this.#env = env;
  }

  /** Stratalog, not yet started. */
  static stratalog(workspace: Workspace, options: DaemonOptions = {}, name = 'stratalog'): Daemon {
    if (!existsSync(cli)) throw new Error(`${cli} is not there: npm run build makes it`);
    const flags = [...(options.flags ?? [])];
    if (options.layerStore !== undefined) flags.push('--layer-store', options.layerStore);
    if (options.asyncRemove === true) flags.push('--async-remove');
    if (options.config !== undefined) {
      const configFile = workspace.path(`${name}.toml`);
      writeFileSync(configFile, options.config);
      flags.push('--config', configFile);
    }
    return new Daemon(workspace, name, [process.execPath, cli, 'serve', ...flags], options.env);
  }

  /** containerd's overlayfs snapshotter behind a socket (test/bench/go/peer.go), not yet started. */
  static peer(workspace: Workspace, binary: string, name = 'peer'): Daemon {
    return new Daemon(workspace, name, [binary]);
  }

  get isRunning(): boolean {
    return this.#service?.isRunning === true;
  }

  get pid(): number {
    return this.#running().pid;
  }

  /** `within`: a program that runs it as the same process, such as `unshare` with its flags. */
  async start(within: readonly string[] = []): Promise<void> {
    if (this.isRunning) throw new Error('the snapshotter is still running');
    const [program = '', ...words] = [...within, ...this.serveCommand];
    const args = [...words, '--root', this.root, '--address', this.address];
    this.#service = await Service.start(
      this.#workspace,
      { name: 'snapshotter', program, args, logFile: this.#logFile, env: this.#env },
      () => serves(this.address),
    );
  }

  async stop(signal?: StopSignal): Promise<Ended> {
    return (await this.#service?.stop(signal)) ?? { exitCode: null, signal: null };
  }

  async crash(): Promise<void> {
    await this.#running().crash();
  }

  log(): string {
    return this.#service?.log() ?? '';
  }

  #running(): Service {
    if (this.#service === null) throw new Error('the snapshotter was never started');
    return this.#service;
  }
}

/** One of Stratalog's own commands: `stratalog('verify', '--root', root)`. Does not throw on exit codes. */
export function stratalog(...args: string[]): Promise<Finished> {
  return run(process.execPath, [cli, ...args], { mayFail: true, timeoutMillis: 120_000 });
}
