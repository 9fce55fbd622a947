/**
 * Tracks every call of every service with one server interceptor: its caller, its status, its
 * duration. A server that is shutting down ends the calls that are still open.
 */
import {
  ServerInterceptingCall,
  status,
  type Metadata,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
} from '@grpc/grpc-js';
import { rememberCaller, type Caller } from './callers.js';

/** How a call ended. The duration runs from its headers to its status. */
export interface CallEnd {
  /** For example `containerd.services.snapshots.v1.Snapshots`. */
  readonly service: string;
  /** For example `Prepare`. */
  readonly method: string;
  /** The status code as Go prints it: `OK`, `NotFound`. */
  readonly code: string;
  readonly seconds: number;
}

interface OpenCall {
  readonly path: string;
  readonly end: (code: status, details: string) => void;
}

/** A longer message can exceed a client's header limit; the client then gets no status at all. */
const detailsLengthMax = 4096;

export class Calls {
  private readonly open = new Set<OpenCall>();

  constructor(
    private readonly callerByPeer: (peer: string) => Caller | null,
    private readonly onEnd: (end: CallEnd) => void,
  ) {}

  get size(): number {
    return this.open.size;
  }

  /** Ends the open calls of the given methods, or all calls, with UNAVAILABLE. */
  endAll(paths?: ReadonlySet<string>): void {
    for (const call of [...this.open]) {
      if (paths === undefined || paths.has(call.path)) {
        call.end(status.UNAVAILABLE, 'the server is stopping');
      }
    }
  }

  readonly interceptor: ServerInterceptor = (definition, next) => {
    const { path } = definition;
    const started = performance.now();
    // Read now: once the client has disconnected, the call no longer has its socket.
    const caller = this.callerByPeer(next.getConnectionInfo().remoteAddress ?? '');
    const finish = (code: status): void => {
      if (!this.open.delete(entry)) return;
      const [, service = '', method = ''] = path.split('/');
      const seconds = (performance.now() - started) / 1000;
      this.onEnd({ service, method, code: codeName(code), seconds });
    };
    // Statuses that gRPC sends itself (a request over the size limit) bypass interceptors.
    const sendStatus = next.sendStatus.bind(next);
    next.sendStatus = (ending) => {
      finish(ending.code);
      sendStatus(ending);
    };
    // The client sends a timeout, which gRPC turns into wall-clock time. Converted to monotonic
    // time, because the wall clock may be adjusted during the call.
    const expires = started + Number(next.getDeadline()) - Date.now();
    // 'cancelled' is also emitted after an ordinary end; `finish` counts each call once.
    const call = new WatchedCall(next, caller, () => finish(endOfCancelled(expires)));
    const entry: OpenCall = {
      path,
      end: (code, details) => call.sendStatus({ code, details }),
    };
    this.open.add(entry);
    return call;
  };
}

type CallListener = Parameters<ServerInterceptingCallInterface['start']>[0];
type CallStatus = Parameters<ServerInterceptingCallInterface['sendStatus']>[0];

/**
 * Passes a call through, records its caller and its cancellation, and cleans its status text.
 * ResponderBuilder and ServerListenerBuilder would add queues that cost a tenth of a call.
 */
class WatchedCall extends ServerInterceptingCall {
  readonly #next: ServerInterceptingCallInterface;
  readonly #caller: Caller | null;
  readonly #onCancel: () => void;

  constructor(next: ServerInterceptingCallInterface, caller: Caller | null, onCancel: () => void) {
    super(next);
    this.#next = next;
    this.#caller = caller;
    this.#onCancel = onCancel;
  }

  override start(listener: CallListener): void {
    this.#next.start({
      onReceiveMetadata: (metadata) => {
        if (this.#caller !== null) rememberCaller(metadata, this.#caller);
        listener.onReceiveMetadata(metadata);
      },
      onReceiveMessage: (message: unknown) => listener.onReceiveMessage(message),
      onReceiveHalfClose: () => listener.onReceiveHalfClose(),
      onCancel: () => {
        this.#onCancel();
        listener.onCancel();
      },
    });
  }

  override sendMetadata(metadata: Metadata): void {
    this.#next.sendMetadata(metadata);
  }

  override sendMessage(message: unknown, callback: () => void): void {
    this.#next.sendMessage(message, callback);
  }

  override sendStatus(ending: CallStatus): void {
    this.#next.sendStatus({ ...ending, details: cleanDetails(ending.details) });
  }
}

/** A client's deadline can expire slightly before the server's. */
const deadlineSlackMillis = 50;

/** The status of a call that ended without one: its client disconnected or its deadline expired. */
function endOfCancelled(expires: number): status {
  const passed = expires <= performance.now() + deadlineSlackMillis;
  return passed ? status.DEADLINE_EXCEEDED : status.CANCELLED;
}

/**
 * Details are percent-encoded into a header, which throws on a lone surrogate. A key that was cut
 * inside a character must not crash the daemon.
 */
function cleanDetails(details: string): string {
  if (details === '' || details === 'OK') return details;
  return Buffer.from(details.slice(0, detailsLengthMax)).toString('utf8');
}

const codeNames: Readonly<Record<number, string>> = {
  [status.OK]: 'OK',
  [status.CANCELLED]: 'Canceled',
  [status.UNKNOWN]: 'Unknown',
  [status.INVALID_ARGUMENT]: 'InvalidArgument',
  [status.DEADLINE_EXCEEDED]: 'DeadlineExceeded',
  [status.NOT_FOUND]: 'NotFound',
  [status.ALREADY_EXISTS]: 'AlreadyExists',
  [status.PERMISSION_DENIED]: 'PermissionDenied',
  [status.RESOURCE_EXHAUSTED]: 'ResourceExhausted',
  [status.FAILED_PRECONDITION]: 'FailedPrecondition',
  [status.ABORTED]: 'Aborted',
  [status.OUT_OF_RANGE]: 'OutOfRange',
  [status.UNIMPLEMENTED]: 'Unimplemented',
  [status.INTERNAL]: 'Internal',
  [status.UNAVAILABLE]: 'Unavailable',
  [status.DATA_LOSS]: 'DataLoss',
  [status.UNAUTHENTICATED]: 'Unauthenticated',
};

/** Names as Go prints them, so that dashboards for other snapshotters work. */
function codeName(code: number): string {
  return codeNames[code] ?? 'Unknown';
}
