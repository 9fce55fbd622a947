/** The names, keys and chain IDs in an event, and how they match a text. */
import type { SnapshotEvent } from '../../machines/events/events.js';
import type { RecordLike } from '../../machines/events/streams.js';
import { TARGET_LABEL } from '../../machines/labels.js';

/** How a text matches a name: exactly, or as a prefix. */
export type Fit = 'whole' | 'prefix';

/**
 * The shortest prefix that finds a snapshot. `docker ps` and `nerdctl ps` print 12 characters of an
 * id, `crictl ps` 13, and our own tables 12 digits of a digest.
 */
export const PREFIX_MIN = 8;

/** How the names in an event match a text. */
export function fitOfRecord(record: RecordLike, text: string): Fit | null {
  return bestFit(namesIn(record), fitOf(text));
}

/** The best match of several names. */
export function bestFit(names: Iterable<string>, fit: (name: string) => Fit | null): Fit | null {
  let best: Fit | null = null;
  for (const name of names) {
    const found = fit(name);
    if (found === 'whole') return found;
    best ??= found;
  }
  return best;
}

/**
 * Returns a matcher for single names. A text matches whole also without containerd's prefix and
 * without the algorithm of a digest. A text of at least `PREFIX_MIN` characters matches as a prefix
 * of any of these forms, or of the part after the last slash.
 */
export function fitOf(text: string): (name: string) => Fit | null {
  const mayBePrefix = isLongEnough(text);
  const hasSequence = withoutSequence(text) !== text;
  return (name) => {
    const key = withoutSequence(name);
    const bare = withoutAlgorithm(key);
    if (text === name || text === key || text === bare) return 'whole';
    if (!mayBePrefix) return null;
    if (hasSequence) return name.startsWith(text) ? 'prefix' : null;
    const last = lastComponent(key);
    const begins = [key, bare, last, withoutAlgorithm(last)].some((part) => part.startsWith(text));
    return begins ? 'prefix' : null;
  };
}

/** Whether the text is long enough for a prefix search. */
export const isLongEnough = (text: string): boolean => bareName(text).length >= PREFIX_MIN;

/** The name without containerd's prefix and without the algorithm of a digest. */
export const bareName = (name: string): string => withoutAlgorithm(withoutSequence(name));

const withoutAlgorithm = (key: string): string => key.replace(/^sha(256|384|512):/, '');

const lastComponent = (key: string): string => key.slice(key.lastIndexOf('/') + 1);

/** All texts that match a name whole. */
export function wholeForms(name: string): ReadonlySet<string> {
  return new Set([name, withoutSequence(name), bareName(name)]);
}

/** All texts whose prefixes match a name. */
export function prefixForms(name: string): ReadonlySet<string> {
  return new Set([bareName(name), withoutAlgorithm(lastComponent(name))]);
}

/** The key without the `<namespace>/<number>/` that containerd's metadata store adds (createKey). */
export function withoutSequence(name: string): string {
  return /^[^/]+\/\d+\/(.+)$/s.exec(name)?.[1] ?? name;
}

/** The namespace in a key from containerd's metadata store; null in any other key. */
export function namespaceIn(name: string): string | null {
  return /^([^/]+)\/\d+\/./s.exec(name)?.[1] ?? null;
}

/** Types of events that give their snapshot a name. */
export const NAMING_EVENTS: ReadonlySet<string> = new Set<SnapshotEvent['type']>([
  'SnapshotPreparing',
  'SnapshotCommitting',
  'SnapshotCommitted',
  'SnapshotSalvaged',
  'LabelsUpdated',
]);

/**
 * The keys, names and chain IDs that an event gives its snapshot. Reads the body without validation:
 * it runs for every event of a log, and a malformed event must be found by its name, too.
 */
export function namesIn({ type, data }: Pick<RecordLike, 'type' | 'data'>): readonly string[] {
  if (!NAMING_EVENTS.has(type)) return [];
  const { key, name, remote, labels } = fieldsOf(data);
  const found = [key, name, fieldsOf(remote)['ref'], fieldsOf(labels)[TARGET_LABEL]];
  return found.filter((text) => typeof text === 'string');
}

type Fields = Readonly<Record<string, unknown>>;

const isFields = (value: unknown): value is Fields => typeof value === 'object' && value !== null;

export const fieldsOf = (value: unknown): Fields => (isFields(value) ? value : {});
