/**
 * One snapshot's life, from the records of its stream: what it was called, when it was what, how
 * long each step took, who stood below and above it. Knows nothing of how it is printed.
 */
import { InvariantBroken } from '../../base/assert.js';
import { position, type Position, type SnapshotId, type UnixNanos } from '../../base/units.js';
import type { LogRecord } from '../../log/types.js';
import { metaOf, type Status } from '../../machines/transition-table.js';
import type { Caller, ParentLink, SnapshotEvent } from '../../machines/events/events.js';
import { fold, type SnapshotState } from '../../machines/fold.js';
import type { Forest } from '../../machines/snapshots/forest.js';
import { MomentUnknown, type Archive } from '../archive/archive.js';
import { eventOf, parentOf, type Subject } from '../archive/subject.js';
import { summaryOf } from '../events/summary.js';

export interface HistoryRow {
  readonly record: LogRecord;
  /** Since the event before it; null for the first. Below zero when the clock was set back. */
  readonly sincePrevious: bigint | null;
  /** One sentence, without what the step took. May hold any character. */
  readonly summary: string;
  /** What ended with this event, and how long it took. */
  readonly step: Step | null;
  /** Null where the event has none. */
  readonly caller: Caller | null;
}

export interface Step {
  /** To be followed by the span: `mounted in`, `usable again after`. */
  readonly what: string;
  readonly nanos: bigint;
}

export interface Child {
  readonly id: SnapshotId;
  readonly name: string;
  /** When it came to stand on this one. */
  readonly from: Position;
  /** When it was removed or given up; null while it stands. */
  readonly until: Position | null;
}

export interface History {
  readonly id: SnapshotId;
  /** Keys and names, oldest first. */
  readonly names: readonly string[];
  /** What clients were shown it as, in order; empty when they never saw it. */
  readonly kinds: readonly string[];
  /** After the last event; null when the beginning is retired and the rest does not tell. */
  readonly status: Status | null;
  /** False when the oldest events are retired. */
  readonly isWhole: boolean;
  /** Nearest first, as they were while it stood. */
  readonly parents: readonly ParentLink[];
  readonly children: readonly Child[];
  readonly rows: readonly HistoryRow[];
}

/** Fails as the archive does. */
export async function historyOf(archive: Archive, subject: Subject): Promise<History> {
  const { id, records } = subject;
  const course = courseOf(records);
  return {
    id,
    ...course,
    parents: await parentsOf(archive, subject),
    children: mayHaveChildren(course) ? await childrenOf(archive, subject) : [],
    rows: historyRows(records),
  };
}

export function historyRows(records: readonly LogRecord[]): readonly HistoryRow[] {
  return records.map((record, index) => {
    const previous = records[index - 1];
    const event = eventOf(record);
    return {
      record,
      sincePrevious: previous === undefined ? null : record.time - previous.time,
      summary: summaryOf(record),
      step: event === null ? null : stepEndedBy(event, record.time, records.slice(0, index)),
      caller: event !== null && 'caller' in event.data ? event.data.caller : null,
    };
  });
}

type StepNames = { readonly [Type in SnapshotEvent['type']]?: string };

/** For each event: from which newest event before it something ran, and what that was. */
const steps: { readonly [Type in SnapshotEvent['type']]?: StepNames } = {
  IdMappingStarted: { SnapshotPreparing: 'directories made in' },
  SnapshotPrepared: {
    SnapshotPreparing: 'directories made in',
    IdMappingStarted: 'layers mounted with mapped ids in',
  },
  RemoteMountStarted: { SnapshotPreparing: 'directories made in' },
  RemoteMounted: { RemoteMountStarted: 'mounted in' },
  RemoteMountFailed: { RemoteMountStarted: 'the mount was given up after' },
  SnapshotCommitFailed: { SnapshotCommitting: 'the commit was given up after' },
  LayerAvailable: { LayerUnavailable: 'usable again after' },
  SnapshotCollecting: { SnapshotRemoving: 'taken up by Cleanup after' },
  SnapshotRemoved: {
    SnapshotRemoving: 'directories removed in',
    SnapshotCollecting: 'directories removed in',
    SnapshotAbandoned: 'directories removed in',
  },
};

function stepEndedBy(
  event: SnapshotEvent,
  time: UnixNanos,
  before: readonly LogRecord[],
): Step | null {
  if (event.type === 'SnapshotCommitted') return commitStep(event.data.durability, time, before);
  const begins = steps[event.type];
  if (begins === undefined) return null;
  // Of a layer that is unavailable for long, each try is an event: it was so since the first.
  const begun =
    event.type === 'LayerAvailable'
      ? firstOfRun(before, 'LayerUnavailable')
      : before.findLast(({ type }) => Object.hasOwn(begins, type));
  if (begun === undefined) return null;
  const what = begins[begun.type as SnapshotEvent['type']] ?? '';
  return { what, nanos: time - begun.time };
}

function commitStep(
  durability: 'data' | 'metadata',
  time: UnixNanos,
  before: readonly LogRecord[],
): Step | null {
  const begun = before.findLast(({ type }) => type === 'SnapshotCommitting');
  if (begun === undefined) return null;
  const what = durability === 'data' ? 'data measured and made durable in' : 'data measured in';
  return { what, nanos: time - begun.time };
}

/** The first of the events of a type at the end; others between them, such as labels, do not end it. */
function firstOfRun(before: readonly LogRecord[], type: string): LogRecord | undefined {
  const last = before.findLastIndex((record) => record.type === 'LayerAvailable');
  return before.slice(last + 1).find((record) => record.type === type);
}

type Course = Pick<History, 'names' | 'kinds' | 'status' | 'isWhole'>;

