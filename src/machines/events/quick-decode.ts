/**
 * The bodies that a log is full of, decoded without the schema's machinery: a replay of a million
 * events spends a fifth of its time there otherwise. What is not exactly as expected is left to
 * the schema (events.ts), which decides and says what is wrong. A property test holds the two
 * equal.
 */
import { assertNever } from '../../base/assert.js';
import type { FileOwner } from '../../base/ports.js';
import {
  snapshotId,
  snapshotName,
  type Labels,
  type SnapshotName,
  type Usage,
} from '../../base/units.js';
import type {
  Caller,
  ParentLink,
  RemoteQuestion,
  SnapshotEvent,
  SnapshotEventType,
} from './events.js';
import { NO_LABELS } from '../labels.js';

type Body = Readonly<Record<string, unknown>>;

/** The event, or null when the schema must look at it. */
export function quickDecode(type: SnapshotEventType, body: unknown): SnapshotEvent | null {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return null;
  const fields = body as Body;
  switch (type) {
    case 'IdMappingStarted':
    case 'SnapshotPrepared':
    case 'RemoteMountStarted':
    case 'SnapshotCollecting':
    case 'SnapshotRemoved':
      return { type, data: {} };
    case 'SnapshotPreparing':
      return preparing(fields);
    case 'SnapshotCommitting':
      return committing(fields);
    case 'SnapshotCommitted':
      return committed(fields);
    case 'SnapshotRemoving': {
      const { deferred } = fields;
      const caller = callerIn(fields['caller']);
      if (typeof deferred !== 'boolean' || caller === null) return null;
      return { type, data: { deferred, caller } };
    }
    case 'RemoteMounted':
    case 'RemoteMountFailed':
    case 'SnapshotCommitFailed':
    case 'LabelsUpdated':
    case 'LayerUnavailable':
    case 'LayerAvailable':
    case 'SnapshotAbandoned':
    case 'SnapshotRemovalFailed':
    case 'SnapshotSalvaged':
      return null;
    default:
      return assertNever(type);
  }
}

function preparing(fields: Body): SnapshotEvent | null {
  const { id, kind, idMapping } = fields;
  const key = nameIn(fields['key']);
  const parent = parentIn(fields['parent']);
  const labels = labelsIn(fields['labels']);
  const caller = callerIn(fields['caller']);
  if (!isCount(id) || id === 0 || (kind !== 'active' && kind !== 'view')) return null;
  if (key === null || parent === undefined || labels === null || caller === null) return null;
  const remote = remoteIn(fields['remote']);
  // Few snapshots have one.
  if (remote === undefined || idMapping !== null) return null;
  const data = {
    id: snapshotId(id),
    kind,
    key,
    parent,
    labels,
    remote,
    idMapping,
    caller,
  } as const;
  return { type: 'SnapshotPreparing', data };
}

function committing(fields: Body): SnapshotEvent | null {
  const name = nameIn(fields['name']);
  const labels = labelsIn(fields['labels']);
  const parent = parentIn(fields['parent']);
  const caller = callerIn(fields['caller']);
  if (name === null || labels === null || parent === undefined || caller === null) return null;
  return { type: 'SnapshotCommitting', data: { name, labels, parent, caller } };
}

function committed(fields: Body): SnapshotEvent | null {
  const { durability, remote } = fields;
  const name = nameIn(fields['name']);
  const labels = labelsIn(fields['labels']);
  const usage = usageIn(fields['usage']);
  const owner = ownerIn(fields['owner']);
  const parent = parentIn(fields['parent']);
  if (name === null || labels === null || usage === null || parent === undefined) return null;
  if (owner === null || remote !== null) return null;
  if (durability !== 'data' && durability !== 'metadata') return null;
  const data = { name, labels, usage, owner, parent, remote, durability } as const;
  return { type: 'SnapshotCommitted', data };
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function nameIn(value: unknown): SnapshotName | null {
  return typeof value === 'string' && value !== '' ? snapshotName(value) : null;
}

/** Undefined when the schema must look at it; null is an answer. */
function parentIn(value: unknown): ParentLink | null | undefined {
  if (value === null) return null;
  if (typeof value !== 'object' || Array.isArray(value)) return undefined;
  const { id, name } = value as Body;
  if (!isCount(id) || id === 0 || typeof name !== 'string' || name === '') return undefined;
  return { id: snapshotId(id), name: snapshotName(name) };
}

function remoteIn(value: unknown): RemoteQuestion | null | undefined {
  if (value === null) return null;
  if (typeof value !== 'object' || Array.isArray(value)) return undefined;
  const { ref, fileSystems } = value as Body;
  if (typeof ref !== 'string' || !Array.isArray(fileSystems)) return undefined;
  const isNames = fileSystems.every((name: unknown): name is string => typeof name === 'string');
  return isNames ? { ref, fileSystems } : undefined;
}

function labelsIn(value: unknown): Labels | null {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return null;
  let labels: Map<string, string> | null = null;
  for (const [key, label] of Object.entries(value as Body)) {
    if (typeof label !== 'string') return null;
    labels ??= new Map();
    labels.set(key, label);
  }
  return labels ?? NO_LABELS;
}

function usageIn(value: unknown): Usage | null {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return null;
  const { size, inodes } = value as Body;
  return isCount(size) && isCount(inodes) ? { size, inodes } : null;
}

function ownerIn(value: unknown): FileOwner | null {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return null;
  const { uid, gid } = value as Body;
  return isCount(uid) && isCount(gid) ? { uid, gid } : null;
}

/** Only what the schema knows, and nothing else; absent is not the same as undefined. */
function callerIn(value: unknown): Caller | null {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return null;
  for (const [key, field] of Object.entries(value as Body)) {
    switch (key) {
      case 'namespace':
      case 'lease':
      case 'traceparent':
      case 'startedAt':
      case 'program':
        if (typeof field !== 'string') return null;
        break;
      case 'pid':
      case 'uid':
        if (typeof field !== 'number' || !Number.isSafeInteger(field)) return null;
        break;
      default:
        return null;
    }
  }
  return value;
}
