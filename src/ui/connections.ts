/**
 * Who is connected to the page. Anybody on the machine can connect, and the number of connections
 * is bounded: whoever has not shown the token makes room, the one that came first before others,
 * so that idle strangers do not shut the page for the person with the link.
 */
import type { Socket } from 'node:net';

export class Connections {
  readonly #all = new Set<Socket>();
  /** In the order in which they came. */
  readonly #strangers = new Set<Socket>();

  constructor(private readonly max: number) {}

  /** Takes a new one, or closes it when all others have shown the token. */
  take(socket: Socket): void {
    if (this.#all.size >= this.max && !this.#makeRoom()) {
      socket.destroy();
      return;
    }
    this.#all.add(socket);
    this.#strangers.add(socket);
    socket.once('close', () => this.#forget(socket));
  }

  /** It has shown the token. */
  know(socket: Socket): void {
    this.#strangers.delete(socket);
  }

  #makeRoom(): boolean {
    const [oldest] = this.#strangers;
    if (oldest === undefined) return false;
    // Its end is told of later; its place is free now.
    this.#forget(oldest);
    oldest.destroy();
    return true;
  }

  #forget(socket: Socket): void {
    this.#all.delete(socket);
    this.#strangers.delete(socket);
  }
}
