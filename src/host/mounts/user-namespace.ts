/**
 * User namespaces for idmapped mounts. A process with threads cannot create one, so a child does:
 * unshare(1) creates the namespace and executes cat(1), which exits when its standard input is
 * closed: once the namespace is open in this process, or when this process ends.
 */
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { open, writeFile, type FileHandle } from 'node:fs/promises';
import { errnoOf, HostFault, reasonOf } from '../../base/errors.js';

/** Maps as in `<container id>:<host id>:<size>`, comma-separated. */
export interface NamespaceMaps {
  readonly uids: string;
  readonly gids: string;
}

const startMillisMax = 5_000;

/**
 * Creates a user namespace with these maps and returns its descriptor, for setns(2) and
 * mount_setattr(2). The caller closes it; the namespace exists as long as it has a user.
 *
 * @throws HostFault: ENOENT if unshare(1) is not installed; ECHILD with the reason if it fails
 */
export async function openUserNamespace(
  maps: NamespaceMaps,
  signal?: AbortSignal,
): Promise<FileHandle> {
  signal?.throwIfAborted();
  const child = spawn('unshare', ['--user', 'cat'], { stdio: 'pipe' });
  const lifetime = new ChildLifetime(child, signal);
  try {
    const pid = await lifetime.race(inNamespace(child));
    await writeFile(`/proc/${pid}/uid_map`, lines(maps.uids));
    await writeFile(`/proc/${pid}/gid_map`, lines(maps.gids));
    return await open(`/proc/${pid}/ns/user`, 'r');
  } catch (thrown) {
    signal?.throwIfAborted();
    throw await lifetime.fault(thrown);
  } finally {
    await lifetime.end();
  }
}

/** Resolves to the pid once cat(1) runs, and so the namespace exists. */
async function inNamespace(child: ChildProcessWithoutNullStreams): Promise<number> {
  child.stdin.write('.');
  await once(child.stdout, 'data');
  if (child.pid === undefined) throw new Error('it has no pid');
  return child.pid;
}

const lines = (map: string): string => `${map.replaceAll(':', ' ').replaceAll(',', '\n')}\n`;

/** Ends a child process, and reports why it ended early. */
class ChildLifetime {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #closed: Promise<void>;
  readonly #failed: Promise<never>;
  #stderr = '';
  #spawnError: Error | null = null;
  readonly #stop: () => void;

  constructor(child: ChildProcessWithoutNullStreams, signal: AbortSignal | undefined) {
    this.#child = child;
    const limit = AbortSignal.timeout(startMillisMax);
    const ended = signal === undefined ? limit : AbortSignal.any([signal, limit]);
    const kill = (): void => void child.kill('SIGKILL');
    ended.addEventListener('abort', kill, { once: true });
    this.#stop = () => ended.removeEventListener('abort', kill);
    child.stderr.on('data', (bytes: Buffer) => (this.#stderr += bytes.toString('utf8')));
    // The child may exit before it reads; its exit is handled separately.
    child.stdin.on('error', () => undefined);
    this.#closed = new Promise((resolve) => {
      child.once('error', (error) => {
        this.#spawnError = error;
        resolve();
      });
      child.once('close', () => resolve());
    });
    this.#failed = this.#closed.then(() => {
      throw new Error('it ended');
    });
    this.#failed.catch(() => undefined);
  }

  race<Value>(work: Promise<Value>): Promise<Value> {
    work.catch(() => undefined);
    return Promise.race([work, this.#failed]);
  }

  /** The fault as reported by the child. */
  async fault(thrown: unknown): Promise<HostFault> {
    this.#child.stdin.end();
    await this.#closed;
    const code = errnoOf(this.#spawnError ?? thrown) ?? 'ECHILD';
    const fault = new HostFault('unshare', '/proc/self/ns/user', code, { cause: thrown });
    const reported = this.#stderr.trim().split('\n')[0] ?? '';
    if (this.#spawnError !== null && code === 'ENOENT') {
      fault.message =
        'cannot create a user namespace: unshare: command not found; install util-linux';
    } else {
      const why = reported === '' ? reasonOf(this.#spawnError ?? thrown) : reported;
      fault.message = `cannot create a user namespace: ${why}`;
    }
    return fault;
  }

  async end(): Promise<void> {
    this.#child.stdin.end();
    await this.#closed;
    this.#stop();
  }
}
