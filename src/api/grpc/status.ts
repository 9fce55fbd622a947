/**
 * The one place where a refusal or a fault becomes a gRPC status. Three sorts, three fates: a
 * refusal is an ordinary answer, a fault of the world names the operation and errno, a broken
 * invariant is our own fault. Codes follow containerd/errdefs, errgrpc.
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

/** The budget of a call is used up. What it asked for may still happen. */
export class BudgetSpent extends Error {
  override readonly name = 'BudgetSpent';

  constructor(method: string, millis: number) {
    super(`${method} was not done within its budget of ${millis} ms; ask again`);
  }
}

/** The client cancelled the call or went away. */
export class CallerGone extends Error {
  override readonly name = 'CallerGone';
}

/** A stream's reader takes nothing, and something large is kept for it. */
export class ReaderStalled extends Error {
  override readonly name = 'ReaderStalled';

  constructor(method: string, millis: number) {
    super(`${method} was ended: its reader took nothing for ${millis} ms; ask again, and read on`);
  }
}

/** As many calls of its sort run as may. */
export class TooMany extends Error {
  override readonly name = 'TooMany';
}

export function statusOfRefusal(refusal: Refusal): CallStatus {
  return { code: CLASS_CODES[classOf(refusal)], details: refusal.message };
}

/** For a request that could not be decoded. */
export function statusOfUnreadable(why: string): CallStatus {
  return { code: status.INVALID_ARGUMENT, details: why };
}

export function statusOfThrown(thrown: unknown): CallStatus {
  return { code: codeOfThrown(thrown), details: reasonOf(thrown) };
}

/** Resources that may be there again when the client asks next. */
const EXHAUSTED: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT', 'EMFILE', 'ENFILE', 'EAGAIN']);

function codeOfThrown(thrown: unknown): status {
  if (thrown instanceof CallerGone) return status.CANCELLED;
  const isLate = [BudgetSpent, ReaderStalled, TimeLimitPassed].some(
    (Late) => thrown instanceof Late,
  );
  if (isLate) return status.DEADLINE_EXCEEDED;
  if (thrown instanceof LogReadOnly || thrown instanceof NotBegun) return status.UNAVAILABLE;
  if (thrown instanceof LogShortOfRoom || thrown instanceof TooMany) {
    return status.RESOURCE_EXHAUSTED;
  }
  if (thrown instanceof InvariantBroken) return status.INTERNAL;
  if (thrown instanceof HostFault) {
    return EXHAUSTED.has(thrown.code) ? status.RESOURCE_EXHAUSTED : status.UNAVAILABLE;
  }
  return status.UNKNOWN;
}
