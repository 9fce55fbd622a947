/**
 * Binding a unix socket so that its file is right from the first moment: visible only once it
 * listens, with its mode and owner, and never in the place of a living process's socket.
 */
import { randomBytes } from 'node:crypto';
import { constants, type Stats } from 'node:fs';
import { access, chmod, chown, lstat, mkdir, rename, rm } from 'node:fs/promises';
import { createConnection, type Server } from 'node:net';
import { dirname, join } from 'node:path';
import { errnoOf, HostFault, UsageError } from '../../base/errors.js';
import { socketPathBytesMax } from '../../base/paths.js';

/** A socket file to be. */
export interface SocketFile {
  readonly path: string;
  /** Permission bits; 0600 when not given. */
  readonly mode?: number | undefined;
  /** Owner; the process's own when not given. */
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
}

/**
 * Whether a socket can be bound here once nobody serves it: asked before other work is begun that
 * would be in vain. Makes the directory.
 *
 * @throws UsageError when the path is too long or is something other than a socket; HostFault.
 */
export async function examineSocketPath(path: string): Promise<void> {
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
      `${path} exists and is not a socket; move it away, or choose another address`,
    );
  }
}

/** Short, so that it fits wherever the socket's own name fits. */
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
 * Binds under a temporary name and renames. Answers how to unlink: only what is still ours.
 *
 * @throws UsageError when another process answers on the socket, when the path is something
 *   other than a socket, or too long; HostFault when the system refuses.
 */
export async function bindSocket(server: Server, target: SocketFile): Promise<() => Promise<void>> {
  const { path } = target;
  await examineSocketPath(path);
  const temporary = temporaryFor(path);
  await refuseWhenServed(path);
  await openServer(server, { path: temporary }, path);
  try {
    await attempt('chmod', path, () => chmod(temporary, target.mode ?? 0o600));
    if (target.uid !== undefined || target.gid !== undefined) {
      await attempt('chown', path, () => chown(temporary, target.uid ?? -1, target.gid ?? -1));
    }
    // Replaces a stale socket file in one step: clients never find the path missing in between.
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

/**
 * Whether binding here would steal another process's clients. A socket file that refuses
 * connections is stale: its process is gone.
 */
async function refuseWhenServed(path: string): Promise<void> {
  if ((await statusOf(path)) === null) return;
  if (await answers(path)) {
    throw new UsageError(
      `another process serves ${path} ("ss -xlp" names it); stop it first, or choose another address`,
    );
  }
}

/** Anything but a plain refusal counts as an answer: a full backlog is a living process too. */
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
