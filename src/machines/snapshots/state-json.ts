/**
 * A snapshot's state as one JSON line of a checkpoint, and back. A checkpoint is only a shortcut:
 * when its shape changes, CHECKPOINT_SCHEMA rises and older ones are passed over in favour of
 * the log, so no upcasters are needed here.
 *
 * The line is an array that begins with what the indexes need and what List tells, in a fixed
 * order, so that neither need parse it (packed-states.ts, packed-info.ts).
 */
import * as z from 'zod';
import {
  snapshotId,
  snapshotName,
  streamVersion,
  unixNanos,
  type Labels,
  type SnapshotId,
} from '../../base/units.js';
import { STATUSES } from '../transition-table.js';
import { idSchema, type ParentLink, type RemoteQuestion } from '../events/events.js';
import { ownerFact, ROOT_OWNER, type Removal } from '../facts.js';
import type { SnapshotState } from '../fold.js';
import type { IdMapping } from '../id-mapping.js';
import { NO_LABELS, TARGET_LABEL } from '../labels.js';
import { sharedMaker } from '../client-identity.js';
import { SET_ASIDE_KINDS, type SetAside } from '../set-aside.js';

/** Of the head and of the lines. */
export const CHECKPOINT_SCHEMA = 4;

const headSchema = z.object({
  schema: z.literal(CHECKPOINT_SCHEMA),
  nextId: z.number().int().positive().transform(snapshotId),
  daemonStreamVersion: z.number().int().nonnegative(),
  preallocated: z.array(idSchema),
  setAside: z.array(z.tuple([z.string(), z.enum(SET_ASIDE_KINDS), z.string()])).default([]),
  released: z.array(z.string()).default([]),
  checkedTo: z.number().int().nonnegative().default(0),
});

/** The first line of a checkpoint: what is not any one snapshot's. */
export interface CheckpointHead {
  readonly nextId: SnapshotId;
  readonly daemonStreamVersion: number;
  /** Ids whose directories are preallocated for future snapshots. */
  readonly preallocated: readonly SnapshotId[];
  /** `Forest.setAside`: name, why, evidence. */
  readonly setAside: readonly (readonly [string, SetAside['because'], string])[];
  /** `Forest.released`. */
  readonly released: readonly string[];
  /** `Forest.checkedTo`. */
  readonly checkedTo: number;
}

/** What a forest knows of it. */
interface HeadOfForest {
  readonly nextId: SnapshotId;
  readonly preallocated: ReadonlySet<SnapshotId>;
  readonly setAside: ReadonlyMap<string, SetAside>;
  readonly released: ReadonlySet<string>;
  readonly checkedTo: number;
}

export function headOf(forest: HeadOfForest, daemonStreamVersion: number): CheckpointHead {
  const { nextId, checkedTo } = forest;
  const setAside = [...forest.setAside].map(
    ([name, { because, evidence }]) => [name, because, evidence] as const,
  );
  const [preallocated, released] = [[...forest.preallocated], [...forest.released]];
  return { nextId, preallocated, setAside, released, daemonStreamVersion, checkedTo };
}

export function encodeHead(head: CheckpointHead): string {
  const { nextId, preallocated, setAside, released, daemonStreamVersion, checkedTo } = head;
  return JSON.stringify({
    ...{ schema: CHECKPOINT_SCHEMA, nextId, preallocated, daemonStreamVersion },
    // Most logs have none of these.
    ...(setAside.length > 0 && { setAside }),
    ...(released.length > 0 && { released }),
    ...(checkedTo > 0 && { checkedTo }),
  });
}

/** Throws ZodError or SyntaxError. */
export function decodeHead(line: string): CheckpointHead {
  return headSchema.parse(JSON.parse(line));
}

/** What a snapshot at rest does not have is left out. */
interface Rest {
  readonly view?: true;
  readonly maker?: readonly [pid: number, startedAt: string | null, program: string | null];
  readonly question?: RemoteQuestion;
  readonly fileSystem?: string;
  readonly mountLabels?: Readonly<Record<string, string>>;
  readonly commit?: {
    readonly name: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly parent: ParentLink | null;
  };
  readonly usage?: readonly [size: number, inodes: number];
  /** Of what is committed; without it 0:0. */
  readonly owner?: readonly [uid: number, gid: number];
  readonly chownedCopy?: true;
  readonly unavailability?: SnapshotState['unavailability'];
  /** Why, then of the newest failure: path, code, reason, since when. */
  readonly removal?: readonly [Removal['because'], ...(readonly string[])];
  readonly version: number;
  /** The last one: such a state is recognized by its end (packed-states.ts). */
  readonly idMapping?: IdMapping;
}

/**
 * `[id, status, parent's id or 0, name, target label or null, remote ref or null, parent's name
 * or null, when created, when updated or null for the same, labels, the rest]`, without blanks.
 */
