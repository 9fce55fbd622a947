/**
 * Maps refusals and errors to gRPC statuses. A refusal is an ordinary reply, a host fault names
 * the operation and errno, and a broken invariant is INTERNAL. Codes follow containerd/errdefs,
 * errgrpc.
 */
import { status } from '@grpc/grpc-js';
import { errnoOf, reasonOf } from '../../base/errors.js';
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

/** By name: an effect's error is thrown as it was recorded (`EffectFailed`). */
function codeOfThrown(thrown: unknown): status {
  switch (thrown instanceof Error ? thrown.name : '') {
    case 'CallCancelled':
      return status.CANCELLED;
    case 'BudgetExceeded':
    case 'ReaderStalled':
    case 'TimeLimitPassed':
      return status.DEADLINE_EXCEEDED;
    case 'LogReadOnly':
    case 'NotBegun':
      return status.UNAVAILABLE;
    case 'LogShortOfRoom':
    case 'TooManyCalls':
      return status.RESOURCE_EXHAUSTED;
    case 'InvariantBroken':
      return status.INTERNAL;
    case 'HostFault':
      return EXHAUSTED.has(errnoOf(thrown) ?? '') ? status.RESOURCE_EXHAUSTED : status.UNAVAILABLE;
    default:
      return status.UNKNOWN;
  }
}
