/**
 * What every call has in common, whatever its service: who makes it, how it ended and how long it
 * took, and that a stopping server can end it. One server interceptor, outside of all handlers.
 */
import {
  ServerInterceptingCall,
  status,
  type Metadata,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
} from '@grpc/grpc-js';
import { rememberCaller, type Caller } from './callers.js';

/** How a call ended. Durations are of the whole call, from its headers to its status. */
export interface CallEnd {
  /** For example `containerd.services.snapshots.v1.Snapshots`. */
  readonly service: string;
  /** For example `Prepare`. */
  readonly method: string;
  /** The code's name as Go prints it: `OK`, `NotFound`. */
  readonly code: string;
  readonly seconds: number;
}

interface OpenCall {
  readonly path: string;
  readonly end: (code: status, details: string) => void;
}

/** Longer messages could pass the header limit of a client, which then sees no status at all. */
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

  /** Ends the open calls of the given methods, or all, with UNAVAILABLE: clients may try again. */
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
    // Taken now: the connection's socket is gone from the call when the client has left.
    const caller = this.callerByPeer(next.getConnectionInfo().remoteAddress ?? '');
    const finish = (code: status): void => {
      if (!this.open.delete(entry)) return;
      const [, service = '', method = ''] = path.split('/');
      const seconds = (performance.now() - started) / 1000;
      this.onEnd({ service, method, code: codeName(code), seconds });
    };
    // What gRPC refuses itself (a request over the limit, say) passes no interceptor.
    const sendStatus = next.sendStatus.bind(next);
    next.sendStatus = (ending) => {
      finish(ending.code);
      sendStatus(ending);
    };
    // gRPC has made a time of day of what the client sends as a span; the clock may be set meanwhile.
    const expires = started + Number(next.getDeadline()) - Date.now();
    // A cancellation also comes after an ordinary end; `finish` counts each call once.
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
 * A call as it is, but for its caller, its cancellation and the text of its status. Not built
 * with ResponderBuilder and ServerListenerBuilder: their queues, for interceptors that answer
 * later, cost a tenth of a call.
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

/** A client that gives up does so when its own clock says so, a little before ours. */
const deadlineSlackMillis = 50;

/** A call that ends without a status of ours: its client left, or its deadline passed. */
function endOfCancelled(expires: number): status {
  const passed = expires <= performance.now() + deadlineSlackMillis;
  return passed ? status.DEADLINE_EXCEEDED : status.CANCELLED;
}

/**
 * Details are percent-encoded into a header, and half a surrogate pair makes that throw. A key
 * that was cut in the middle of a character must not take the daemon down.
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

/** A status code's name as Go prints it, so that dashboards for other snapshotters fit. */
function codeName(code: number): string {
  return codeNames[code] ?? 'Unknown';
}
