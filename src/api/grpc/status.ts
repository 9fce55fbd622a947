/**
 * Maps refusals and errors to gRPC statuses. A refusal is an ordinary reply, a host fault names
 * the operation and errno, and a broken invariant is INTERNAL. Codes follow containerd/errdefs,
 * errgrpc.
 */
import { status } from '@grpc/grpc-js';
import { InvariantBroken } from '../../base/assert.js';
import {
  HostFault,
  LogReadOnly,
  LogShortOfRoom,
  NotBegun,
  reasonOf,
  TimeLimitPassed,
} from '../../base/errors.js';
import { classOf, type ErrorClass, type Refusal } from '../../machines/refusals.js';

export interface CallStatus {
  readonly code: status;
  readonly details: string;
}

const CLASS_CODES: Readonly<Record<ErrorClass, status>> = {
  InvalidArgument: status.INVALID_ARGUMENT,
  NotFound: status.NOT_FOUND,
  AlreadyExists: status.ALREADY_EXISTS,
  FailedPrecondition: status.FAILED_PRECONDITION,
  Unavailable: status.UNAVAILABLE,
};

/** The budget of a call is exceeded. The requested operation may still complete. */
export class BudgetExceeded extends Error {
  override readonly name = 'BudgetExceeded';

  constructor(method: string, millis: number) {
    super(`${method} exceeded its budget of ${millis} ms; try again`);
  }
}

/** The client cancelled the call or disconnected. */
export class CallCancelled extends Error {
  override readonly name = 'CallCancelled';
}

/** A client does not read its stream, while the server holds a large response for it. */
export class ReaderStalled extends Error {
  override readonly name = 'ReaderStalled';

  constructor(method: string, millis: number) {
    super(`${method} ended: the client read nothing for ${millis} ms; try again and keep reading`);
  }
}

/** The limit of concurrent calls is reached. */
export class TooManyCalls extends Error {
  override readonly name = 'TooManyCalls';
}

export function statusOfRefusal(refusal: Refusal): CallStatus {
  return { code: CLASS_CODES[classOf(refusal)], details: refusal.message };
}

export function statusOfUnreadable(why: string): CallStatus {
  return { code: status.INVALID_ARGUMENT, details: why };
}

export function statusOfThrown(thrown: unknown): CallStatus {
  return { code: codeOfThrown(thrown), details: reasonOf(thrown) };
}

/** Shortages that may be over when the client retries. */
const EXHAUSTED: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT', 'EMFILE', 'ENFILE', 'EAGAIN']);

function codeOfThrown(thrown: unknown): status {
  if (thrown instanceof CallCancelled) return status.CANCELLED;
  const isLate = [BudgetExceeded, ReaderStalled, TimeLimitPassed].some(
    (Late) => thrown instanceof Late,
  );
  if (isLate) return status.DEADLINE_EXCEEDED;
  if (thrown instanceof LogReadOnly || thrown instanceof NotBegun) return status.UNAVAILABLE;
  if (thrown instanceof LogShortOfRoom || thrown instanceof TooManyCalls) {
    return status.RESOURCE_EXHAUSTED;
  }
  if (thrown instanceof InvariantBroken) return status.INTERNAL;
  if (thrown instanceof HostFault) {
    return EXHAUSTED.has(thrown.code) ? status.RESOURCE_EXHAUSTED : status.UNAVAILABLE;
  }
  return status.UNKNOWN;
}
