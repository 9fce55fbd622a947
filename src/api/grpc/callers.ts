/**
 * The caller of a call. gRPC handlers see only a call's metadata, so the caller is keyed by the
 * identity of that object, which a client cannot forge.
 */
import type { Metadata } from '@grpc/grpc-js';
import type { Socket } from 'node:net';
import type { Processes } from '../../base/ports.js';
import { peerCredentials } from '../../host/process/sockets.js';

/** The peer process, as the kernel recorded it at connect (SO_PEERCRED). */
export interface Caller {
  readonly pid: number;
  readonly uid: number;
  /** `ProcessId.startedAt`; absent if unknown. */
  readonly startedAt?: string;
}

/** Looked up at connect: later, the pid may have been reused. */
export function callerOn(socket: Socket, processes: Processes): Caller | null {
  const peer = peerCredentials(socket);
  if (peer === null) return null;
  const startedAt = processes.startOf(peer.pid);
  return { pid: peer.pid, uid: peer.uid, ...(startedAt !== null && { startedAt }) };
}

/** Callers kept that connect before there is a listener. */
const EARLY_MAX = 64;

/** Passes connecting callers to a listener, including those that connected before it was set. */
export class ConnectedCallers {
  #listener: ((caller: Caller) => void) | null = null;
  readonly #early: Caller[] = [];

  connected(caller: Caller | null): Caller | null {
    if (caller === null) return null;
    if (this.#listener !== null) this.#listener(caller);
    // Bounded because probes may reconnect often. A dropped caller is identified by its first call.
    else if (this.#early.length < EARLY_MAX) this.#early.push(caller);
    return caller;
  }

  forwardTo(listener: (caller: Caller) => void): void {
    this.#listener = listener;
    for (const caller of this.#early.splice(0)) listener(caller);
  }
}

const callers = new WeakMap<Metadata, Caller>();

export function rememberCaller(metadata: Metadata, caller: Caller): void {
  callers.set(metadata, caller);
}

/** Null for a call that did not come through the listener. */
export function callerOf(call: { readonly metadata: Metadata }): Caller | null {
  return callers.get(call.metadata) ?? null;
}
