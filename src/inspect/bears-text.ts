/** Whether an event gives its snapshot a name, a key or a chain id that somebody looks for. */
import { assertNever } from '../base/assert.js';
import type { RecordLike } from '../machines/streams.js';
import { understand } from '../machines/streams.js';
import { TARGET_LABEL } from '../machines/labels.js';
import type { Labels } from '../base/units.js';

/** Events that this release does not understand bear no text: looking must not fail at them. */
export function bearsText(record: RecordLike, text: string): boolean {
  return textsOf(record).some((borne) => borne === text || withoutSequence(borne) === text);
}

/** containerd's metadata store makes `<namespace>/<number>/<key>` of each key (createKey). */
export function withoutSequence(name: string): string {
  return /^[^/]+\/\d+\/(.+)$/s.exec(name)?.[1] ?? name;
}

function textsOf(record: RecordLike): readonly string[] {
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
