/**
 * The process that made a snapshot. containerd takes every snapshot that it does not know for
 * garbage, so a client may not remove what another client made that still runs.
 */
import type { ProcessId } from '../base/ports.js';
import type { Caller } from './events/events.js';

/** The client of the Prepare or View, as far as it is known. */
export interface Maker {
  /** 0 for a process in a pid namespace that is not below ours. */
  readonly pid: number;
  /** `ProcessId.startedAt`; null when it could not be read. */
  readonly startedAt: string | null;
  /** `Processes.programOf`; null when it was not known in time. */
  readonly program: string | null;
}

/** Snapshots have few makers, and each of those one object. */
const makers = new Map<string, Maker>();
const MAKERS_MAX = 256;

/** Null for a caller of the library, which has no socket between. */
export function makerOf({ pid, startedAt, program }: Caller): Maker | null {
  return pid === undefined ? null : sharedMaker(pid, startedAt ?? null, program ?? null);
}

export function sharedMaker(pid: number, startedAt: string | null, program: string | null): Maker {
  const text = `${pid} ${startedAt} ${program}`;
  let maker = makers.get(text);
  if (maker === undefined) {
    if (makers.size === MAKERS_MAX) makers.clear();
    maker = { pid, startedAt, program };
    makers.set(text, maker);
  }
  return maker;
}

/** Null where a pid alone is known: another process may have it by now. */
export function processOf({ pid, startedAt }: Pick<Maker, 'pid' | 'startedAt'>): ProcessId | null {
  return pid > 0 && startedAt !== null ? { pid, startedAt } : null;
}

export function isSameProcess(one: ProcessId, other: ProcessId): boolean {
  return one.pid === other.pid && one.startedAt === other.startedAt;
}

/** `containerd` of `containerd-9d530a4b`. */
export function programName(program: string): string {
  return program.slice(0, Math.max(0, program.lastIndexOf('-')));
}

/** `process 842 (containerd)`. */
export function processInWords({ pid, program }: Pick<Maker, 'pid' | 'program'>): string {
  return program === null ? `process ${pid}` : `process ${pid} (${programName(program)})`;
}

/** Why a snapshot is kept from a client that did not make it. */
export type Keeper =
  /** Its maker still runs. */
  | { readonly kind: 'maker'; readonly maker: Maker }
  /** Its maker has ended, and its program runs again as this process. */
  | { readonly kind: 'successor'; readonly maker: Maker; readonly pid: number }
  /** Its maker has ended, and it is mounted here. */
  | { readonly kind: 'mount'; readonly maker: Maker; readonly mountpoint: string }
  /** None of the above could be ruled out. */
  | { readonly kind: 'unknown'; readonly maker: Maker; readonly reason: string };
