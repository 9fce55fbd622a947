/**
 * Serializes errors of the log, so that they keep their class from a worker thread to the event
 * loop and from the daemon to its client. A command that reads over the socket therefore has the
 * same exit code as one that reads the files.
 *
 * Covers the errors that archive.ts declares; status.ts handles all others.
 */
import { Metadata, status } from '@grpc/grpc-js';
import * as z from 'zod';
import { InvariantBroken } from '../../base/assert.js';
import { position } from '../../base/units.js';
import { MomentUnknown } from '../../inspect/archive/archive.js';
import { LogDamaged, LogTooNew } from '../../log/errors.js';
import { EventNotUnderstood } from '../../machines/events/streams.js';
import { statusOfThrown, type CallStatus } from '../grpc/status.js';

const faultSchema = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('LogDamaged'),
    segment: z.string(),
    offset: z.number(),
    position: z.number(),
    found: z.string(),
  }),
  z.object({ kind: z.literal('LogTooNew'), what: z.string(), writtenBy: z.string() }),
  z.object({
    kind: z.literal('EventNotUnderstood'),
    message: z.string(),
    isNewer: z.boolean(),
  }),
  z.object({ kind: z.literal('MomentUnknown'), message: z.string() }),
  // In the log, not in this program: an event that is invalid at its position.
  z.object({ kind: z.literal('InvariantBroken'), message: z.string() }),
]);

export type LogFault = z.infer<typeof faultSchema>;

/** Null if the error is not a fault of the log. */
export function logFaultOf(thrown: unknown): LogFault | null {
  if (thrown instanceof LogDamaged) {
    const { segment, offset, position: at, found } = thrown;
    return { kind: 'LogDamaged', segment, offset, position: at, found };
  }
  if (thrown instanceof LogTooNew) {
    return { kind: 'LogTooNew', what: thrown.what, writtenBy: thrown.writtenBy };
  }
  if (thrown instanceof EventNotUnderstood) {
    const { message, isNewer } = thrown;
    return { kind: 'EventNotUnderstood', message, isNewer };
  }
  if (thrown instanceof MomentUnknown) return { kind: 'MomentUnknown', message: thrown.message };
  if (thrown instanceof InvariantBroken) {
    return { kind: 'InvariantBroken', message: thrown.message };
  }
  return null;
}

/** The inverse of `logFaultOf`. */
export function errorOf(fault: LogFault): Error {
  switch (fault.kind) {
    case 'LogDamaged':
      return new LogDamaged({ ...fault, position: position(fault.position) }, fault.found);
    case 'LogTooNew':
      return new LogTooNew(fault.what, fault.writtenBy);
    case 'EventNotUnderstood':
      return new EventNotUnderstood(fault.message, fault.isNewer);
    case 'MomentUnknown':
      return new MomentUnknown(fault.message);
    case 'InvariantBroken': {
      const error = new InvariantBroken();
      error.message = fault.message;
      return error;
    }
  }
}

/** Trailing metadata, for our own client. */
const FAULT_KEY = 'stratalog-fault-bin';

export function auditStatusOf(thrown: unknown): CallStatus & { readonly metadata?: Metadata } {
  const fault = logFaultOf(thrown);
  if (fault === null) return statusOfThrown(thrown);
  const metadata = new Metadata();
  metadata.set(FAULT_KEY, Buffer.from(JSON.stringify(fault)));
  return { code: codeOf(fault), details: errorOf(fault).message, metadata };
}

function codeOf(fault: LogFault): status {
  switch (fault.kind) {
    case 'LogDamaged':
    case 'InvariantBroken':
      return status.DATA_LOSS;
    case 'EventNotUnderstood':
      return fault.isNewer ? status.FAILED_PRECONDITION : status.DATA_LOSS;
    case 'LogTooNew':
      return status.FAILED_PRECONDITION;
    case 'MomentUnknown':
      return status.OUT_OF_RANGE;
  }
}

/** The error that `auditStatusOf` serialized; null if the trailers have none. */
export function errorInTrailers(metadata: Metadata): Error | null {
  const [bytes] = metadata.get(FAULT_KEY);
  if (!Buffer.isBuffer(bytes)) return null;
  try {
    const parsed = faultSchema.safeParse(JSON.parse(bytes.toString('utf8')));
    return parsed.success ? errorOf(parsed.data) : null;
  } catch {
    // Written by another release or another program: the caller uses the status code and text.
    return null;
  }
}
