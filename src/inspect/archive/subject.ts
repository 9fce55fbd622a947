/**
 * Which snapshot a person means: by its number, or by any name it ever bore. What to do when the
 * word fits several, or none, is left to those who asked.
 */
import { UsageError } from '../../base/errors.js';
import { parseSnapshotId, type SnapshotId } from '../../base/units.js';
import type { LogRecord } from '../../log/types.js';
import type { ParentLink, SnapshotEvent } from '../../machines/events/events.js';
import { idOfStream, understand } from '../../machines/events/streams.js';
import type { Archive } from './archive.js';
import { bestFit, fitOf, isLongEnough, textsOf } from '../events/event-names.js';

export interface Subject {
  readonly id: SnapshotId;
  /** All that is kept of its life, oldest first; never empty. */
  readonly records: readonly LogRecord[];
}

/**
 * Every snapshot that the text may mean, oldest first. A number is a snapshot's number before it is
 * a name; one that is as long as the beginning of a container's id is that first.
 */
export async function subjectsOf(archive: Archive, text: string): Promise<readonly Subject[]> {
  const number = numberIn(text);
  const looks = [
    () => livesCalled(archive, text),
    async () => (number === null ? [] : livesOf(archive, [number.id])),
  ];
  if (number?.isFirst === true) looks.reverse();
  for (const look of looks) {
    const subjects = await look();
    if (subjects.length > 0) return subjects;
  }
  return [];
}

/** Names that begin alike, as those of all unpacked layers do, are no name of one. */
const BEGINNINGS_MAX = 1000;

/** @throws UsageError when it is the beginning of more names than anybody can mean */
async function livesCalled(archive: Archive, text: string): Promise<readonly Subject[]> {
  const ids = await archive.find(text);
  if (ids.length > BEGINNINGS_MAX) {
    const [first] = await livesOf(archive, ids.slice(0, 1));
    const isWhole = bestFit(first?.records.flatMap(textsOf) ?? [], fitOf(text)) === 'whole';
    if (!isWhole) {
      throw new UsageError(
        `${JSON.stringify(text)} begins the names of ${ids.length} snapshots; write more of it`,
      );
    }
  }
  return livesOf(archive, ids);
}

/** The number that a text may be, and whether it is one before it is a name. */
export function numberIn(
  text: string,
): { readonly id: SnapshotId; readonly isFirst: boolean } | null {
  const id = parseSnapshotId(text);
  return id === null ? null : { id, isFirst: !isLongEnough(text) };
}

/** What is kept of each; those of which nothing is kept are left out. */
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

/** Records by whose they are, each in the order that they come in. */
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

/** The newest name that the records give their snapshot; null when its naming is retired. */
export function nameIn(records: readonly LogRecord[]): string | null {
  for (const record of records.toReversed()) {
    const event = eventOf(record);
    if (event?.type === 'SnapshotCommitted') return event.data.name;
    if (event?.type === 'SnapshotPreparing') return event.data.key;
  }
  return null;
}

/** Null for what is no snapshot's, or not understood by this release: looking must not fail at it. */
export function eventOf(record: LogRecord): SnapshotEvent | null {
  try {
    const understood = understand(record);
    return understood.about === 'snapshot' ? understood.event : null;
  } catch {
    return null;
  }
}

/** The parent that an event gives its snapshot; null where it says nothing of one, or that there is none. */
export function parentOf(event: SnapshotEvent | null): ParentLink | null {
  return event !== null && 'parent' in event.data ? event.data.parent : null;
}
