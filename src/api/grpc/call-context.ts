/** What handlers need of a call: its caller, and a signal for its budget and cancellation. */
import type { Metadata } from '@grpc/grpc-js';
import { orAborted } from '../../base/abort.js';
import type { Caller } from '../../machines/events/events.js';
import { callerOf } from './callers.js';
import { BudgetExceeded, CallCancelled } from './status.js';

/**
 * Characters kept of a header that identifies the caller, because gRPC accepts headers of any
 * length and events keep the caller forever. A namespace has at most 76 (containerd's
 * identifiers), a traceparent 55 (W3C trace context).
 */
const CALLER_TEXT_MAX = 256;

/** `once` rejects with its own AbortError; the signal has the actual reason. */
export function abortReasonOr(thrown: unknown, signal: AbortSignal): unknown {
  return signal.aborted ? signal.reason : thrown;
}

export interface AnyCall {
  readonly metadata: Metadata;
  readonly cancelled: boolean;
  getPeer(): string;
  on(event: 'cancelled', listener: () => void): unknown;
}

const arrivals = new WeakMap<AnyCall, number>();

/** For a call that waits before its handler runs: its budget starts now. */
export function rememberArrival(call: AnyCall): void {
  arrivals.set(call, performance.now());
}

export class CallContext {
  readonly #call: AnyCall;
  readonly #method: string;
  readonly #budgetMillis: number | null;
  #signal: AbortSignal | null = null;
  #timer: NodeJS.Timeout | null = null;
  #ended = false;

  /** @param budgetMillis null for no limit other than cancellation by the client */
  constructor(call: AnyCall, method: string, budgetMillis: number | null) {
    this.#call = call;
    this.#method = method;
    this.#budgetMillis = budgetMillis;
  }

  /** Created on first use: a call that is answered from memory needs none. */
  get signal(): AbortSignal {
    return (this.#signal ??= this.#watch());
  }

  #watch(): AbortSignal {
    const controller = new AbortController();
    const millis = this.#budgetMillis;
    if (millis !== null) {
      const expire = () => controller.abort(new BudgetExceeded(this.#method, millis));
      const arrivedAt = arrivals.get(this.#call);
      const waited = arrivedAt === undefined ? 0 : performance.now() - arrivedAt;
      this.#timer = setTimeout(expire, Math.max(0, millis - waited));
    }
    const cancel = (): void => {
      // grpc-js emits 'cancelled' at the end of every call, even of a successful one.
      if (this.#ended) return;
      controller.abort(new CallCancelled(`${this.#method} was cancelled by its client`));
    };
    this.#call.on('cancelled', cancel);
    // 'cancelled' is emitted once, possibly before the listener was added.
    if (this.#call.cancelled) cancel();
    return controller.signal;
  }

  get metadata(): Metadata {
    return this.#call.metadata;
  }

  get caller(): Caller {
    const { metadata } = this.#call;
    const process = callerOf(this.#call);
    const first = (key: string): string | undefined =>
      metadata.get(key)[0]?.toString().slice(0, CALLER_TEXT_MAX);
    // With several namespaces, the first is the newest and the one the call is made for.
    const namespace = first('containerd-namespace');
    const lease = first('containerd-lease');
    const traceparent = first('traceparent');
    return {
      ...(namespace === undefined ? {} : { namespace }),
      ...(lease === undefined ? {} : { lease }),
      ...(traceparent === undefined ? {} : { traceparent }),
      ...process,
    };
  }

  /** The key for limits per client: the process, or the connection if the process is unknown. */
  get client(): string {
    const process = callerOf(this.#call);
    return process === null ? this.#call.getPeer() : `process ${process.pid}`;
  }

  /** Rejects when the budget is exceeded or the call is cancelled. */
  within<Value>(promise: Promise<Value>): Promise<Value> {
    return orAborted(promise, this.signal);
  }

  end(): void {
    this.#ended = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }
}
