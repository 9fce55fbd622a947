/**
 * A snapshot's state as one JSON line of a checkpoint, and back. A checkpoint is only a shortcut:
 * when its shape changes, CHECKPOINT_SCHEMA rises and older ones are passed over in favour of
 * the log, so no upcasters are needed here.
 *
 * The line is an array that begins with what the indexes need, in a fixed order, so that a start
 * can index a line without parsing it (packed-states.ts).
 */
import { z } from 'zod';
import {
  snapshotId,
  snapshotName,
  streamVersion,
  unixNanos,
  type Labels,
  type SnapshotId,
} from '../base/units.js';
import { STATUSES } from './chart.js';
import { idSchema, type ParentLink } from './events.js';
import type { SnapshotState } from './fold.js';
import { NO_LABELS, TARGET_LABEL } from './labels.js';

const CHECKPOINT_SCHEMA = 2;

const headSchema = z.object({
  schema: z.literal(CHECKPOINT_SCHEMA),
  nextId: z.number().int().positive().transform(snapshotId),
  daemonStreamVersion: z.number().int().nonnegative(),
  spares: z.array(idSchema),
});

/** The first line of a checkpoint: what is not any one snapshot's. */
export interface CheckpointHead {
  readonly nextId: SnapshotId;
  readonly daemonStreamVersion: number;
  /** Ids whose directories are made ahead, for snapshots that nobody has asked for yet. */
  readonly spares: readonly SnapshotId[];
}

export function encodeHead(head: CheckpointHead): string {
  return JSON.stringify({ schema: CHECKPOINT_SCHEMA, ...head });
}

/** Throws ZodError or SyntaxError. */
export function decodeHead(line: string): CheckpointHead {
  return headSchema.parse(JSON.parse(line));
}

/** What a snapshot at rest does not have is left out. */
interface Rest {
  readonly parentName?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly view?: true;
  readonly target?: string;
  readonly fileSystem?: string;
  readonly mountLabels?: Readonly<Record<string, string>>;
  readonly commit?: {
    readonly name: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly parent: ParentLink | null;
  };
  readonly usage?: readonly [size: number, inodes: number];
  readonly unavailability?: SnapshotState['unavailability'];
  readonly created: string;
  /** Left out when it is the same as `created`. */
  readonly updated?: string;
  readonly version: number;
}

/**
 * `[id, status, parent's id or 0, name, target label or null, remote ref or null, the rest]`,
 * without blanks.
 */
export function encodeState(state: SnapshotState): string {
  const { parent, remote, commit, usage } = state;
  const rest: Rest = {
    ...(parent && { parentName: parent.name }),
    ...(state.labels.size > 0 && { labels: Object.fromEntries(state.labels) }),
    ...(state.preparedAs === 'view' && { view: true }),
    ...(state.target !== null && { target: state.target }),
    ...(remote && {
      fileSystem: remote.fileSystem,
      mountLabels: Object.fromEntries(remote.mountLabels),
    }),
    ...(commit && { commit: { ...commit, labels: Object.fromEntries(commit.labels) } }),
    ...(usage && { usage: [usage.size, usage.inodes] }),
    ...(state.unavailability && { unavailability: state.unavailability }),
    created: state.createdAt.toString(),
    ...(state.updatedAt !== state.createdAt && { updated: state.updatedAt.toString() }),
    version: state.streamVersion,
  };
  return JSON.stringify([
    state.id,
    state.status,
    parent?.id ?? 0,
    state.name,
    state.labels.get(TARGET_LABEL) ?? null,
    remote?.ref ?? null,
    rest,
  ]);
}

/** Throws SyntaxError or TypeError. */
export function decodeState(line: string): SnapshotState {
  const fields: unknown = JSON.parse(line);
  if (!Array.isArray(fields) || fields.length !== 7) throw malformed('it is no list of seven');
  const [id, status, parentId, name, , ref, rest] = fields as readonly unknown[];
  if (!isId(id)) throw malformed('its id is not a number above 0');
  if (!isStatus(status)) throw malformed('its status is unknown');
  if (parentId !== 0 && !isId(parentId)) throw malformed('its parent is not a number');
  if (typeof name !== 'string') throw malformed('its name is not a text');
  if (ref !== null && typeof ref !== 'string') throw malformed('its remote ref is not a text');
  if (!isRest(rest)) throw malformed('what is left of it');
  return stateOf({ id, status, parentId, name, ref }, rest);
}

function stateOf(
  head: {
    readonly id: number;
    readonly status: SnapshotState['status'];
    readonly parentId: number;
    readonly name: string;
    readonly ref: string | null;
  },
  rest: Rest,
): SnapshotState {
  const created = unixNanos(BigInt(rest.created));
  return {
    id: snapshotId(head.id),
    preparedAs: rest.view === true ? 'view' : 'active',
    name: snapshotName(head.name),
    parent:
      head.parentId === 0
        ? null
        : { id: snapshotId(head.parentId), name: snapshotName(text(rest.parentName)) },
    labels: labelsOf(rest.labels),
    target: rest.target ?? null,
    remote:
      head.ref === null
        ? null
        : {
            ref: head.ref,
            fileSystem: text(rest.fileSystem),
            mountLabels: labelsOf(rest.mountLabels),
          },
    commit: rest.commit === undefined ? null : commitOf(rest.commit),
    usage: rest.usage === undefined ? null : { size: rest.usage[0], inodes: rest.usage[1] },
    unavailability: rest.unavailability ?? null,
    createdAt: created,
    updatedAt: rest.updated === undefined ? created : unixNanos(BigInt(rest.updated)),
    streamVersion: streamVersion(rest.version),
    status: head.status,
  };
}

function commitOf(commit: NonNullable<Rest['commit']>): SnapshotState['commit'] {
  const { name, labels, parent } = commit;
  return { name: snapshotName(text(name)), labels: labelsOf(labels), parent };
}

function labelsOf(record: Readonly<Record<string, string>> | undefined): Labels {
  if (record === undefined) return NO_LABELS;
  const labels = new Map<string, string>();
  for (const [key, value] of Object.entries(record)) labels.set(key, text(value));
  return labels.size === 0 ? NO_LABELS : labels;
}

/** The checksum holds, so this is what some release wrote; a wrong shape is its mistake. */
function isRest(value: unknown): value is Rest {
  if (typeof value !== 'object' || value === null) return false;
  const { created, version } = value as Partial<Record<keyof Rest, unknown>>;
  return typeof created === 'string' && typeof version === 'number';
}

const isId = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) > 0;

const statuses: ReadonlySet<unknown> = new Set(STATUSES);

function isStatus(value: unknown): value is SnapshotState['status'] {
  return statuses.has(value) && value !== 'absent' && value !== 'removed';
}

function text(value: unknown): string {
  if (typeof value !== 'string') throw malformed('a text is missing');
  return value;
}

const malformed = (what: string): TypeError =>
  new TypeError(`the state of a snapshot in a checkpoint is malformed: ${what}`);
