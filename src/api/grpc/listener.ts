/**
 * Accepts connections on a unix socket and hands them to the gRPC server. If gRPC bound the socket
 * itself, its mode would follow the umask, the number of connections would be unbounded, and the
 * peer process of a call would be unknown.
 */
import { createServer, type Socket } from 'node:net';
import type { Caller } from './callers.js';
import { bindSocket, openServer, type SocketFile } from './unix-socket.js';

/** A path to bind, or a socket that systemd has already bound. */
export type ListenTarget = SocketFile | { readonly fd: number };

/** Why the listener closed a connection. */
export type DropReason = 'too many connections' | 'no HTTP/2 preface';

export interface ListenerOptions {
  readonly target: ListenTarget;
  /** At this limit a silent connection is closed for the new one, or else the new one is closed. */
  readonly connectionsMax: number;
  /** A connection that has not sent the HTTP/2 preface after this time is closed. */
  readonly prefaceMillis: number;
  /** Reads the peer's credentials; null if the kernel does not report them. */
  readonly callerOf: (socket: Socket) => Caller | null;
  readonly onConnection: (socket: Socket) => void;
  /** Called for each connection that the listener closes; may be thousands per second. */
  readonly onDropped?: (reason: DropReason) => void;
  /** The listening socket failed after it was opened (accept(2) returned an error). */
  readonly onFault?: (fault: Error) => void;
}

export interface Listener {
  /** The number of open connections. */
  readonly connections: () => number;
  /**
   * The caller of an open connection, by the `remoteAddress` that the listener assigned to it;
   * null if it is closed or unknown.
   */
  readonly callerByPeer: (peer: string) => Caller | null;
  /**
   * Stops accepting and unlinks the socket file if it is still ours. Each open connection is
   * closed once HTTP/2 has ended its side and all data is sent, without waiting for the client.
   */
  readonly close: () => Promise<void>;
  /** Closes all connections, whatever their HTTP/2 state. */
  readonly destroyConnections: () => void;
}

/** The client's magic and the header of the SETTINGS frame after it (RFC 9113, section 3.4). */
const prefaceBytesMin = 24 + 9;

/**
 * Starts to listen. The caller must hold the data lock: only then is a socket file that refuses
 * connections known to be stale.
 *
 * @throws UsageError if another process serves the socket, or the path is not a socket or is too
 *   long; HostFault if a system call fails
 */
export async function listen(options: ListenerOptions): Promise<Listener> {
  const { target } = options;
  const accepted = new AcceptedConnections(options);
  const server = createServer((socket) => {
    accepted.add(socket);
  });

  let unlink = async (): Promise<void> => {
    // systemd's socket stays: it queues connections for the next daemon.
  };
  if ('fd' in target) await openServer(server, { fd: target.fd }, `descriptor ${target.fd}`);
  else unlink = await bindSocket(server, target);
  server.on('error', (fault) => options.onFault?.(fault));

  return {
    connections: () => accepted.size,
    callerByPeer: (peer) => accepted.callerByPeer(peer),
    close: async () => {
      await unlink();
      // Without a callback: it would wait for open connections, which the server drains.
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

class AcceptedConnections {
  private readonly open = new Map<string, Connection>();
  /** Connections that have not sent the HTTP/2 preface, oldest first. */
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
    // Until there is an HTTP/2 session, nothing else handles errors of the socket.
    socket.on('error', () => socket.destroy());
    if (!this.hasRoom()) {
      this.options.onDropped?.('too many connections');
      socket.destroy();
      return;
    }
    this.lastNumber += 1;
    const peer = `unix:connection-${this.lastNumber}`;
    // A unix socket's peer has no address. gRPC calls expose their socket's `remoteAddress`, so a
    // unique one is assigned here to find the connection of a call.
    Object.defineProperty(socket, 'remoteAddress', { value: peer });
    this.open.set(peer, { socket, caller: this.options.callerOf(socket) });
    socket.on('close', () => this.forget(socket, peer));
    this.expectPreface(socket);
    this.options.onConnection(socket);
  }

  /**
   * Whether one more connection is accepted. Clients send the preface at once, so the connection
   * that has been silent for longest is closed to make room.
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

  /** HTTP/2 rejects a wrong preface but waits forever for a missing one. */
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
    // 'close' is emitted later; the slot is free now.
    this.forget(socket, socket.remoteAddress ?? '');
  }

  private forget(socket: Socket, peer: string): void {
    this.silent.delete(socket);
    this.open.delete(peer);
  }
}

/** A client that does not close its side would keep the connection, and the process, open. */
function destroyWhenWritten(socket: Socket): void {
  const destroy = (): void => void socket.destroy();
  if (socket.writableFinished) destroy();
  else socket.once('finish', destroy);
}