/** Follows the statechart; stops following at what this release does not understand. */
export function courseOf(records: readonly LogRecord[]): Course {
  const names: string[] = [];
  const kinds: string[] = [];
  let state: SnapshotState | null = null;
  const isWhole = records[0]?.streamVersion === 0;
  let isFollowed = isWhole;
  for (const record of records) {
    const event = eventOf(record);
    if (event?.type === 'SnapshotPreparing') names.push(event.data.key);
    if (event?.type === 'SnapshotCommitted') names.push(event.data.name);
    if (event === null) isFollowed = false;
    if (event === null || !isFollowed) continue;
    state = foldedOrNull(state, event, record);
    isFollowed = state !== null;
    if (state === null) continue;
    const kind = shownKind(state);
    if (kind !== null && kind !== kinds.at(-1)) kinds.push(kind);
  }
  return { names, kinds, status: isFollowed ? (state?.status ?? null) : null, isWhole };
}

/** Null when the statechart has no such step: the events are told all the same. */
function foldedOrNull(
  state: SnapshotState | null,
  event: SnapshotEvent,
  { time, streamVersion }: LogRecord,
): SnapshotState | null {
  try {
    return fold(state, { event, time, streamVersion });
  } catch (thrown) {
    if (thrown instanceof InvariantBroken) return null;
    throw thrown;
  }
}

function shownKind({ status, remote }: SnapshotState): string | null {
  const { shownAs } = metaOf(status);
  return shownAs === 'committed' && remote !== null ? 'remote' : shownAs;
}

/** The chain below, as it was just before the end, or is now: a parent may come with Commit only. */
async function parentsOf(
  archive: Archive,
  { id, records }: Subject,
): Promise<readonly ParentLink[]> {
  const end = records.findIndex(({ type }) => endings.has(type));
  const last = records[end === -1 ? records.length - 1 : end - 1] ?? records[0];
  if (last === undefined) return [];
  const nearest = parentGivenBy(records);
  const chain = await chainByLives(archive, nearest, last.position);
  if (chain !== null) return chain;
  try {
    const { forest } = await archive.stateAt(position(last.position + 1));
    const state = forest.get(id);
    if (state !== undefined) return chainBelow(forest, state);
  } catch (thrown) {
    if (!(thrown instanceof MomentUnknown)) throw thrown;
  }
  return nearest === null ? [] : [nearest];
}

const parentGivenBy = (records: readonly LogRecord[]): ParentLink | null =>
  records.flatMap((record) => parentOf(eventOf(record)) ?? []).at(-1) ?? null;

/**
 * The chain by what each one's own events say of its parent: a few lives are found faster than the
 * state of all snapshots. Null where a life is not kept from its beginning.
 */
async function chainByLives(
  archive: Archive,
  nearest: ParentLink | null,
  at: Position,
): Promise<readonly ParentLink[] | null> {
  const chain: ParentLink[] = [];
  for (let link = nearest; link !== null;) {
    chain.push(link);
    const life = await archive.historyOf(link.id, { to: position(at + 1) });
    if (life[0]?.streamVersion !== 0) return null;
    link = parentGivenBy(life);
  }
  return chain;
}

const endings: ReadonlySet<string> = new Set(['SnapshotRemoving', 'SnapshotAbandoned']);

/** Parents, nearest first, as far as they are there: those of what is being removed may be gone. */
export function chainBelow(forest: Forest, state: SnapshotState): readonly ParentLink[] {
  const chain: ParentLink[] = [];
  let link = state.parent;
  while (link !== null) {
    chain.push(link);
    link = forest.get(link.id)?.parent ?? null;
  }
  return chain;
}

/** Only what is committed can be stood on: a container's own snapshot never had children. */
const mayHaveChildren = ({ isWhole, kinds, status }: Course): boolean =>
  !isWhole || status === null || kinds.includes('committed') || kinds.includes('remote');

/** Those who ever stood on it, and how long. */
async function childrenOf(archive: Archive, { id, records }: Subject): Promise<readonly Child[]> {
  const first = records[0];
  const last = records.at(-1);
  if (first === undefined || last === undefined) return [];
  // A snapshot is removed after its children: nothing of theirs is beyond its own removal.
  const end = records.find(({ type }) => endings.has(type))?.position;
  const range = end === undefined ? { from: first.position } : { from: first.position, to: end };
  const lives = await archive.historiesOf(await archive.childrenOf(id, range), range);
  return [...lives]
    .flatMap(([child, life]) => childIn(child, life, id) ?? [])
    .sort((one, other) => one.from - other.from);
}

/** They give a name, and may give a parent. */
const namings: ReadonlySet<string> = new Set([
  'SnapshotPreparing',
  'SnapshotCommitting',
  'SnapshotCommitted',
]);

/** Null for who never stood on it. Few of the events are decoded: there may be hundreds of lives. */
function childIn(id: SnapshotId, life: readonly LogRecord[], parent: SnapshotId): Child | null {
  const from = life.find(
    (record) => namings.has(record.type) && parentOf(eventOf(record))?.id === parent,
  )?.position;
  if (from === undefined) return null;
  const since = life.filter((record) => record.position >= from).reverse();
  const until = since.find(({ type }) => endings.has(type))?.position ?? null;
  for (const record of since) {
    const name = namings.has(record.type) ? nameGivenBy(eventOf(record)) : null;
    if (name !== null) return { id, name, from, until };
  }
  return { id, name: '', from, until };
}

function nameGivenBy(event: SnapshotEvent | null): string | null {
  if (event?.type === 'SnapshotPreparing') return event.data.key;
  if (event?.type === 'SnapshotCommitting') return event.data.name;
  return event?.type === 'SnapshotCommitted' ? event.data.name : null;
}
