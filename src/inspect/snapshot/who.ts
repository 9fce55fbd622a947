/**
 * Finds the owner of a path or mount: the snapshots, with their log records and mounts. Pure except
 * for the archive: the caller resolves paths and reads the mount table.
 */
import type { MountEntry } from '../../base/ports.js';
import type { Position, SnapshotId, UnixNanos } from '../../base/units.js';
import { idmappedDirectory, snapshotsDirectory } from '../../log/files.js';
import type { LogRecord } from '../../log/types.js';
import type { Caller, ParentLink } from '../../machines/events/events.js';
import type { SnapshotState } from '../../machines/fold.js';
import type { Forest } from '../../machines/snapshots/forest.js';
import { hasIdmappedLayers } from '../../machines/id-mapping.js';
import type { SetAside } from '../../machines/set-aside.js';
import type { Archive } from '../archive/archive.js';
import { mapsDirectory } from '../startup/idmapped-paths.js';
import { chainBelow, outlineOf } from './history.js';
import { below, idsShownBy, layerIdAt } from '../../base/mount-layers.js';
import { childrenIn } from './relatives.js';
import { eventOf } from '../archive/subject.js';

/** The location of a path relative to the root. */
export type Place =
  /** In the directory of the snapshot with this number, which need not exist. */
  | { readonly kind: 'numbered'; readonly id: SnapshotId }
  /** In `snapshots/`, under a name that is not a number. */
  | { readonly kind: 'named'; readonly name: string }
  /** `snapshots/` itself. */
  | { readonly kind: 'all' }
  /** In the directory of mounts with mapped ids that has this name. */
  | { readonly kind: 'maps'; readonly name: string }
  /** Elsewhere in the root: the log, the identity. */
  | { readonly kind: 'ours' }
  | { readonly kind: 'elsewhere' };

/** Both paths must be absolute, without `.` or `..`. */
export function placeOf(path: string, root: string): Place {
  const id = path.startsWith('/')
    ? layerIdAt(path, snapshotsDirectory(root.replace(/\/+$/, '')))
    : null;
  if (id !== null) return { kind: 'numbered', id };
  const [first, name = ''] = below(path, root)?.split('/') ?? [];
  if (first === undefined) return { kind: 'elsewhere' };
  if (first === 'idmapped' && name !== '') return { kind: 'maps', name };
  if (first !== 'snapshots') return { kind: 'ours' };
  return name === '' ? { kind: 'all' } : { kind: 'named', name };
}

export interface MountUse {
  readonly mountpoint: string;
  readonly type: string;
  /** `layer`: the mount of a remote layer itself; `idmapped`: a clone of it with mapped ids. */
  readonly as: 'upper' | 'lower' | 'layer' | 'idmapped' | 'bind';
}

/** The mounts that use a snapshot. */
export function usesOf(
  id: SnapshotId,
  mounts: readonly MountEntry[],
  snapshotsPath: string,
): readonly MountUse[] {
  const own = `${snapshotsPath}/${id}`;
  return mounts.flatMap((mount): readonly MountUse[] => {
    const { mountpoint, fileSystemType: type } = mount;
    if (below(mountpoint, own) !== null) return [{ mountpoint, type, as: 'layer' }];
    if (layerIdAt(mountpoint, snapshotsPath) === id) return [{ mountpoint, type, as: 'idmapped' }];
    if (!idsShownBy(mount, mounts, snapshotsPath).includes(id)) return [];
    if (type !== 'overlay') return [{ mountpoint, type, as: 'bind' }];
    const isUpper = mount.superOptions.some(
      (option) => option.startsWith('upperdir=') && below(option.slice(9), own) !== null,
    );
    return [{ mountpoint, type, as: isUpper ? 'upper' : 'lower' }];
  });
}

