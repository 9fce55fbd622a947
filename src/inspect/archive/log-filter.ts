/** Filters events by type, stream, name, caller and time. */
import type { SnapshotId } from '../../base/units.js';
import type { LogRecord } from '../../log/types.js';
import type { Caller } from '../../machines/events/events.js';
import { idOfStream } from '../../machines/events/streams.js';
import { MomentUnknown, type Archive } from './archive.js';
import { bestFit, fitOf, namespaceIn, namesIn, type Fit } from '../events/event-names.js';
import { eventOf } from './subject.js';
import type { TimeRange } from './time-range.js';

/** Fields of the caller to match; at least one is set. */
export type CallerFilter = Partial<Pick<Caller, 'pid' | 'uid' | 'namespace' | 'lease'>>;

export interface LogFilter {
  readonly types: ReadonlySet<string> | null;
  readonly stream: string | null;
  /** Any name that the snapshot ever had; if no name matches whole, a prefix of one. */
  readonly key: string | null;
  /** Namespace of any key that the snapshot ever had. */
  readonly namespace: string | null;
  readonly caller: CallerFilter | null;
  readonly isInTime: TimeRange['holds'];
}

export type RecordFilter = (record: LogRecord) => boolean;

/**
 * Returns a filter for records in any order. Only few events have the name of their snapshot, so a
 * filter by name reads the log once in advance. It learns later names from the filtered records.
 */
export async function recordFilter(archive: Archive, filter: LogFilter): Promise<RecordFilter> {
  const isOfSnapshot = await snapshotFilter(archive, filter);
  return (record) =>
    (filter.types === null || filter.types.has(record.type)) &&
    (filter.stream === null || record.stream === filter.stream) &&
    filter.isInTime(record) &&
    isOfSnapshot(record) &&
    (filter.caller === null || isBy(record, filter.caller));
}

async function snapshotFilter(archive: Archive, filter: LogFilter): Promise<RecordFilter> {
  if (filter.key === null && filter.namespace === null) return () => true;
  const fit = filter.key === null ? (): Fit => 'whole' : fitOf(filter.key);
  const isInNamespace = (text: string): boolean =>
    filter.namespace === null || namespaceIn(text) === filter.namespace;
  const byKey = { whole: new Set<SnapshotId>(), prefix: new Set<SnapshotId>() };
  const byNamespace = new Set<SnapshotId>();
  const learn = (id: SnapshotId, texts: readonly string[]): void => {
    const fits = bestFit(texts, fit);
    if (fits !== null) byKey[fits].add(id);
    if (texts.some(isInNamespace)) byNamespace.add(id);
  };
  await learnRetired(archive, learn);
  for await (const batch of archive.read()) {
    for (const record of batch) learnFrom(record, learn);
  }
  return (record) => {
    learnFrom(record, learn);
    const id = idOfStream(record.stream);
    const { whole, prefix } = byKey;
    const isKey = whole.size > 0 ? whole : prefix;
    return id !== null && isKey.has(id) && byNamespace.has(id);
  };
}

type Learn = (id: SnapshotId, texts: readonly string[]) => void;

function learnFrom(record: LogRecord, learn: Learn): void {
  const id = idOfStream(record.stream);
  if (id !== null) learn(id, namesIn(record));
}

/** Learns the names of snapshots that existed before the first retained record. */
async function learnRetired(archive: Archive, learn: Learn): Promise<void> {
  const { first } = await archive.bounds();
  if (first === 0) return;
  try {
    const { forest } = await archive.stateAt(first);
    for (const { id, name, question } of forest.values()) {
      learn(id, question === null ? [name] : [name, question.ref]);
    }
  } catch (thrown) {
    if (!(thrown instanceof MomentUnknown)) throw thrown;
  }
}

function isBy(record: LogRecord, filter: CallerFilter): boolean {
  const event = eventOf(record);
  if (event === null || !('caller' in event.data)) return false;
  const { caller } = event.data;
  return (
    (filter.pid === undefined || caller.pid === filter.pid) &&
    (filter.uid === undefined || caller.uid === filter.uid) &&
    (filter.namespace === undefined || caller.namespace === filter.namespace) &&
    (filter.lease === undefined || caller.lease === filter.lease)
  );
}
