/** Which events somebody wishes to see, by whose they are, who asked and when. */
import type { SnapshotId } from '../../base/units.js';
import type { LogRecord } from '../../log/types.js';
import type { Caller } from '../../machines/events/events.js';
import { idOfStream } from '../../machines/events/streams.js';
import { MomentUnknown, type Archive } from './archive.js';
import { bestFit, fitOf, namespaceIn, textsOf, type Fit } from '../events/event-names.js';
import { eventOf } from './subject.js';
import type { TimeRange } from './time-range.js';

/** Who asked, as far as it matters; at least one is given. */
export type CallerFilter = Partial<Pick<Caller, 'pid' | 'uid' | 'namespace' | 'lease'>>;

export interface LogFilter {
  readonly types: ReadonlySet<string> | null;
  readonly stream: string | null;
  /** Any name the snapshot ever bore; where none has it as a whole, the beginning of one. */
  readonly key: string | null;
  /** Of a key the snapshot ever bore. */
  readonly namespace: string | null;
  readonly caller: CallerFilter | null;
  readonly isInTime: TimeRange['holds'];
}

export type WantedCheck = (record: LogRecord) => boolean;

/**
 * The check for records in any order. What a snapshot is called stands in few of its events, so a
 * wish by name reads the log once beforehand; names that come later are learnt as they pass.
 */
export async function checkOf(archive: Archive, filter: LogFilter): Promise<WantedCheck> {
  const isOfThese = await snapshotCheck(archive, filter);
  return (record) =>
    (filter.types === null || filter.types.has(record.type)) &&
    (filter.stream === null || record.stream === filter.stream) &&
    filter.isInTime(record) &&
    isOfThese(record) &&
    (filter.caller === null || isBy(record, filter.caller));
}

async function snapshotCheck(archive: Archive, filter: LogFilter): Promise<WantedCheck> {
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
  if (id !== null) learn(id, textsOf(record));
}

/** What stood when the first record that is kept was written was named before it. */
async function learnRetired(archive: Archive, learn: Learn): Promise<void> {
  const { first } = await archive.bounds();
  if (first === 0) return;
  try {
    const { forest } = await archive.stateAt(first);
    for (const { id, name, target } of forest.values()) {
      learn(id, target === null ? [name] : [name, target]);
    }
  } catch (thrown) {
    if (!(thrown instanceof MomentUnknown)) throw thrown;
  }
}

function isBy(record: LogRecord, query: CallerFilter): boolean {
  const event = eventOf(record);
  if (event === null || !('caller' in event.data)) return false;
  const { caller } = event.data;
  return (
    (query.pid === undefined || caller.pid === query.pid) &&
    (query.uid === undefined || caller.uid === query.uid) &&
    (query.namespace === undefined || caller.namespace === query.namespace) &&
    (query.lease === undefined || caller.lease === query.lease)
  );
}
