/**
 * Whose is this? From a path, a mount or a word to the snapshots behind it, and what the log and
 * the mount table say of each. Pure but for the archive: paths come in resolved, mounts as a list.
 */
import type { MountEntry } from '../base/ports.js';
import { snapshotId, type Position, type SnapshotId, type UnixNanos } from '../base/units.js';
import type { LogRecord } from '../log/types.js';
import type { Caller, ParentLink } from '../machines/events.js';
import type { SnapshotState } from '../machines/fold.js';
import type { Forest } from '../machines/forest.js';
import type { Archive } from './archive.js';
import { chainBelow, lifeOf } from './history.js';
import { childrenIn } from './state-find.js';
import { eventOf } from './subject.js';

/** What a path is, by where it lies. */
export type Place =
  /** In the directory of the snapshot with this number, if there is one. */
  | { readonly kind: 'numbered'; readonly id: SnapshotId }
  /** Below the snapshots, under a name that is no number. */
  | { readonly kind: 'named'; readonly name: string }
  /** The directory of all of them. */
  | { readonly kind: 'all' }
  /** In the root, and no snapshot's: the log, the identity. */
  | { readonly kind: 'ours' }
  | { readonly kind: 'elsewhere' };

/** Both paths absolute and without `.` or `..`; whole components are compared. */
export function placeOf(path: string, root: string): Place {
  const [first, name = ''] = below(path, root)?.split('/') ?? [];
  if (first === undefined) return { kind: 'elsewhere' };
  if (first !== 'snapshots') return { kind: 'ours' };
  if (name === '') return { kind: 'all' };
  const id = idIn(name);
  return id === null ? { kind: 'named', name } : { kind: 'numbered', id };
}

function idIn(name: string): SnapshotId | null {
  return /^[1-9]\d{0,15}$/.test(name) ? snapshotId(Number(name)) : null;
}

/** The rest of the path below a directory; empty for itself, null when it is not below. */
function below(path: string, directory: string): string | null {
  const base = directory.replace(/\/+$/, '');
  if (path === base) return '';
  return path.startsWith(`${base}/`) ? path.slice(base.length + 1) : null;
}

/**
 * The snapshots that a place in a mount shows: of an overlay the upper one first, then the layers
 * from the top; of a bind mount the one whose directory it is.
 */
export function idsShownBy(
  mount: MountEntry,
  mounts: readonly MountEntry[],
  snapshotsPath: string,
): readonly SnapshotId[] {
  const paths =
    mount.fileSystemType === 'overlay'
      ? layersOf(mount.superOptions, snapshotsPath)
      : boundPath(mount, mounts, snapshotsPath);
  const ids = paths.flatMap((path) => idIn(below(path, snapshotsPath)?.split('/')[0] ?? '') ?? []);
  return [...new Set(ids)];
}

/**
 * The layers' paths. containerd shortens lower directories that are too many for one mount call
 * to paths that begin in the directory they share; with an upper one in ours, that is ours.
 */
function layersOf(options: readonly string[], snapshotsPath: string): readonly string[] {
  const uppers: string[] = [];
  const lowers: string[] = [];
  for (const option of options) {
    const [, key, value = ''] = /^(upperdir|lowerdir\+?|datadir\+?)=(.*)$/s.exec(option) ?? [];
    if (key === 'upperdir') uppers.push(value);
    else if (key !== undefined) lowers.push(...value.split(':'));
  }
  const isOurs = [...uppers, ...lowers].some((path) => below(path, snapshotsPath) !== null);
  return [
    ...uppers,
    ...lowers.map((path) => (isOurs && !path.startsWith('/') ? `${snapshotsPath}/${path}` : path)),
  ];
}

