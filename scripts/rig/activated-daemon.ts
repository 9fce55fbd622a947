/**
 * Stratalog as packaging/ has systemd run it: a parent holds the listening socket, passes it by
 * LISTEN_FDS, and starts the daemon again after RestartSec when it has ended.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { libraryCall } from '../../src/host/libc.js';
import { repository } from './daemon.js';
import { serves } from './first-answer.js';
import { until } from './wait.js';
import type { Workspace } from './workspace.js';

const socket = libraryCall('int socket(int domain, int type, int protocol)');
const bind = libraryCall('int bind(int fd, const void *address, unsigned int length)');
const listen = libraryCall('int listen(int fd, int backlog)');

const afUnix = 1;
const stream = 1 | 0o2000000; // SOCK_STREAM | SOCK_CLOEXEC
/** As in packaging/stratalog.socket. */
const backlog = 512;

/** What `RestartSec=` of the unit says, in milliseconds. */
function restartMillis(): number {
  const unit = readFileSync(join(repository, 'packaging', 'stratalog.service'), 'utf8');
  const found = /^RestartSec=(\d+)ms$/m.exec(unit)?.[1];
  if (found === undefined) throw new Error('RestartSec of the unit is not in milliseconds');
  return Number(found);
}

export interface ActivatedOptions {
  readonly workspace: Workspace;
  /** The command without its `--root DIR --address SOCKET`. */
  readonly command: readonly [string, ...string[]];
  readonly root: string;
  /**
   * Scheduled before all else, where this user may do that. What a client sees within grpc-go's
   * second must not depend on what else the machine does.
   */
  readonly isRealTime?: boolean;
}

export class ActivatedDaemon {
  readonly root: string;
  readonly address: string;
  readonly logFile: string;
  /** When the running daemon was started, by performance.now(). */
  startedAt = 0;
  readonly #options: ActivatedOptions;
  readonly #fd: number;
  readonly #scheduler: readonly string[];
  #child: ChildProcess | null = null;
  #restart: NodeJS.Timeout | null = null;
  #isStopping = false;

  constructor(options: ActivatedOptions) {
    const { workspace, root } = options;
    this.#options = options;
    this.root = root;
    this.address = workspace.path('activated.sock');
    this.logFile = workspace.path('activated.log');
    this.#fd = listeningSocket(this.address);
    this.#scheduler = options.isRealTime === true && mayBeRealTime() ? realTime : [];
    workspace.onClose(() => this.close());
  }

  /** Of the daemon that runs now. */
  get pid(): number {
    const pid = this.#child?.pid;
    if (pid === undefined) throw new Error('the daemon does not run');
    return pid;
  }

  start(): void {
    const { command, root } = this.#options;
    const log = openSync(this.logFile, 'a');
    const args = [...this.#scheduler, ...command, '--root', root, '--address', this.address];
    this.startedAt = performance.now();
    // The shell becomes the daemon: the variable has to name its pid.
    const script = 'LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"';
    const child = spawn('sh', ['-c', script, 'sh', ...args], {
      stdio: ['ignore', log, log, this.#fd],
    });
    closeSync(log);
    this.#child = child;
    child.once('exit', () => {
      this.#child = null;
      if (this.#isStopping) return;
      this.#restart = setTimeout(() => this.start(), restartMillis());
    });
  }

  async serving(): Promise<void> {
    await until('the daemon serves', () => serves(this.address));
  }

  /** SIGKILL. Resolves when the process is gone; it is started again after RestartSec. */
  async crash(): Promise<void> {
    const child = this.#child;
    if (child === null) throw new Error('the daemon does not run');
    child.kill('SIGKILL');
    await once(child, 'exit');
  }

  log(): string {
    return readFileSync(this.logFile, 'utf8');
  }

  async close(): Promise<void> {
    if (this.#isStopping) return;
    this.#isStopping = true;
    if (this.#restart !== null) clearTimeout(this.#restart);
    const child = this.#child;
    if (child !== null) {
      child.kill('SIGTERM');
      await once(child, 'exit');
    }
    closeSync(this.#fd);
  }
}

const realTime = ['chrt', '--rr', '10'] as const;

function mayBeRealTime(): boolean {
  const [program, ...args] = realTime;
  return spawnSync(program, [...args, 'true']).status === 0;
}

/** Listens, and leaves it to another process to accept. */
function listeningSocket(path: string): number {
  const address = Buffer.alloc(2 + Buffer.byteLength(path) + 1);
  address.writeUInt16LE(afUnix, 0);
  address.write(path, 2);
  const fd = socket(afUnix, stream, 0);
  if (fd < 0 || bind(fd, address, address.length) < 0 || listen(fd, backlog) < 0) {
    throw new Error(`cannot listen on ${path}`);
  }
  return fd;
}
