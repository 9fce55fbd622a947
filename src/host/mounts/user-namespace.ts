/**
 * User namespaces for idmapped mounts. A process with threads cannot enter a new one, and there is
 * no other way to make one, so a child does: unshare(1) makes the namespace and becomes cat(1),
 * which ends when its standard input does. That is when the namespace is open here, or when this
 * process ends in any way.
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
 * A new user namespace with these maps, open as a descriptor that setns(2) and mount_setattr(2)
 * take. The caller closes it; the namespace goes with its last user.
 *
 * Fails    HostFault: ENOENT without unshare(1); ECHILD with the reason where it makes none
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

/** Its pid once cat(1) runs, which is after the namespace was made. */
async function inNamespace(child: ChildProcessWithoutNullStreams): Promise<number> {
  child.stdin.write('.');
  await once(child.stdout, 'data');
  if (child.pid === undefined) throw new Error('it has no pid');
  return child.pid;
}

const lines = (map: string): string => `${map.replaceAll(':', ' ').replaceAll(',', '\n')}\n`;

/** A child that is gone when `end` resolves, and why it ended before that. */
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
    // It may have ended before it reads; why is known from its end.
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

  /** What went wrong, as the child reports it. */
  async fault(thrown: unknown): Promise<HostFault> {
    this.#child.stdin.end();
    await this.#closed;
    const code = errnoOf(this.#spawnError ?? thrown) ?? 'ECHILD';
    const fault = new HostFault('unshare', '/proc/self/ns/user', code, { cause: thrown });
    const told = this.#stderr.trim().split('\n')[0] ?? '';
    if (this.#spawnError !== null && code === 'ENOENT') {
      fault.message =
        'the command unshare, which makes user namespaces, is not found; install util-linux';
    } else {
      const why = told === '' ? reasonOf(this.#spawnError ?? thrown) : told;
      fault.message = `cannot make a user namespace: ${why}`;
    }
    return fault;
  }

  async end(): Promise<void> {
    this.#child.stdin.end();
    await this.#closed;
    this.#stop();
  }
}
