/**
 * Compares the forest of the log with the directories and the mount table, and plans what to do
 * about each difference. Pure: `stratalog inspect` prints the plan, the daemon executes it.
 */
import { dirname } from 'node:path';
import { below, entriesInUse, idsShownBy, useInWords } from '../../base/mount-layers.js';
import type { DirectoryUse, MountEntry, SnapshotDirectoryEntry } from '../../base/ports.js';
import { formatTime, type SnapshotId } from '../../base/units.js';
import { idmappedDirectory } from '../../log/files.js';
import { metaOf } from '../../machines/transition-table.js';
import type { SnapshotState } from '../../machines/fold.js';
import type { Forest } from '../../machines/snapshots/forest.js';
import type { SetAside } from '../../machines/set-aside.js';
import type { Finding } from './findings.js';
import { idmappedFindings } from './idmapped-plan.js';
import {
  candidateFindings,
  isAbandonedByCrash,
  unownedIn,
  type Candidate,
  type Uses,
} from './unowned.js';

/** What exists. Null where it is unknown, for example for a copied root. */
export interface Observation {
  readonly directories: readonly SnapshotDirectoryEntry[];
  readonly mounts: readonly MountEntry[] | null;
  /** Next id of the log, before the ids of unknown directories are reserved. */
  readonly nextId: SnapshotId;
  /** A daemon is running, so unfinished preparations are in progress. */
  readonly isLive: boolean;
  /** Below `idmapped/`, as returned by IdmappedMounts.list; null if not listed. */
  readonly idmapped: readonly string[] | null;
}

export interface Plan {
  readonly findings: readonly Finding[];
  /** Remote layers that are mounted: adopted and then checked. */
  readonly adopted: readonly SnapshotId[];
  /** Entries whose use must be scanned: `withUses` adds their findings. */
  readonly candidates: readonly Candidate[];
  /** Uses that are known without a scan. */
  readonly uses: Uses;
  /** Set-aside names that no longer exist. */
  readonly vanished: readonly string[];
  readonly nextId: SnapshotId;
}

/** `snapshotsPath` is `<root>/snapshots`, absolute and without a trailing slash. */
export function planRecovery(forest: Forest, observed: Observation, snapshotsPath: string): Plan {
  const findings: Finding[] = [];
  const adopted: SnapshotId[] = [];
  const candidates = [...unownedIn(observed.directories, forest)];
  const uses = new Map<string, DirectoryUse>();
  const present = new Map<SnapshotId, SnapshotDirectoryEntry>();
  const listed = new Set<string>();
  for (const entry of observed.directories) {
    listed.add(entry.name);
    if (entry.id !== null && entry.isDirectory) present.set(entry.id, entry);
  }
  const mounted = observed.mounts === null ? null : mountpointsOf(observed.mounts);
  // Skip settled snapshots with a whole directory by id, without decoding their state.
  const hasWholeDirectory = (id: SnapshotId) => isWhole(present.get(id));
  for (const state of forest.valuesExcept(hasWholeDirectory)) {
    const found = findingOf(state, present, mounted, snapshotsPath);
    if (found === 'adopted') adopted.push(state.id);
    else if (found !== null) findings.push(found);
    const name = String(state.id);
    if (observed.isLive || !isAbandonedByCrash(state) || !listed.has(name)) continue;
    candidates.push({ name, id: state.id, because: 'abandoned' });
    // Startup unmounts what the preparation has mounted, so that does not count as use.
    if (state.remote !== null) uses.set(name, useElsewhere(name, observed.mounts, snapshotsPath));
  }
  for (const id of forest.preallocated) {
    const name = String(id);
    if (listed.has(name)) continue;
    candidates.push({ name, id, because: 'preallocated' });
    uses.set(name, { kind: 'absent' });
  }
  findings.push(...uncheckedIn(observed.directories, forest), ...keptIn(observed, forest));
  if (observed.mounts !== null) {
    findings.push(...foreignMounts(observed.mounts, forest, snapshotsPath));
  }
  findings.push(...idmappedFindings(forest, observed, dirname(snapshotsPath)));
  const vanished = [...forest.setAside.keys()].filter((name) => !listed.has(name));
  return { findings, adopted, candidates, uses, vanished, nextId: observed.nextId };
}

/** The candidates of a plan that must be scanned. */
export function uncheckedCandidates({ candidates, uses }: Plan): readonly Candidate[] {
  return candidates.filter(({ name }) => !uses.has(name));
}