/** A summary of a snapshot's events. */
export interface SnapshotSummary {
  readonly id: SnapshotId;
  /** Keys and names, oldest first. */
  readonly names: readonly string[];
  readonly status: string | null;
  /** Those of its labels that name an image, a layer or a container. */
  readonly labels: Readonly<Record<string, string>>;
  readonly firstCaller: Caller | null;
  readonly since: { readonly position: Position; readonly time: UnixNanos };
  readonly end: {
    readonly type: string;
    readonly position: Position;
    readonly time: UnixNanos;
    readonly caller: Caller | null;
  } | null;
  readonly usage: SnapshotState['usage'];
  readonly parents: readonly ParentLink[];
  readonly children: readonly ParentLink[];
}

/** Null if the log has none of its events. `forest` is the current one. */
function summarize(
  id: SnapshotId,
  records: readonly LogRecord[],
  forest: Forest,
): SnapshotSummary | null {
  const [first] = records;
  const state = forest.get(id);
  if (first === undefined) return null;
  const { names, status } = outlineOf(records);
  const ending = records.find(({ type }) => endings.has(type));
  const parents = records.flatMap((record) => {
    const event = eventOf(record);
    return event !== null && 'parent' in event.data && event.data.parent !== null
      ? [event.data.parent]
      : [];
  });
  return {
    id,
    names: names.length > 0 || state === undefined ? names : [state.name],
    status: state?.status ?? status,
    labels: identifyingLabels(records),
    firstCaller: callerOf(first),
    since: { position: first.position, time: first.time },
    end:
      ending === undefined
        ? null
        : {
            type: ending.type,
            position: ending.position,
            time: ending.time,
            caller: callerOf(ending),
          },
    usage: state?.usage ?? usageIn(records),
    parents: state === undefined ? parents.slice(-1) : chainBelow(forest, state),
    children: childrenIn(forest, id),
  };
}

const endings: ReadonlySet<string> = new Set(['SnapshotRemoving', 'SnapshotAbandoned']);

function callerOf(record: LogRecord): Caller | null {
  const event = eventOf(record);
  return event !== null && 'caller' in event.data ? event.data.caller : null;
}

function usageIn(records: readonly LogRecord[]): SnapshotState['usage'] {
  const committed = records.map(eventOf).findLast((event) => event?.type === 'SnapshotCommitted');
  return committed?.type === 'SnapshotCommitted' ? committed.data.usage : null;
}

/** The newest value of each identifying label. */
function identifyingLabels(records: readonly LogRecord[]): Readonly<Record<string, string>> {
  const labels = new Map<string, string>();
  for (const record of records) {
    const event = eventOf(record);
    if (event === null || !('labels' in event.data)) continue;
    for (const [key, value] of event.data.labels) if (isIdentifying(key)) labels.set(key, value);
  }
  return Object.fromEntries(labels);
}

/** Labels with which containerd, its CRI plugin and nerdctl record the purpose of a snapshot. */
function isIdentifying(key: string): boolean {
  return /^containerd\.io\/snapshot|image|^nerdctl\//.test(key);
}

/** The snapshots whose layers are mounted in a directory of maps. */
export function mappedIn(forest: Forest, name: string, root: string): readonly SnapshotId[] {
  const directory = `${idmappedDirectory(root)}/${name}`;
  return forest
    .mapped()
    .filter(hasIdmappedLayers)
    .flatMap(({ id, idMapping }) => (mapsDirectory(root, idMapping) === directory ? [id] : []));
}

export type Answer =
  | { readonly kind: 'snapshot'; readonly life: SnapshotSummary }
  /** Preallocated for a future snapshot. */
  | { readonly kind: 'preallocated'; readonly id: SnapshotId }
  /** Unowned and kept: it has files, or a mount uses it. */
  | ({ readonly kind: 'set-aside'; readonly id: SnapshotId } & SetAside)
  /** In `snapshots/`, but not in the log. */
  | { readonly kind: 'orphan'; readonly name: string };

export async function answerFor(archive: Archive, forest: Forest, id: SnapshotId): Promise<Answer> {
  if (forest.isPreallocated(id)) return { kind: 'preallocated', id };
  const setAside = forest.setAside.get(String(id));
  if (setAside !== undefined) return { kind: 'set-aside', id, ...setAside };
  const life = summarize(id, await archive.historyOf(id), forest);
  return life === null ? { kind: 'orphan', name: String(id) } : { kind: 'snapshot', life };
}