/** Where a bind mount's directory stands in ours, found by the file system that holds both. */
function boundPath(
  mount: MountEntry,
  mounts: readonly MountEntry[],
  snapshotsPath: string,
): readonly string[] {
  const home = mountOf(snapshotsPath, mounts);
  if (home === null || home.device !== mount.device) return [];
  const within = below(snapshotsPath, home.mountpoint) ?? '';
  const ours = `${home.root}/${within}`.replace(/\/+/g, '/');
  const rest = below(mount.root, ours);
  return rest === null ? [] : [`${snapshotsPath}/${rest}`];
}

/** The mount that a path is in: the innermost, and of several on one place the newest. */
export function mountOf(path: string, mounts: readonly MountEntry[]): MountEntry | null {
  let found: MountEntry | null = null;
  for (const mount of mounts) {
    const isAround = mount.mountpoint === '/' || below(path, mount.mountpoint) !== null;
    if (isAround && mount.mountpoint.length >= (found?.mountpoint.length ?? 0)) found = mount;
  }
  return found;
}

export interface MountUse {
  readonly mountpoint: string;
  readonly type: string;
  /** `layer`: the snapshot's own, of a remote layer. */
  readonly as: 'upper' | 'lower' | 'layer' | 'bind';
}

/** Mounts that show a snapshot. */
export function usesOf(
  id: SnapshotId,
  mounts: readonly MountEntry[],
  snapshotsPath: string,
): readonly MountUse[] {
  const own = `${snapshotsPath}/${id}`;
  return mounts.flatMap((mount): readonly MountUse[] => {
    const { mountpoint, fileSystemType: type } = mount;
    if (below(mountpoint, own) !== null) return [{ mountpoint, type, as: 'layer' }];
    if (!idsShownBy(mount, mounts, snapshotsPath).includes(id)) return [];
    if (type !== 'overlay') return [{ mountpoint, type, as: 'bind' }];
    const isUpper = mount.superOptions.some(
      (option) => option.startsWith('upperdir=') && below(option.slice(9), own) !== null,
    );
    return [{ mountpoint, type, as: isUpper ? 'upper' : 'lower' }];
  });
}

/** What the log has of a snapshot, in a few words. */
export interface WhoseLife {
  readonly id: SnapshotId;
  /** Keys and names, oldest first. */
  readonly names: readonly string[];
  readonly status: string | null;
  /** Of all its labels, those that name an image, a layer or a container. */
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

/** Null when nothing of it is kept in the log. `forest` is that of now. */
function lifeInShort(
  id: SnapshotId,
  records: readonly LogRecord[],
  forest: Forest,
): WhoseLife | null {
  const [first] = records;
  const state = forest.get(id);
  if (first === undefined) return null;
  const { names, status } = lifeOf(records);
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
    labels: tellingLabels(records),
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

/** The newest value of each, from all events that set labels. */
function tellingLabels(records: readonly LogRecord[]): Readonly<Record<string, string>> {
  const labels = new Map<string, string>();
  for (const record of records) {
    const event = eventOf(record);
    if (event === null || !('labels' in event.data)) continue;
    for (const [key, value] of event.data.labels) if (isTelling(key)) labels.set(key, value);
  }
  return Object.fromEntries(labels);
}

/** Labels by which containerd, its CRI plugin and nerdctl say what a snapshot is for. */
function isTelling(key: string): boolean {
  return /^containerd\.io\/snapshot|image|^nerdctl\//.test(key);
}

/** What was asked about, and what the log says of it. */
export type Answer =
  | { readonly kind: 'snapshot'; readonly life: WhoseLife }
  /** Made ahead, for a snapshot that nobody has asked for yet. */
  | { readonly kind: 'spare'; readonly id: SnapshotId }
  /** Below the snapshots, and of none that the log has. */
  | { readonly kind: 'orphan'; readonly name: string };

export async function answerFor(archive: Archive, forest: Forest, id: SnapshotId): Promise<Answer> {
  if (forest.isSpare(id)) return { kind: 'spare', id };
  const life = lifeInShort(id, await archive.historyOf(id), forest);
  return life === null ? { kind: 'orphan', name: String(id) } : { kind: 'snapshot', life };
}
