/**
 * Lays the log's forest, the directories and the mount table side by side and says what differs
 * and what will be done. Pure: `stratalog inspect` prints the plan, the daemon executes it.
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

/** What is there. Null where it cannot be known, as for a root that was copied elsewhere. */
export interface Observation {
  readonly directories: readonly SnapshotDirectoryEntry[];
  readonly mounts: readonly MountEntry[] | null;
  /** The id that the log gives next, before directories that it does not know reserved theirs. */
  readonly nextId: SnapshotId;
  /** A daemon is at work: what is half prepared is under way. */
  readonly isLive: boolean;
  /** Below `idmapped/`, as IdmappedMounts.list answers; null when it was not listed. */
  readonly idmapped: readonly string[] | null;
}

export interface Plan {
  readonly findings: readonly Finding[];
  /** Remote layers whose mountpoints show something: kept as they are, then checked. */
  readonly adopted: readonly SnapshotId[];
  /** What a look at each must decide: `withUses` adds what follows. */
  readonly candidates: readonly Candidate[];
  /** Candidates that need no look. */
  readonly uses: Uses;
  /** Names that are set aside and do not exist any more. */
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
  // The many that rest in the directory they should have are told by their ids alone.
  const isAsItShouldBe = (id: SnapshotId) => isWhole(present.get(id));
  for (const state of forest.valuesExcept(isAsItShouldBe)) {
    const found = findingOf(state, present, mounted, snapshotsPath);
    if (found === 'adopted') adopted.push(state.id);
    else if (found !== null) findings.push(found);
    const name = String(state.id);
    if (observed.isLive || !isAbandonedByCrash(state) || !listed.has(name)) continue;
    candidates.push({ name, id: state.id, because: 'abandoned' });
    // A start unmounts what the preparation has mounted, so that is no use.
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
    findings.push(...strangeMounts(observed.mounts, forest, snapshotsPath));
  }
  findings.push(...idmappedFindings(forest, observed, dirname(snapshotsPath)));
  const vanished = [...forest.setAside.keys()].filter((name) => !listed.has(name));
  return { findings, adopted, candidates, uses, vanished, nextId: observed.nextId };
}

/** The candidates of a plan that must be looked at. */
export function unlooked({ candidates, uses }: Plan): readonly Candidate[] {
  return candidates.filter(({ name }) => !uses.has(name));
}

/** The whole plan, with what a look at the candidates found; that alone in `added`. */
export function withUses(
  plan: Plan,
  looked: Uses,
  snapshotsPath: string,
): { readonly plan: Plan; readonly added: readonly Finding[] } {
  const uses = new Map([...plan.uses, ...looked]);
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
 * What a snapshot's own directory lacks, if it lacks something. Where nobody looked inside, it is
 * taken for whole. Without `work` the overlay of an active snapshot cannot be mounted; nobody
 * else needs it.
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

/** As far as it was looked at: a look that failed is a finding of its own, and no plan rests on it. */
function isWhole(entry: SnapshotDirectoryEntry | undefined): boolean {
  if (entry === undefined) return false;
  const { parts } = entry;
  return parts.kind !== 'hidden' && (parts.kind !== 'seen' || (parts.fs && parts.work));
}

/** Directories of snapshots that could not be looked into. */
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

/** Entries that are set aside, by the reason, and those that a person has released. */
function keptIn({ directories }: Observation, forest: Forest): readonly Finding[] {
  const kept = new Map<SetAside['because'], { name: string; evidence: string }[]>();
  const released: string[] = [];
  for (const { name } of directories) {
    const why = forest.setAside.get(name);
    if (forest.released.has(name)) released.push(name);
    if (why === undefined) continue;
    const { because, evidence } = why;
    const alike = kept.get(because);
    if (alike === undefined) kept.set(because, [{ name, evidence }]);
    else alike.push({ name, evidence });
  }
  const findings = [...kept].map(([because, entries]): Finding => {
    const sorted = entries.sort((a, b) => byName(a.name, b.name));
    return { kind: 'KeptDirectories', because, directories: sorted };
  });
  if (released.length === 0) return findings;
  return [...findings, { kind: 'ReleasedDirectories', names: released.sort(byName) }];
}

const byName = (a: string, b: string): number => a.localeCompare(b, 'en', { numeric: true });

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
    // Whose these are is told by what is below `idmapped/`.
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
