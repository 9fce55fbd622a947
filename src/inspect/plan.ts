/**
 * Lays the log's forest, the directories and the mount table side by side and says what differs
 * and what will be done. Pure: `stratalog inspect` prints the plan, the daemon executes it.
 */
import type { MountEntry, SnapshotDirectoryEntry } from '../base/ports.js';
import type { SnapshotId } from '../base/units.js';
import { metaOf } from '../machines/chart.js';
import type { SnapshotState } from '../machines/fold.js';
import type { Forest } from '../machines/forest.js';
import type { Finding } from './findings.js';
import { below, idsShownBy } from './mount-layers.js';

/** What is there. Null where it cannot be known, as for a root that was copied elsewhere. */
export interface Observation {
  readonly directories: readonly SnapshotDirectoryEntry[];
  readonly mounts: readonly MountEntry[] | null;
}

export interface Plan {
  readonly findings: readonly Finding[];
  /** Remote layers whose mountpoints show something: kept as they are, then checked. */
  readonly adopted: readonly SnapshotId[];
}

/** `snapshotsPath` is `<root>/snapshots`, absolute and without a trailing slash. */
export function planRecovery(forest: Forest, observed: Observation, snapshotsPath: string): Plan {
  const findings: Finding[] = [];
  const adopted: SnapshotId[] = [];
  const present = new Map<SnapshotId, SnapshotDirectoryEntry>();
  for (const entry of observed.directories) {
    if (entry.id !== null && entry.isDirectory) present.set(entry.id, entry);
  }
  const mounted = observed.mounts === null ? null : mountpointsOf(observed.mounts);
  // The many that rest in the directory they should have are told by their ids alone.
  const isAsItShouldBe = (id: SnapshotId) => isWhole(present.get(id));
  for (const state of forest.valuesExcept(isAsItShouldBe)) {
    const found = findingOf(state, present, mounted, snapshotsPath);
    if (found === 'adopted') adopted.push(state.id);
    else if (found !== null) findings.push(found);
  }
  findings.push(...orphansIn(observed.directories, forest, snapshotsPath));
  if (observed.mounts !== null) {
    findings.push(...strangeMounts(observed.mounts, forest, snapshotsPath));
  }
  return { findings, adopted };
}

function findingOf(
  state: SnapshotState,
  present: ReadonlyMap<SnapshotId, SnapshotDirectoryEntry>,
  mounted: ReadonlySet<string> | null,
  snapshotsPath: string,
): Finding | 'adopted' | null {
  const of = { id: state.id, name: state.name };
  const { shownAs, afterCrash } = metaOf(state.status);
  if (afterCrash === 'SnapshotAbandoned') return { kind: 'AbandonedPreparation', ...of };
  if (state.status === 'removing') return { kind: 'UnfinishedRemoval', ...of };
  if (state.status === 'awaitingCleanup') return { kind: 'AwaitingCleanup', ...of };
  if (state.status === 'committed.unavailable') {
    const reason = state.unavailability?.reason ?? '';
    return { kind: 'UnavailableLayer', reason, ...of };
  }
  const directory = `${snapshotsPath}/${state.id}`;
  const fs = `${directory}/fs`;
  if (state.remote !== null) {
    if (mounted === null) return null;
    return mounted.has(fs) ? 'adopted' : { kind: 'MissingMount', mountpoint: fs, ...of };
  }
  const missing = missingPart(state, present.get(state.id));
  if (missing !== null && shownAs !== null) {
    return { kind: 'MissingDirectory', shownAs, path: `${directory}/${missing}`, ...of };
  }
  return afterCrash === 'SnapshotCommitFailed' ? { kind: 'UnfinishedCommit', ...of } : null;
}

/**
 * What a snapshot's own directory lacks, if it lacks something. Where nobody looked inside, it is
 * taken for whole. Without `work` the overlay of an active snapshot cannot be mounted; nobody
 * else needs it.
 */
export function missingPart(
  { status }: SnapshotState,
  entry: SnapshotDirectoryEntry | undefined,
): 'fs' | 'work' | null {
  if (entry === undefined || entry.hasFs === false) return 'fs';
  return entry.hasWork === false && status === 'active' ? 'work' : null;
}

function isWhole(entry: SnapshotDirectoryEntry | undefined): boolean {
  return entry !== undefined && entry.hasFs !== false && entry.hasWork !== false;
}

/** Entries that no snapshot owns. */
function orphansIn(
  directories: readonly SnapshotDirectoryEntry[],
  forest: Forest,
  snapshotsPath: string,
): readonly Finding[] {
  const orphans: Finding[] = [];
  const spares: SnapshotId[] = [];
  const kept: SnapshotId[] = [];
  for (const { id, name } of directories) {
    if (id !== null && forest.has(id)) continue;
    if (id !== null && forest.isSpare(id)) spares.push(id);
    else if (id !== null && forest.isKept(id)) kept.push(id);
    else orphans.push({ kind: 'OrphanDirectory', name, path: `${snapshotsPath}/${name}` });
  }
  const byId = (a: SnapshotId, b: SnapshotId) => a - b;
  if (spares.length > 0) orphans.push({ kind: 'SpareDirectories', ids: spares.sort(byId) });
  if (kept.length > 0) orphans.push({ kind: 'KeptDirectories', ids: kept.sort(byId) });
  return orphans;
}

function strangeMounts(
  mounts: readonly MountEntry[],
  forest: Forest,
  snapshotsPath: string,
): readonly Finding[] {
  return mounts.flatMap((entry): readonly Finding[] => {
    const { mountpoint, fileSystemType: type } = entry;
    if ((below(mountpoint, snapshotsPath) ?? '') !== '') {
      const isOurs = isLayerMountpoint(mountpoint, forest, snapshotsPath);
      return isOurs ? [] : [{ kind: 'ForeignMount', mountpoint, type }];
    }
    const ids = idsShownBy(entry, mounts, snapshotsPath).toSorted((a, b) => a - b);
    return ids.length === 0 ? [] : [{ kind: 'MountElsewhere', mountpoint, ids }];
  });
}

function isLayerMountpoint(mountpoint: string, forest: Forest, snapshotsPath: string): boolean {
  const match = /^(\d+)\/fs$/.exec(mountpoint.slice(snapshotsPath.length + 1));
  if (match === null) return false;
  const state = forest.get(Number(match[1]) as SnapshotId);
  return state !== undefined && state.remote !== null;
}

function mountpointsOf(mounts: readonly MountEntry[]): ReadonlySet<string> {
  return new Set(mounts.map((entry) => entry.mountpoint));
}
