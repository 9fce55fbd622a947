/**
 * Runs an audit call: checks the request, takes a slot, ends with a status. A stream writes each
 * message only after the previous one was sent, so the server holds one message per client.
 */
import { setImmediate as breathe } from 'node:timers/promises';
import type {
  handleServerStreamingCall,
  handleUnaryCall,
  ServerWritableStream,
} from '@grpc/grpc-js';
import { orAborted, orLate } from '../../base/abort.js';
import { auditStatusOf } from './audit-faults.js';
import type { Slots } from './audit-slots.js';
import type { Checked } from './audit-requests.js';
import { CallContext, abortReasonOr } from '../grpc/call-context.js';
import { ReaderStalled, statusOfUnreadable } from '../grpc/status.js';
import { unreadable } from '../grpc/strict-requests.js';

export interface CallRules {
  readonly slots: Slots;
  /** Milliseconds for the whole call; null for no limit. */
  readonly budgetMillis: number | null;
}

export interface StreamRules extends CallRules {
  /** Milliseconds that a reader may take for one message; null for no limit. */
  readonly stallMillis: number | null;
}

export function unaryAudit<Request, Query, Reply>(
  method: string,
  { slots, budgetMillis }: CallRules,
  check: (request: Request) => Checked<Query>,
  answer: (query: Query, context: CallContext) => Promise<Reply>,
): handleUnaryCall<Request, Reply> {
  return (call, callback) => {
    const query = checked(call.request, check);
    if (!query.ok) {
      callback(query.refusal);
      return;
    }
    const context = new CallContext(call, method, budgetMillis);
    const run = async (): Promise<Reply> => {
      const release = slots.take(context.client);
      try {
        return await context.within(answer(query.value, context));
      } finally {
        release();
        context.end();
      }
    };
    run().then(
      (reply) => callback(null, reply),
      (thrown: unknown) => callback(auditStatusOf(thrown)),
    );
  };
}

/** Pulled when the previous message was sent. */
export type Messages<Reply> = AsyncIterable<Reply>;

export function streamAudit<Request, Query, Reply>(
  method: string,
  { slots, budgetMillis, stallMillis }: StreamRules,
  check: (request: Request) => Checked<Query>,
  answer: (query: Query, context: CallContext) => Messages<Reply>,
  onSent: (reply: Reply) => void,
): handleServerStreamingCall<Request, Reply> {
  return (call) => {
    const query = checked(call.request, check);
    if (!query.ok) {
      call.emit('error', query.refusal);
      return;
    }
    const context = new CallContext(call, method, budgetMillis);
    const run = async (): Promise<void> => {
      const release = slots.take(context.client);
      try {
        const { signal } = context;
        const send = (reply: Reply): Promise<void> =>
          stallMillis === null
            ? orAborted(sent(call, reply), signal)
            : orLate(() => sent(call, reply), {
                signal,
                millis: stallMillis,
                late: () => new ReaderStalled(method, stallMillis),
              });
        for await (const message of answer(query.value, context)) {
          signal.throwIfAborted();
          await send(message);
          onSent(message);
          // Yields to other calls even if the reader is fast.
          await breathe();
        }
        signal.throwIfAborted();
      } finally {
        release();
        context.end();
      }
    };
    run().then(
      () => call.end(),
      (thrown: unknown) => {
        if (call.cancelled) return;
        call.emit('error', auditStatusOf(abortReasonOr(thrown, context.signal)));
      },
    );
  };
}

function checked<Request, Query>(
  request: Request,
  check: (request: Request) => Checked<Query>,
): Checked<Query> {
  const fault = unreadable(request);
  if (fault !== null) return { ok: false, refusal: statusOfUnreadable(fault) };
  return check(request);
}

/** Resolves when HTTP/2 has accepted the whole message, so flow control paces the stream. */
function sent<Request, Reply>(
  call: ServerWritableStream<Request, Reply>,
  message: Reply,
): Promise<void> {
  return new Promise((resolve, reject) => {
    call.write(message, (fault: Error | null | undefined) => {
      if (fault) reject(fault);
      else resolve();
    });
  });
}
