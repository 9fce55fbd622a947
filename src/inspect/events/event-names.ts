/** Which names, keys and chain ids an event gives its snapshot, and how they fit a text. */
import { assertNever } from '../../base/assert.js';
import type { RecordLike } from '../../machines/events/streams.js';
import { understand } from '../../machines/events/streams.js';
import { TARGET_LABEL } from '../../machines/labels.js';
import type { Labels } from '../../base/units.js';

/** How a text names a snapshot: by a name as a whole, or by how it begins. */
export type Fit = 'whole' | 'prefix';

/**
 * The shortest beginning that finds a snapshot. `docker ps` and `nerdctl ps` print 12 characters of
 * an id, `crictl ps` 13, and our own tables 12 digits of a digest.
 */
export const PREFIX_MIN = 8;

/**
 * How an event's names fit a text. Events that this release does not understand have none: looking
 * must not fail at them.
 */
export function fitOfRecord(record: RecordLike, text: string): Fit | null {
  return bestFit(textsOf(record), fitOf(text));
}

/** The best fit of several names. */
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
 * The same question about one name, for those who ask it of many. Whole is also a name without
 * containerd's prefix, and a digest without its algorithm. A beginning, from `PREFIX_MIN`
 * characters on, is one of any of these, or of what is after the last slash.
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

/** Whether snapshots can be found by names that begin with the text. */
export const isLongEnough = (text: string): boolean => bareName(text).length >= PREFIX_MIN;

/** Without containerd's prefix, and without the algorithm of a digest. */
export const bareName = (name: string): string => withoutAlgorithm(withoutSequence(name));

const withoutAlgorithm = (key: string): string => key.replace(/^sha(256|384|512):/, '');

const lastComponent = (key: string): string => key.slice(key.lastIndexOf('/') + 1);

/** All that a name may be found by, as a whole. */
export function wholeForms(name: string): ReadonlySet<string> {
  return new Set([name, withoutSequence(name), bareName(name)]);
}

/** All whose beginnings a name may be found by. */
export function prefixForms(name: string): ReadonlySet<string> {
  return new Set([bareName(name), withoutAlgorithm(lastComponent(name))]);
}

/** containerd's metadata store makes `<namespace>/<number>/<key>` of each key (createKey). */
export function withoutSequence(name: string): string {
  return /^[^/]+\/\d+\/(.+)$/s.exec(name)?.[1] ?? name;
}

/** The namespace in a key that containerd's metadata store has made; null in any other. */
export function namespaceIn(name: string): string | null {
  return /^([^/]+)\/\d+\/./s.exec(name)?.[1] ?? null;
}

/** Keys, names and chain ids that an event gives its snapshot. */
export function textsOf(record: RecordLike): readonly string[] {
  try {
    const understood = understand(record);
    if (understood.about !== 'snapshot') return [];
    const { event } = understood;
    switch (event.type) {
      case 'SnapshotPreparing': {
        const { key, target, labels } = event.data;
        return [key, ...(target === null ? [] : [target]), ...targetIn(labels)];
      }
      case 'SnapshotCommitted':
      case 'SnapshotSalvaged':
      case 'SnapshotCommitting':
        return [event.data.name, ...targetIn(event.data.labels)];
      case 'RemoteMountStarted':
        return [event.data.ref];
      case 'LabelsUpdated':
        return targetIn(event.data.labels);
      case 'IdMappingStarted':
      case 'SnapshotPrepared':
      case 'RemoteMounted':
      case 'RemoteMountFailed':
      case 'SnapshotCommitFailed':
      case 'LayerUnavailable':
      case 'LayerAvailable':
      case 'SnapshotRemoving':
      case 'SnapshotCollecting':
      case 'SnapshotRemoved':
      case 'SnapshotAbandoned':
      case 'SnapshotRemovalFailed':
        return [];
      default:
        return assertNever(event);
    }
  } catch {
    return [];
  }
}

function targetIn(labels: Labels): readonly string[] {
  const target = labels.get(TARGET_LABEL);
  return target === undefined ? [] : [target];
}
