/**
 * Who made a call. gRPC handlers see only a call's metadata, so the caller found at the
 * connection is remembered by the identity of that object: nothing a client sends can forge it.
 */
import type { Metadata } from '@grpc/grpc-js';
import type { Socket } from 'node:net';
import type { Processes } from '../base/ports.js';
import { peerCredentials } from '../host/sockets.js';

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

const callers = new WeakMap<Metadata, Caller>();

/** Remembers the caller of the call that received this metadata. */
export function rememberCaller(metadata: Metadata, caller: Caller): void {
  callers.set(metadata, caller);
}

/** The process that made a call; null for a call that did not come through our listener. */
export function callerOf(call: { readonly metadata: Metadata }): Caller | null {
  return callers.get(call.metadata) ?? null;
}
