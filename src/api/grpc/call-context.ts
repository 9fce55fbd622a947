/**
 * A call as the handlers of a service need it, whatever the service: who asks, and a signal for
 * its budget and its cancellation.
 */
import type { Metadata } from '@grpc/grpc-js';
import { orAborted } from '../../base/abort.js';
import type { Caller } from '../../machines/events/events.js';
import { callerOf } from './callers.js';
import { BudgetSpent, CallerGone } from './status.js';

/**
 * Characters that are kept of a header that says who asks. A namespace has 76 at most
 * (containerd's identifiers), a traceparent 55 (W3C trace context); the log keeps events for ever,
 * and gRPC takes headers of any length.
 */
const CALLER_TEXT_MAX = 256;

/** `once` rejects with an AbortError of its own; the signal knows why. */
export function reasonBehind(thrown: unknown, signal: AbortSignal): unknown {
  return signal.aborted ? signal.reason : thrown;
}

export interface AnyCall {
  readonly metadata: Metadata;
  readonly cancelled: boolean;
  getPeer(): string;
  on(event: 'cancelled', listener: () => void): unknown;
}

const arrivals = new WeakMap<AnyCall, number>();

/** For a call that has to wait before its handler runs: its budget counts from now. */
export function rememberArrival(call: AnyCall): void {
  arrivals.set(call, performance.now());
}

/** A call as the handlers need it: who asks, and a signal for its budget and its cancellation. */
export class CallContext {
  readonly #call: AnyCall;
  readonly #method: string;
  readonly #budgetMillis: number | null;
  #signal: AbortSignal | null = null;
  #timer: NodeJS.Timeout | null = null;
  #ended = false;

  /** Without a budget it ends with its client only. */
  constructor(call: AnyCall, method: string, budgetMillis: number | null) {
    this.#call = call;
    this.#method = method;
    this.#budgetMillis = budgetMillis;
  }

  /** Made when it is first asked for: a call that is answered from memory needs none. */
  get signal(): AbortSignal {
    return (this.#signal ??= this.#watch());
  }

  #watch(): AbortSignal {
    const controller = new AbortController();
    const millis = this.#budgetMillis;
    if (millis !== null) {
      const spend = () => controller.abort(new BudgetSpent(this.#method, millis));
      const arrivedAt = arrivals.get(this.#call);
      const waited = arrivedAt === undefined ? 0 : performance.now() - arrivedAt;
      this.#timer = setTimeout(spend, Math.max(0, millis - waited));
    }
    const leave = (): void => {
      // grpc-js says so at the end of every call, also of one that went well.
      if (this.#ended) return;
      controller.abort(new CallerGone(`${this.#method} was cancelled by its client`));
    };
    this.#call.on('cancelled', leave);
    // It is said once, which may have been before anybody asked.
    if (this.#call.cancelled) leave();
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
    // Several namespaces come newest first; the first is the one the call is made for.
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

  /** Whose calls count together: the process, or the connection where no process is known. */
  get client(): string {
    const process = callerOf(this.#call);
    return process === null ? this.#call.getPeer() : `process ${process.pid}`;
  }

  /** The promise, or the end of the budget. */
  within<Value>(promise: Promise<Value>): Promise<Value> {
    return orAborted(promise, this.signal);
  }

  end(): void {
    this.#ended = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }
}