/** Completes the plan with the scanned uses; `added` are the new findings. */
export function withUses(
  plan: Plan,
  scanned: Uses,
  snapshotsPath: string,
): { readonly plan: Plan; readonly added: readonly Finding[] } {
  const uses = new Map([...plan.uses, ...scanned]);
  const { nextId, candidates } = plan;
  const added = candidateFindings(candidates, uses, { nextId, snapshotsPath });
  return { plan: { ...plan, uses, findings: [...added, ...plan.findings] }, added };
}

function useElsewhere(
  name: string,
  mounts: readonly MountEntry[] | null,
  snapshotsPath: string,
): DirectoryUse {
  const own = `${snapshotsPath}/${name}/fs`;
  const others = (mounts ?? []).filter(({ mountpoint }) => mountpoint !== own);
  const use = entriesInUse([snapshotsPath], others).get(name);
  if (use === undefined) return { kind: 'unused' };
  return { kind: 'used', by: 'mount', evidence: useInWords(use) };
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
  if (state.status === 'removing') {
    const { because, failure } = state.removal ?? { because: 'removed', failure: null };
    const failed =
      failure === null
        ? null
        : { path: failure.path, code: failure.code, since: formatTime(failure.since) };
    return { kind: 'UnfinishedRemoval', isInferred: because === 'inferred', failed, ...of };
  }
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
  const entry = present.get(state.id);
  const missing = missingPart(state, entry);
  if (shownAs !== null && entry?.parts.kind === 'hidden') {
    return { kind: 'HiddenDirectory', shownAs, path: directory, ...of };
  }
  if (missing !== null && shownAs !== null) {
    return { kind: 'MissingDirectory', shownAs, path: `${directory}/${missing}`, ...of };
  }
  return afterCrash === 'SnapshotCommitFailed' ? { kind: 'UnfinishedCommit', ...of } : null;
}

/**
 * The missing part of a snapshot's own directory, or null. A directory whose parts were not scanned
 * counts as whole. Only an active snapshot needs `work`, to mount its overlay.
 */
export function missingPart(
  { status }: SnapshotState,
  entry: SnapshotDirectoryEntry | undefined,
): 'fs' | 'work' | null {
  if (entry === undefined) return 'fs';
  const { parts } = entry;
  if (parts.kind !== 'seen') return null;
  if (!parts.fs) return 'fs';
  return !parts.work && status === 'active' ? 'work' : null;
}

/** A directory whose scan failed counts as whole: the failed scan is its own finding. */
function isWhole(entry: SnapshotDirectoryEntry | undefined): boolean {
  if (entry === undefined) return false;
  const { parts } = entry;
  return parts.kind !== 'hidden' && (parts.kind !== 'seen' || (parts.fs && parts.work));
}

/** Directories of snapshots that could not be scanned. */
export function uncheckedIn(
  directories: readonly SnapshotDirectoryEntry[],
  forest: Forest,
): readonly Finding[] {
  return directories.flatMap(({ name, id, parts }): readonly Finding[] => {
    const isOwned = id !== null && forest.has(id);
    return isOwned && parts.kind === 'unknown'
      ? [{ ...parts, kind: 'UncheckedDirectory', name }]
      : [];
  });
}

/** Entries that are set aside, grouped by reason, and entries released for deletion. */
function keptIn({ directories }: Observation, forest: Forest): readonly Finding[] {
  const kept = new Map<SetAside['because'], { name: string; evidence: string }[]>();
  const released: string[] = [];
  for (const { name } of directories) {
    const why = forest.setAside.get(name);
    if (forest.released.has(name)) released.push(name);
    if (why === undefined) continue;
    const { because, evidence } = why;
    const group = kept.get(because);
    if (group === undefined) kept.set(because, [{ name, evidence }]);
    else group.push({ name, evidence });
  }
  const findings = [...kept].map(([because, entries]): Finding => {
    const sorted = entries.sort((a, b) => byName(a.name, b.name));
    return { kind: 'KeptDirectories', because, directories: sorted };
  });
  if (released.length === 0) return findings;
  return [...findings, { kind: 'ReleasedDirectories', names: released.sort(byName) }];
}

const byName = (a: string, b: string): number => a.localeCompare(b, 'en', { numeric: true });

function foreignMounts(
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
    // `idmappedFindings` handles these.
    if (below(mountpoint, idmappedDirectory(dirname(snapshotsPath))) !== null) return [];
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
