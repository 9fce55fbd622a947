/** Which names, keys and chain ids an event gives its snapshot, and whether one is looked for. */
import { assertNever } from '../base/assert.js';
import type { RecordLike } from '../machines/streams.js';
import { understand } from '../machines/streams.js';
import { TARGET_LABEL } from '../machines/labels.js';
import type { Labels } from '../base/units.js';

/**
 * Whether an event gives its snapshot this text: whole, without containerd's prefix, or, for a
 * digest, by its first twelve hexadecimal digits or more. Events that this release does not
 * understand bear no text: looking must not fail at them.
 */
export function bearsText(record: RecordLike, text: string): boolean {
  return textsOf(record).some(matcherOf(text));
}

/** The same question about one text that is borne, for those who ask it of many. */
export function matcherOf(text: string): (borne: string) => boolean {
  const prefix = digestPrefix(text);
  return (borne) => {
    const name = withoutSequence(borne);
    return borne === text || name === text || (prefix !== null && name.startsWith(prefix));
  };
}

/** As many digits as tables show are enough to tell layers apart. */
export function digestPrefix(text: string): string | null {
  const [, digits] = /^(?:sha256:)?([0-9a-f]{12,64})$/.exec(text) ?? [];
  return digits === undefined ? null : `sha256:${digits}`;
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
