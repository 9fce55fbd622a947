/**
 * Who made a call. gRPC handlers see only a call's metadata, so the caller found at the
 * connection is remembered by the identity of that object: nothing a client sends can forge it.
 */
import type { Metadata } from '@grpc/grpc-js';
import type { Socket } from 'node:net';
import type { Processes } from '../../base/ports.js';
import { peerCredentials } from '../../host/process/sockets.js';

/** The process behind a connection, as the kernel recorded it when it connected (SO_PEERCRED). */
export interface Caller {
  readonly pid: number;
  readonly uid: number;
  /** `ProcessId.startedAt`; absent when it was not looked up, or cannot be. */
  readonly startedAt?: string;
}

/** Looked up when it connects: later, the pid may be another process's. */
export function callerOn(socket: Socket, processes: Processes): Caller | null {
  const peer = peerCredentials(socket);
  if (peer === null) return null;
  const startedAt = processes.startOf(peer.pid);
  return { pid: peer.pid, uid: peer.uid, ...(startedAt !== null && { startedAt }) };
}

/** Of those that connect during the replay. */
const EARLY_MAX = 64;

/** Passes each caller that connects to a listener; those that came before it, when it is there. */
export class ConnectedCallers {
  #listener: ((caller: Caller) => void) | null = null;
  readonly #early: Caller[] = [];

  connected(caller: Caller | null): Caller | null {
    if (caller === null) return null;
    if (this.#listener !== null) this.#listener(caller);
    // Probes may connect again and again. A caller that is left out is identified by its first call.
    else if (this.#early.length < EARLY_MAX) this.#early.push(caller);
    return caller;
  }

  handTo(listener: (caller: Caller) => void): void {
    this.#listener = listener;
    for (const caller of this.#early.splice(0)) listener(caller);
  }
}

const callers = new WeakMap<Metadata, Caller>();

/** Remembers the caller of the call that received this metadata. */
export function rememberCaller(metadata: Metadata, caller: Caller): void {
  callers.set(metadata, caller);
}

/** The process that made a call; null for a call that did not come through our listener. */
export function callerOf(call: { readonly metadata: Metadata }): Caller | null {
  return callers.get(call.metadata) ?? null;
}
