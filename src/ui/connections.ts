/**
 * Limits the connections to the page. Any user of the machine can connect. When the limit is
 * reached, the oldest connection without a valid token is closed, so that idle connections of other
 * users do not block the person with the link.
 */
import type { Socket } from 'node:net';

export class Connections {
  readonly #all = new Set<Socket>();
  /** Without a valid token so far, oldest first. */
  readonly #unauthenticated = new Set<Socket>();

  constructor(private readonly max: number) {}

  /** Accepts a new connection, or closes it if all others are authenticated. */
  accept(socket: Socket): void {
    if (this.#all.size >= this.max && !this.#makeRoom()) {
      socket.destroy();
      return;
    }
    this.#all.add(socket);
    this.#unauthenticated.add(socket);
    socket.once('close', () => this.#forget(socket));
  }

  /** Marks a connection as authenticated. */
  authenticated(socket: Socket): void {
    this.#unauthenticated.delete(socket);
  }

  #makeRoom(): boolean {
    const [oldest] = this.#unauthenticated;
    if (oldest === undefined) return false;
    // The close event comes later, but the slot is free now.
    this.#forget(oldest);
    oldest.destroy();
    return true;
  }

  #forget(socket: Socket): void {
    this.#all.delete(socket);
    this.#unauthenticated.delete(socket);
  }
}