export function encodeState(state: SnapshotState): string {
  const { parent, remote, commit, usage, maker, owner, idMapping } = state;
  const rest: Rest = {
    ...(state.preparedAs === 'view' && { view: true }),
    ...(maker && { maker: [maker.pid, maker.startedAt, maker.program] }),
    ...(state.question && { question: state.question }),
    ...(remote && {
      fileSystem: remote.fileSystem,
      mountLabels: Object.fromEntries(remote.mountLabels),
    }),
    ...(commit && { commit: { ...commit, labels: Object.fromEntries(commit.labels) } }),
    ...(usage && { usage: [usage.size, usage.inodes] }),
    ...(owner !== null && owner !== ROOT_OWNER && { owner: [owner.uid, owner.gid] }),
    ...(state.isChownedCopy && { chownedCopy: true }),
    ...(state.unavailability && { unavailability: state.unavailability }),
    ...(state.removal && { removal: encodeRemoval(state.removal) }),
    version: state.streamVersion,
    ...(idMapping && { idMapping }),
  };
  return JSON.stringify([
    state.id,
    state.status,
    parent?.id ?? 0,
    state.name,
    state.labels.get(TARGET_LABEL) ?? null,
    remote?.ref ?? null,
    parent?.name ?? null,
    state.createdAt.toString(),
    state.updatedAt === state.createdAt ? null : state.updatedAt.toString(),
    Object.fromEntries(state.labels),
    rest,
  ]);
}

/** Throws SyntaxError or TypeError. */
export function decodeState(line: string): SnapshotState {
  const fields: unknown = JSON.parse(line);
  if (!Array.isArray(fields) || fields.length !== 11) throw malformed('it is no list of eleven');
  const [id, status, parentId, name, , ref, parentName, created, updated, labels, rest] =
    fields as readonly unknown[];
  if (!isId(id)) throw malformed('its id is not a number above 0');
  if (!isStatus(status)) throw malformed('its status is unknown');
  if (parentId !== 0 && !isId(parentId)) throw malformed('its parent is not a number');
  if (!isRest(rest)) throw malformed('what is left of it');
  const createdAt = unixNanos(BigInt(text(created)));
  return {
    id: snapshotId(id),
    preparedAs: rest.view === true ? 'view' : 'active',
    name: snapshotName(text(name)),
    parent:
      parentId === 0 ? null : { id: snapshotId(parentId), name: snapshotName(text(parentName)) },
    labels: labelsOf(labels),
    maker: rest.maker === undefined ? null : makerIn(rest.maker),
    question: rest.question ?? null,
    idMapping: rest.idMapping ?? null,
    remote: ref === null ? null : remoteOf(text(ref), rest),
    commit: rest.commit === undefined ? null : commitOf(rest.commit),
    usage: rest.usage === undefined ? null : { size: rest.usage[0], inodes: rest.usage[1] },
    owner: ownerOf(rest),
    isChownedCopy: rest.chownedCopy === true,
    unavailability: rest.unavailability ?? null,
    removal: rest.removal === undefined ? null : removalOf(rest.removal),
    createdAt,
    updatedAt: updated === null ? createdAt : unixNanos(BigInt(text(updated))),
    streamVersion: streamVersion(rest.version),
    status,
  };
}

function remoteOf(ref: string, { fileSystem, mountLabels }: Rest): SnapshotState['remote'] {
  return { ref, fileSystem: text(fileSystem), mountLabels: labelsOf(mountLabels ?? {}) };
}

function encodeRemoval({ because, failure }: Removal): NonNullable<Rest['removal']> {
  if (failure === null) return [because];
  return [because, failure.path, failure.code, failure.reason, failure.since.toString()];
}

function removalOf([because, path, ...more]: NonNullable<Rest['removal']>): Removal {
  if (path === undefined) return { because, failure: null };
  const [code, reason, since] = more.map(text);
  return {
    because,
    failure: {
      path,
      code: text(code),
      reason: text(reason),
      since: unixNanos(BigInt(text(since))),
    },
  };
}

function makerIn([pid, startedAt, program]: NonNullable<Rest['maker']>): SnapshotState['maker'] {
  return sharedMaker(pid, startedAt, program);
}

function ownerOf({ owner, usage }: Rest): SnapshotState['owner'] {
  if (owner !== undefined) return ownerFact({ uid: owner[0], gid: owner[1] });
  // Both are measured by a commit.
  return usage === undefined ? null : ROOT_OWNER;
}

function commitOf(commit: NonNullable<Rest['commit']>): SnapshotState['commit'] {
  const { name, labels, parent } = commit;
  return { name: snapshotName(text(name)), labels: labelsOf(labels), parent };
}

function labelsOf(record: unknown): Labels {
  if (typeof record !== 'object' || record === null) throw malformed('its labels are missing');
  const labels = new Map<string, string>();
  for (const [key, value] of Object.entries(record)) labels.set(key, text(value));
  return labels.size === 0 ? NO_LABELS : labels;
}

/** The checksum holds, so this is what some release wrote; a wrong shape is its mistake. */
function isRest(value: unknown): value is Rest {
  if (typeof value !== 'object' || value === null) return false;
  return typeof (value as Partial<Record<keyof Rest, unknown>>).version === 'number';
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
