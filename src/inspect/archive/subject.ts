/**
 * Finds the snapshots that a number or a name refers to, including former names. The caller decides
 * what to do with several matches or none.
 */
import { UsageError } from '../../base/errors.js';
import { parseSnapshotId, type SnapshotId } from '../../base/units.js';
import type { LogRecord } from '../../log/types.js';
import type { ParentLink, SnapshotEvent } from '../../machines/events/events.js';
import { idOfStream, understand } from '../../machines/events/streams.js';
import type { Archive } from './archive.js';
import { bestFit, fitOf, isLongEnough, namesIn } from '../events/event-names.js';

export interface Subject {
  readonly id: SnapshotId;
  /** All its retained records, oldest first; never empty. */
  readonly records: readonly LogRecord[];
}

/**
 * Every snapshot that the text may refer to, oldest first. A number is a snapshot id before it is a
 * name, unless it is long enough to be a prefix of a container id.
 */
export async function subjectsOf(archive: Archive, text: string): Promise<readonly Subject[]> {
  const number = numberIn(text);
  const searches = [
    () => subjectsNamed(archive, text),
    async () => (number === null ? [] : livesOf(archive, [number.id])),
  ];
  if (number?.isFirst === true) searches.reverse();
  for (const search of searches) {
    const subjects = await search();
    if (subjects.length > 0) return subjects;
  }
  return [];
}

/** A prefix of more names, such as `extract-`, identifies no snapshot. */
const PREFIX_MATCHES_MAX = 1000;

/** Fails with UsageError if the text is a prefix of too many names. */
async function subjectsNamed(archive: Archive, text: string): Promise<readonly Subject[]> {
  const ids = await archive.find(text);
  if (ids.length > PREFIX_MATCHES_MAX) {
    const [first] = await livesOf(archive, ids.slice(0, 1));
    const isWhole = bestFit(first?.records.flatMap(namesIn) ?? [], fitOf(text)) === 'whole';
    if (!isWhole) {
      throw new UsageError(
        `${JSON.stringify(text)} matches ${ids.length} snapshots; give a longer prefix`,
      );
    }
  }
  return livesOf(archive, ids);
}

/** The snapshot id that a text may be, and whether it takes precedence over a name. */
export function numberIn(
  text: string,
): { readonly id: SnapshotId; readonly isFirst: boolean } | null {
  const id = parseSnapshotId(text);
  return id === null ? null : { id, isFirst: !isLongEnough(text) };
}

/** The retained records of each snapshot; omits snapshots without any. */
export async function livesOf(
  archive: Archive,
  ids: readonly SnapshotId[],
): Promise<readonly Subject[]> {
  const lives = await archive.historiesOf(ids);
  return ids.flatMap((id) => {
    const records = lives.get(id) ?? [];
    return records.length === 0 ? [] : [{ id, records }];
  });
}

/** Groups records by snapshot; keeps their order. */
export function bySnapshot(
  records: Iterable<LogRecord>,
): ReadonlyMap<SnapshotId, readonly LogRecord[]> {
  const lives = new Map<SnapshotId, LogRecord[]>();
  for (const record of records) {
    const id = idOfStream(record.stream);
    if (id === null) continue;
    const life = lives.get(id);
    if (life === undefined) lives.set(id, [record]);
    else life.push(record);
  }
  return lives;
}

/** The newest name in the records; null if the naming event is retired. */
export function nameIn(records: readonly LogRecord[]): string | null {
  for (const record of records.toReversed()) {
    const event = eventOf(record);
    if (event?.type === 'SnapshotCommitted') return event.data.name;
    if (event?.type === 'SnapshotPreparing') return event.data.key;
  }
  return null;
}

/** Null for daemon events, and for events that this release does not understand. */
export function eventOf(record: LogRecord): SnapshotEvent | null {
  try {
    const understood = understand(record);
    return understood.about === 'snapshot' ? understood.event : null;
  } catch {
    return null;
  }
}

/** The parent in an event; null if it has none. */
export function parentOf(event: SnapshotEvent | null): ParentLink | null {
  return event !== null && 'parent' in event.data ? event.data.parent : null;
}
