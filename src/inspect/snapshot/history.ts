/**
 * The history of one snapshot, from the records of its stream: its names and states, the duration
 * of each step, its parents and children. Does not format it.
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
  /** Time since the previous event; null for the first. Negative if the clock was set back. */
  readonly sincePrevious: bigint | null;
  /** One sentence, without the duration of the step. May contain any character. */
  readonly summary: string;
  /** The step that ended with this event. */
  readonly step: Step | null;
  /** Null if the event has none. */
  readonly caller: Caller | null;
}

export interface Step {
  /** Text before the duration: `mounted in`, `usable again after`. */
  readonly what: string;
  readonly nanos: bigint;
}

export interface Child {
  readonly id: SnapshotId;
  readonly name: string;
  /** When it got this parent. */
  readonly from: Position;
  /** When it was removed or abandoned; null while it exists. */
  readonly until: Position | null;
}

export interface History {
  readonly id: SnapshotId;
  /** Keys and names, oldest first. */
  readonly names: readonly string[];
  /** Kinds that clients saw, in order; empty if it was never visible. */
  readonly kinds: readonly string[];
  /** After the last event; null if it cannot be derived because the first events are retired. */
  readonly status: Status | null;
  /** False if the oldest events are retired. */
  readonly isWhole: boolean;
  /** Nearest first, as they were while it existed. */
  readonly parents: readonly ParentLink[];
  readonly children: readonly Child[];
  readonly rows: readonly HistoryRow[];
}

