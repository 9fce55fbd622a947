/**
 * A snapshot's state as one JSON line of a checkpoint, and back. A checkpoint is only a shortcut:
 * when its shape changes, CHECKPOINT_SCHEMA rises and older ones are passed over in favour of
 * the log, so no upcasters are needed here.
 */
import { z } from 'zod';
import {
  snapshotId,
  snapshotName,
  streamVersion,
  unixNanos,
  type SnapshotId,
} from '../base/units.js';
import { STATUSES } from './chart.js';
import { labelsSchema, usageSchema } from './events.js';
import type { SnapshotState } from './fold.js';

const CHECKPOINT_SCHEMA = 1;

const time = z.string().transform((text) => unixNanos(BigInt(text)));
const name = z.string().transform(snapshotName);
const id = z.number().int().positive().transform(snapshotId);
const parent = z.object({ id, name }).nullable();

const stateSchema = z.object({
  id,
  status: z.enum(STATUSES).exclude(['absent', 'removed']),
  preparedAs: z.enum(['active', 'view']),
  name,
  parent,
  labels: labelsSchema,
  target: z.string().nullable(),
  remote: z
    .object({ ref: z.string(), fileSystem: z.string(), mountLabels: labelsSchema })
    .nullable(),
  commit: z.object({ name, labels: labelsSchema, parent }).nullable(),
  usage: usageSchema.nullable(),
  unavailability: z
    .object({ reason: z.string(), attempts: z.number(), retryAt: z.string().nullable() })
    .nullable(),
  createdAt: time,
  updatedAt: time,
  streamVersion: z.number().int().transform(streamVersion),
});

const headSchema = z.object({
  schema: z.literal(CHECKPOINT_SCHEMA),
  nextId: id,
  daemonStreamVersion: z.number().int().nonnegative(),
});

/** The first line of a checkpoint: what is not any one snapshot's. */
export interface CheckpointHead {
  readonly nextId: SnapshotId;
  readonly daemonStreamVersion: number;
}

export function encodeHead(head: CheckpointHead): string {
  return JSON.stringify({ schema: CHECKPOINT_SCHEMA, ...head });
}

/** Throws ZodError or SyntaxError. */
export function decodeHead(line: string): CheckpointHead {
  return headSchema.parse(JSON.parse(line));
}

export function encodeState(state: SnapshotState): string {
  return JSON.stringify(state, (_key, value: unknown) => {
    if (value instanceof Map) return Object.fromEntries(value) as unknown;
    return typeof value === 'bigint' ? value.toString() : value;
  });
}

/** Throws ZodError or SyntaxError. */
export function decodeState(line: string): SnapshotState {
  return stateSchema.parse(JSON.parse(line));
}
