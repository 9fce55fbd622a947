/**
 * Sends the messages of an audit stream at the pace of its reader, and frames every audit call:
 * the request looked at, a place taken, a status at the end. A message is written when the one
 * before it has left, so that the server holds one message for a client however slow it is.
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
import { CallContext, reasonBehind } from '../grpc/call-context.js';
import { ReaderStalled, statusOfUnreadable } from '../grpc/status.js';
import { unreadable } from '../grpc/strict-requests.js';

export interface CallRules {
  readonly places: Slots;
  /** Milliseconds until an answer; null for streams that end when their reader has all. */
  readonly budgetMillis: number | null;
}

export interface StreamRules extends CallRules {
  /** Milliseconds that a reader may take for one message; null for as long as it likes. */
  readonly stallMillis: number | null;
}

export function unaryAudit<Request, Query, Reply>(
  method: string,
  { places, budgetMillis }: CallRules,
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
    const placed = async (): Promise<Reply> => {
      const giveBack = places.take(context.client);
      try {
        return await context.within(answer(query.value, context));
      } finally {
        giveBack();
        context.end();
      }
    };
    placed().then(
      (reply) => callback(null, reply),
      (thrown: unknown) => callback(auditStatusOf(thrown)),
    );
  };
}

/** What a stream's answer is made of: it is asked for the next message when there is room. */
export type Messages<Reply> = AsyncIterable<Reply>;

export function streamAudit<Request, Query, Reply>(
  method: string,
  { places, budgetMillis, stallMillis }: StreamRules,
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
    const placed = async (): Promise<void> => {
      const giveBack = places.take(context.client);
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
          // Others get their turn, however fast the reader is.
          await breathe();
        }
        signal.throwIfAborted();
      } finally {
        giveBack();
        context.end();
      }
    };
    placed().then(
      () => call.end(),
      (thrown: unknown) => {
        if (call.cancelled) return;
        call.emit('error', auditStatusOf(reasonBehind(thrown, context.signal)));
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

/** Resolves when HTTP/2 has taken all of the message: its flow control is the reader's pace. */
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