/** Fails as the archive does. */
export async function historyOf(archive: Archive, subject: Subject): Promise<History> {
  const { id, records } = subject;
  const outline = outlineOf(records);
  return {
    id,
    ...outline,
    parents: await parentsOf(archive, subject),
    children: mayHaveChildren(outline) ? await childrenOf(archive, subject) : [],
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

/** For each event: the events that begin the step it ends, and the text for the step. */
const steps: { readonly [Type in SnapshotEvent['type']]?: StepNames } = {
  IdMappingStarted: { SnapshotPreparing: 'directories made in' },
  SnapshotPrepared: {
    SnapshotPreparing: 'directories made in',
    IdMappingStarted: 'layers mounted with mapped ids in',
  },
  RemoteMountStarted: { SnapshotPreparing: 'directories made in' },
  RemoteMounted: { RemoteMountStarted: 'mounted in' },
  RemoteMountFailed: { RemoteMountStarted: 'the mount failed after' },
  SnapshotCommitFailed: { SnapshotCommitting: 'the commit failed after' },
  LayerAvailable: { LayerUnavailable: 'usable again after' },
  SnapshotCollecting: { SnapshotRemoving: 'collected by Cleanup after' },
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
  const texts = steps[event.type];
  if (texts === undefined) return null;
  // Each attempt to restore a layer is an event. The layer is unavailable since the first one.
  const start =
    event.type === 'LayerAvailable'
      ? firstOfRun(before, 'LayerUnavailable')
      : before.findLast(({ type }) => Object.hasOwn(texts, type));
  if (start === undefined) return null;
  const what = texts[start.type as SnapshotEvent['type']] ?? '';
  return { what, nanos: time - start.time };
}

function commitStep(
  durability: 'data' | 'metadata',
  time: UnixNanos,
  before: readonly LogRecord[],
): Step | null {
  const start = before.findLast(({ type }) => type === 'SnapshotCommitting');
  if (start === undefined) return null;
  const what = durability === 'data' ? 'data measured and made durable in' : 'data measured in';
  return { what, nanos: time - start.time };
}

/** The first event of a type since the last LayerAvailable; ignores events in between. */
function firstOfRun(before: readonly LogRecord[], type: string): LogRecord | undefined {
  const last = before.findLastIndex((record) => record.type === 'LayerAvailable');
  return before.slice(last + 1).find((record) => record.type === type);
}

type Outline = Pick<History, 'names' | 'kinds' | 'status' | 'isWhole'>;

/** Follows the statechart up to the first event that this release does not understand. */
export function outlineOf(records: readonly LogRecord[]): Outline {
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

/** Null if the statechart has no such transition: the events are shown anyway. */
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

/** The parent chain now, or just before the removal. A parent may be set only by Commit. */
async function parentsOf(
  archive: Archive,
  { id, records }: Subject,
): Promise<readonly ParentLink[]> {
  const end = records.findIndex(({ type }) => endings.has(type));
  const last = records[end === -1 ? records.length - 1 : end - 1] ?? records[0];
  if (last === undefined) return [];
  const nearest = lastParentIn(records);
  const chain = await chainByHistories(archive, nearest, last.position);
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

const lastParentIn = (records: readonly LogRecord[]): ParentLink | null =>
  records.flatMap((record) => parentOf(eventOf(record)) ?? []).at(-1) ?? null;

/**
 * The parent chain from the events of each snapshot in it, which is faster than the state of all
 * snapshots. Null if the first events of one of them are retired.
 */
async function chainByHistories(
  archive: Archive,
  nearest: ParentLink | null,
  at: Position,
): Promise<readonly ParentLink[] | null> {
  const chain: ParentLink[] = [];
  for (let link = nearest; link !== null;) {
    chain.push(link);
    const life = await archive.historyOf(link.id, { to: position(at + 1) });
    if (life[0]?.streamVersion !== 0) return null;
    link = lastParentIn(life);
  }
  return chain;
}

const endings: ReadonlySet<string> = new Set(['SnapshotRemoving', 'SnapshotAbandoned']);

/** Parents, nearest first. Parents of a snapshot that is being removed may no longer exist. */
export function chainBelow(forest: Forest, state: SnapshotState): readonly ParentLink[] {
  const chain: ParentLink[] = [];
  let link = state.parent;
  while (link !== null) {
    chain.push(link);
    link = forest.get(link.id)?.parent ?? null;
  }
  return chain;
}

/** Only a committed snapshot can have children. */
const mayHaveChildren = ({ isWhole, kinds, status }: Outline): boolean =>
  !isWhole || status === null || kinds.includes('committed') || kinds.includes('remote');

/** All children it ever had, and for how long. */
async function childrenOf(archive: Archive, { id, records }: Subject): Promise<readonly Child[]> {
  const first = records[0];
  const last = records.at(-1);
  if (first === undefined || last === undefined) return [];
  // Children are removed first, so their events are before the removal of the parent.
  const end = records.find(({ type }) => endings.has(type))?.position;
  const range = end === undefined ? { from: first.position } : { from: first.position, to: end };
  const lives = await archive.historiesOf(await archive.childrenOf(id, range), range);
  return [...lives]
    .flatMap(([child, life]) => childIn(child, life, id) ?? [])
    .sort((one, other) => one.from - other.from);
}

/** Events that set the name, and possibly the parent. */
const namingEvents: ReadonlySet<string> = new Set([
  'SnapshotPreparing',
  'SnapshotCommitting',
  'SnapshotCommitted',
]);

/** Null if it never had this parent. Decodes few events, because there may be hundreds of children. */
function childIn(id: SnapshotId, life: readonly LogRecord[], parent: SnapshotId): Child | null {
  const from = life.find(
    (record) => namingEvents.has(record.type) && parentOf(eventOf(record))?.id === parent,
  )?.position;
  if (from === undefined) return null;
  const since = life.filter((record) => record.position >= from).reverse();
  const until = since.find(({ type }) => endings.has(type))?.position ?? null;
  for (const record of since) {
    const name = namingEvents.has(record.type) ? nameSetBy(eventOf(record)) : null;
    if (name !== null) return { id, name, from, until };
  }
  return { id, name: '', from, until };
}

function nameSetBy(event: SnapshotEvent | null): string | null {
  if (event?.type === 'SnapshotPreparing') return event.data.key;
  if (event?.type === 'SnapshotCommitting') return event.data.name;
  return event?.type === 'SnapshotCommitted' ? event.data.name : null;
}
