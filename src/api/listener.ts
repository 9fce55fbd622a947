/**
 * A unix socket of our own in front of the gRPC server. gRPC could bind it itself, but then the
 * socket would have the umask's mode, the number of connections would be unbounded, and nobody
 * could say which process a call came from.
 *
 * Knows sockets, files and credentials; knows nothing of gRPC but that it takes connections.
 * A socket file is visible only once it listens, with the right mode and owner: it is bound under
 * a temporary name and renamed.
 */
import { randomBytes } from 'node:crypto';
import { chmod, chown, lstat, mkdir, rename, rm } from 'node:fs/promises';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { errnoOf, HostFault, UsageError } from '../base/errors.js';
import type { Caller } from './callers.js';

/** Where to listen: a path to bind, or a socket that systemd has bound already. */
export type ListenTarget =
  | {
      readonly path: string;
      /** Permission bits of the socket file; 0600 when not given. */
      readonly mode?: number;
      /** Owner of the socket file; the process's own when not given. */
      readonly uid?: number;
      readonly gid?: number;
    }
  | { readonly fd: number };

export interface ListenerOptions {
  readonly target: ListenTarget;
  /** Connections beyond this number are closed at once. */
  readonly connectionsMax: number;
  /** A connection that has not begun to speak HTTP/2 after this time is closed. */
  readonly prefaceMillis: number;
  /** Reads the peer's credentials; null when the kernel does not tell. */
  readonly callerOf: (socket: Socket) => Caller | null;
  readonly onConnection: (socket: Socket) => void;
  /** A connection was closed by us, with the reason. For the log and a counter. */
  readonly onDropped?: (reason: 'too many connections' | 'no HTTP/2 preface') => void;
  /** The listening socket failed after it was open (accept(2) returned an error). */
  readonly onFault?: (fault: Error) => void;
}

export interface Listener {
  /** Connections that are open now. */
  readonly connections: () => number;
  /**
   * The caller behind an open connection, by the `remoteAddress` that the connection's socket
   * has here; null for one that is gone or is none of ours.
   */
  readonly callerByPeer: (peer: string) => Caller | null;
  /** Stops accepting and unlinks the socket file if it is still ours. Open connections stay. */
  readonly close: () => Promise<void>;
}

/** sun_path holds 108 bytes with its closing zero (unix(7)). */
const socketPathBytesMax = 107;

/** The client's magic and the header of the SETTINGS frame after it (RFC 9113, section 3.4). */
const prefaceBytesMin = 24 + 9;

/**
 * Starts to listen. Call it last, once the data lock is held: only then may a stale socket file
 * be taken for one that nobody serves.
 *
 * @throws UsageError when another process answers on the socket, when the path is something
 *   other than a socket, or too long; HostFault when the system refuses.
 */
export async function listen(options: ListenerOptions): Promise<Listener> {
  const { target } = options;
  const accepted = new AcceptedConnections(options);
  const server = createServer((socket) => {
    accepted.add(socket);
  });
  server.maxConnections = options.connectionsMax;
  server.on('drop', () => options.onDropped?.('too many connections'));

  let unlink = async (): Promise<void> => {
    // A socket of systemd's stays: it holds connections for the next start of the daemon.
  };
  if ('fd' in target) await open(server, { fd: target.fd }, `descriptor ${target.fd}`);
  else unlink = await bind(server, target);
  server.on('error', (fault) => options.onFault?.(fault));

  return {
    connections: () => accepted.size,
    callerByPeer: (peer) => accepted.callerByPeer(peer),
    close: async () => {
      await unlink();
      // The callback would wait for open connections; those belong to whoever drains them.
      server.close();
    },
  };
}

/** What is connected now, and who it is. */
class AcceptedConnections {
  private readonly callers = new Map<string, Caller | null>();
  private lastNumber = 0;

  constructor(private readonly options: ListenerOptions) {}

  get size(): number {
    return this.callers.size;
  }

  callerByPeer(peer: string): Caller | null {
    return this.callers.get(peer) ?? null;
  }

  add(socket: Socket): void {
    this.lastNumber += 1;
    const peer = `unix:connection-${this.lastNumber}`;
    // A unix socket's peer has no address. gRPC calls tell their socket's `remoteAddress`, so the
    // connection's number becomes it: a call then leads back to its connection.
    Object.defineProperty(socket, 'remoteAddress', { value: peer });
    this.callers.set(peer, this.options.callerOf(socket));
    socket.on('close', () => this.callers.delete(peer));
    // HTTP/2 reports a broken connection to its session; before that there is nobody to listen.
    socket.on('error', () => socket.destroy());
    this.expectPreface(socket);
    this.options.onConnection(socket);
  }

  /** HTTP/2 closes on a wrong preface but waits for ever for a missing one. */
  private expectPreface(socket: Socket): void {
    const timer = setTimeout(() => {
      if (socket.destroyed || socket.bytesRead >= prefaceBytesMin) return;
      this.options.onDropped?.('no HTTP/2 preface');
      socket.destroy();
    }, this.options.prefaceMillis);
    timer.unref();
    socket.on('close', () => clearTimeout(timer));
  }
}

/** Binds under a temporary name, renames, and answers how to unlink. */
async function bind(
  server: Server,
  target: Extract<ListenTarget, { path: string }>,
): Promise<() => Promise<void>> {
  const { path } = target;
  const directory = dirname(path);
  // Short, so that it fits wherever the socket's own name fits.
  const temporary = join(directory, `.${randomBytes(3).toString('hex')}`);
  const longest = Math.max(Buffer.byteLength(path), Buffer.byteLength(temporary));
  if (longest > socketPathBytesMax) {
    throw new UsageError(
      `socket path ${path} is too long: a unix socket's path has at most ${socketPathBytesMax} bytes; choose a shorter address`,
    );
  }
  await attempt('mkdir', directory, () => mkdir(directory, { recursive: true, mode: 0o711 }));
  await refuseWhenServed(path);
  await open(server, { path: temporary }, path);
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
 * Whether binding here would steal another process's clients, or destroy something that is not
 * a socket. A socket file that refuses connections is stale: its process is gone.
 */
async function refuseWhenServed(path: string): Promise<void> {
  const found = await lstat(path).catch((thrown: unknown) => {
    if (errnoOf(thrown) === 'ENOENT') return null;
    throw new HostFault('lstat', path, errnoOf(thrown) ?? 'EIO', { cause: thrown });
  });
  if (found === null) return;
  if (!found.isSocket()) {
    throw new UsageError(
      `${path} exists and is not a socket; move it away, or choose another address`,
    );
  }
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

function open(
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
