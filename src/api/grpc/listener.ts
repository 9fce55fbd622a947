/**
 * A unix socket of our own in front of the gRPC server. gRPC could bind it itself, but then the
 * socket would have the umask's mode, the number of connections would be unbounded, and nobody
 * could say which process a call came from.
 *
 * Knows sockets and credentials; knows nothing of gRPC but that it takes connections.
 */
import { createServer, type Socket } from 'node:net';
import type { Caller } from './callers.js';
import { bindSocket, openServer, type SocketFile } from './unix-socket.js';

/** Where to listen: a path to bind, or a socket that systemd has bound already. */
export type ListenTarget = SocketFile | { readonly fd: number };

/** Why a connection was closed by us. */
export type DropReason = 'too many connections' | 'no HTTP/2 preface';

export interface ListenerOptions {
  readonly target: ListenTarget;
  /** Beyond this number, a connection that is silent so far makes room; else the new one goes. */
  readonly connectionsMax: number;
  /** A connection that has not begun to speak HTTP/2 after this time is closed. */
  readonly prefaceMillis: number;
  /** Reads the peer's credentials; null when the kernel does not tell. */
  readonly callerOf: (socket: Socket) => Caller | null;
  readonly onConnection: (socket: Socket) => void;
  /** A connection was closed by us; called for each, which may be thousands a second. */
  readonly onDropped?: (reason: DropReason) => void;
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
  /**
   * Stops accepting and unlinks the socket file if it is still ours. Open connections stay until
   * HTTP/2 has ended its side and all that was written has left: the client's side is not waited for.
   */
  readonly close: () => Promise<void>;
  /** Cuts all connections, whatever state HTTP/2 believes them to be in. */
  readonly destroyConnections: () => void;
}

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

  let unlink = async (): Promise<void> => {
    // A socket of systemd's stays: it holds connections for the next start of the daemon.
  };
  if ('fd' in target) await openServer(server, { fd: target.fd }, `descriptor ${target.fd}`);
  else unlink = await bindSocket(server, target);
  server.on('error', (fault) => options.onFault?.(fault));

  return {
    connections: () => accepted.size,
    callerByPeer: (peer) => accepted.callerByPeer(peer),
    close: async () => {
      await unlink();
      // The callback would wait for open connections; those belong to whoever drains them.
      server.close();
      accepted.closeWhenWritten();
    },
    destroyConnections: () => accepted.destroyAll(),
  };
}

interface Connection {
  readonly socket: Socket;
  readonly caller: Caller | null;
}

/** What is connected now, and who it is. */
class AcceptedConnections {
  private readonly open = new Map<string, Connection>();
  /** Those that have yet to begin to speak HTTP/2, oldest first. */
  private readonly silent = new Set<Socket>();
  private lastNumber = 0;

  constructor(private readonly options: ListenerOptions) {}

  get size(): number {
    return this.open.size;
  }

  callerByPeer(peer: string): Caller | null {
    return this.open.get(peer)?.caller ?? null;
  }

  closeWhenWritten(): void {
    for (const { socket } of this.open.values()) destroyWhenWritten(socket);
  }

  destroyAll(): void {
    for (const { socket } of this.open.values()) socket.destroy();
  }

  add(socket: Socket): void {
    // HTTP/2 reports a broken connection to its session; before that there is nobody to listen.
    socket.on('error', () => socket.destroy());
    if (!this.hasRoom()) {
      this.options.onDropped?.('too many connections');
      socket.destroy();
      return;
    }
    this.lastNumber += 1;
    const peer = `unix:connection-${this.lastNumber}`;
    // A unix socket's peer has no address. gRPC calls tell their socket's `remoteAddress`, so the
    // connection's number becomes it: a call then leads back to its connection.
    Object.defineProperty(socket, 'remoteAddress', { value: peer });
    this.open.set(peer, { socket, caller: this.options.callerOf(socket) });
    socket.on('close', () => this.forget(socket, peer));
    this.expectPreface(socket);
    this.options.onConnection(socket);
  }

  /**
   * Whether one more may come. Clients speak at once, so whoever has been silent for longest makes
   * room: idle connections keep nobody out.
   */
  private hasRoom(): boolean {
    if (this.open.size < this.options.connectionsMax) return true;
    for (const socket of this.silent) {
      this.silent.delete(socket);
      if (socket.bytesRead >= prefaceBytesMin) continue;
      this.close(socket);
      return true;
    }
    return false;
  }

  /** HTTP/2 closes on a wrong preface but waits for ever for a missing one. */
  private expectPreface(socket: Socket): void {
    this.silent.add(socket);
    const timer = setTimeout(() => {
      this.silent.delete(socket);
      if (!socket.destroyed && socket.bytesRead < prefaceBytesMin) this.close(socket);
    }, this.options.prefaceMillis);
    timer.unref();
    socket.on('close', () => clearTimeout(timer));
  }

  private close(socket: Socket): void {
    this.options.onDropped?.('no HTTP/2 preface');
    socket.destroy();
    // Its end is told of later; its place is free now.
    this.forget(socket, socket.remoteAddress ?? '');
  }

  private forget(socket: Socket, peer: string): void {
    this.silent.delete(socket);
    this.open.delete(peer);
  }
}

/** A client that does not close its side would keep the connection, and the process, for ever. */
function destroyWhenWritten(socket: Socket): void {
  const destroy = (): void => void socket.destroy();
  if (socket.writableFinished) destroy();
  else socket.once('finish', destroy);
}
