/**
 * The remote layers, and the local layers that are unavailable, at a position of the log. Pure. It
 * does not check what is mounted; `inspect` does.
 */
import type { SnapshotId, SnapshotName, UnixNanos } from '../../base/units.js';
import type { LogRecord } from '../../log/types.js';
import type { SnapshotEventType } from '../../machines/events/events.js';
import type { SnapshotState } from '../../machines/fold.js';
import type { Forest } from '../../machines/snapshots/forest.js';
import { TARGET_LABEL } from '../../machines/labels.js';
import { idOfStream } from '../../machines/events/streams.js';

/** `mounting`: requested, and not yet a layer. */
export type LayerState = 'available' | 'unavailable' | 'mounting';

export interface LayerView {
  readonly id: SnapshotId;
  readonly name: SnapshotName;
  readonly parent: SnapshotName | null;
  readonly state: LayerState;
  /** Its chain ID; null if unknown. */
  readonly ref: string | null;
  /** The remote file system; null for a local layer, whose files are in its directory. */
  readonly fileSystem: string | null;
  /** Attempts to restore it; 0 while it is available. */
  readonly attempts: number;
  readonly reason: string | null;
  /** RFC 3339. Null if it is available, or is next restored on use. */
  readonly retryAt: string | null;
  readonly createdAt: UnixNanos;
}

/** In ascending order of id, so oldest first. */
export function layersOf(forest: Forest): readonly LayerView[] {
  const layers: LayerView[] = [];
  // These include all remote and all unavailable layers, and avoid decoding the other states.
  for (const state of forest.unsettled()) {
    const layerState = layerStateOf(state);
    if (layerState !== null) layers.push(viewOf(state, layerState));
  }
  return layers.sort((one, other) => one.id - other.id);
}

function layerStateOf({ status, remote }: SnapshotState): LayerState | null {
  if (status === 'committed.unavailable') return 'unavailable';
  if (status === 'committed.available' && remote !== null) return 'available';
  return status === 'mounting' || status === 'mounted' ? 'mounting' : null;
}

function viewOf(state: SnapshotState, layerState: LayerState): LayerView {
  const { id, name, parent, remote, unavailability, question, labels, createdAt } = state;
  return {
    id,
    name,
    parent: parent?.name ?? null,
    state: layerState,
    ref: remote?.ref ?? question?.ref ?? labels.get(TARGET_LABEL) ?? null,
    fileSystem: remote?.fileSystem ?? null,
    attempts: unavailability?.attempts ?? 0,
    reason: unavailability?.reason ?? null,
    retryAt: unavailability?.retryAt ?? null,
    createdAt,
  };
}

const endsUnavailability: ReadonlySet<string> = new Set<SnapshotEventType>([
  'LayerAvailable',
  'SnapshotCommitted',
]);

/**
 * Since when layers are unavailable: the first LayerUnavailable without a later LayerAvailable.
 * Reads `newestFirst`, the records backwards from the position, only as far as needed. For a layer
 * whose first events are retired, the oldest retained event counts.
 */
export async function unavailableSince(
  ids: ReadonlySet<SnapshotId>,
  newestFirst: AsyncIterable<readonly LogRecord[]>,
): Promise<ReadonlyMap<SnapshotId, UnixNanos>> {
  const since = new Map<SnapshotId, UnixNanos>();
  const open = new Set(ids);
  if (open.size === 0) return since;
  for await (const batch of newestFirst) {
    for (const record of batch) {
      const id = idOfStream(record.stream);
      if (id === null || !open.has(id)) continue;
      if (record.type === 'LayerUnavailable') since.set(id, record.time);
      else if (endsUnavailability.has(record.type)) open.delete(id);
    }
    if (open.size === 0) break;
  }
  return since;
}
