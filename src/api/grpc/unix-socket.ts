/**
 * Binds a unix socket. Its file becomes visible only once the socket listens and has its mode and
 * owner, and it never replaces the socket of a running process.
 */
import { randomBytes } from 'node:crypto';
import { constants, type Stats } from 'node:fs';
import { access, chmod, chown, lstat, mkdir, rename, rm } from 'node:fs/promises';
import { createConnection, type Server } from 'node:net';
import { dirname, join } from 'node:path';
import { errnoOf, HostFault, UsageError } from '../../base/errors.js';
import { socketPathBytesMax } from '../../base/paths.js';

export interface SocketFile {
  readonly path: string;
  /** Permission bits; 0600 when not given. */
  readonly mode?: number | undefined;
  /** Owner; the process's own when not given. */
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
}

/**
 * Fails early if no socket can be bound at the path. Creates its directory. Does not check
 * whether another process serves the socket.
 *
 * @throws UsageError if the path is too long or is not a socket; HostFault
 */
export async function checkSocketPath(path: string): Promise<void> {
  const directory = dirname(path);
  const longest = Math.max(Buffer.byteLength(path), Buffer.byteLength(temporaryFor(path)));
  if (longest > socketPathBytesMax) {
    throw new UsageError(
      `socket path ${path} is too long: a unix socket's path has at most ${socketPathBytesMax} bytes; choose a shorter address`,
    );
  }
  await attempt('mkdir', directory, () => mkdir(directory, { recursive: true, mode: 0o711 }));
  await attempt('listen', path, () => access(directory, constants.W_OK));
  const found = await statusOf(path);
  if (found !== null && !found.isSocket()) {
    throw new UsageError(
      `${path} exists and is not a socket; move it away or choose another address`,
    );
  }
}

/** Short, so that it fits the length limit wherever the socket's own name does. */
const temporaryFor = (path: string): string =>
  join(dirname(path), `.${randomBytes(3).toString('hex')}`);

async function statusOf(path: string): Promise<Stats | null> {
  try {
    return await lstat(path);
  } catch (thrown) {
    if (errnoOf(thrown) === 'ENOENT') return null;
    throw new HostFault('lstat', path, errnoOf(thrown) ?? 'EIO', { cause: thrown });
  }
}

/**
 * Binds under a temporary name and renames it. Returns a function that unlinks the file if it is
 * still ours.
 *
 * @throws UsageError if another process serves the socket, or the path is not a socket or is too
 *   long; HostFault if a system call fails
 */
export async function bindSocket(server: Server, target: SocketFile): Promise<() => Promise<void>> {
  const { path } = target;
  await checkSocketPath(path);
  const temporary = temporaryFor(path);
  await refuseWhenServed(path);
  await openServer(server, { path: temporary }, path);
  try {
    await attempt('chmod', path, () => chmod(temporary, target.mode ?? 0o600));
    if (target.uid !== undefined || target.gid !== undefined) {
      await attempt('chown', path, () => chown(temporary, target.uid ?? -1, target.gid ?? -1));
    }
    // Replaces a stale socket file atomically: clients never find the path missing.
    await attempt('rename', path, () => rename(temporary, path));
  } catch (thrown) {
    server.close();
    await rm(temporary, { force: true });
    throw thrown;
  }
  const ours = await lstat(path, { bigint: true });
  return async () => {
    const now = await lstat(path, { bigint: true }).catch(() => null);
    if (now !== null && now.dev === ours.dev && now.ino === ours.ino) {
      await attempt('unlink', path, () => rm(path, { force: true }));
    }
  };
}

/** A socket file that refuses connections is stale: its process is gone. */
async function refuseWhenServed(path: string): Promise<void> {
  if ((await statusOf(path)) === null) return;
  if (await answers(path)) {
    throw new UsageError(
      `another process serves ${path} (find it with "ss -xlp"); stop it or choose another address`,
    );
  }
}

/** Any error except a refusal counts as an answer: a full backlog means a running process. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createConnection({ path });
    const settle = (answered: boolean): void => {
      probe.destroy();
      resolve(answered);
    };
    probe.setTimeout(1000, () => settle(true));
    probe.once('connect', () => settle(true));
    probe.once('error', (fault) => {
      const errno = errnoOf(fault);
      settle(errno !== 'ECONNREFUSED' && errno !== 'ENOENT');
    });
  });
}

export function openServer(
  server: Server,
  where: { readonly path: string } | { readonly fd: number },
  named: string,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (fault: Error): void => {
      reject(new HostFault('listen', named, errnoOf(fault) ?? 'EIO', { cause: fault }));
    };
    server.once('error', fail);
    server.listen(where, () => {
      server.off('error', fail);
      resolve();
    });
  });
}

async function attempt(
  operation: string,
  path: string,
  call: () => Promise<unknown>,
): Promise<void> {
  try {
    await call();
  } catch (thrown) {
    throw new HostFault(operation, path, errnoOf(thrown) ?? 'EIO', { cause: thrown });
  }
}
