/**
 * Entries of `snapshots/` that no snapshot owns, and what to do with each according to its scan.
 * Content is deleted only if the log says so: an entry that is only inferred to be garbage
 * (preallocated, abandoned by a crash, unowned) is deleted if it is unused, and kept otherwise.
 * Pure: startup, Cleanup, `gc` and `inspect` use it.
 */
import type { DirectoryUse, SnapshotDirectoryEntry } from '../../base/ports.js';
import type { SnapshotId } from '../../base/units.js';
import { metaOf } from '../../machines/transition-table.js';
import type { DaemonEventOf } from '../../machines/events/daemon-events.js';
import type { SnapshotState } from '../../machines/fold.js';
import type { Forest } from '../../machines/snapshots/forest.js';
import type { Finding, GarbageReason } from './findings.js';

export interface Candidate {
  readonly name: string;
  /** Null if the name is not a snapshot number. */
  readonly id: SnapshotId | null;
  readonly because: GarbageReason;
}

/** Entries of `snapshots/` that no snapshot owns and that are not set aside. */
export function unownedIn(
  entries: readonly SnapshotDirectoryEntry[],
  forest: Forest,
): readonly Candidate[] {
  return entries.flatMap(({ name, id }): readonly Candidate[] => {
    if (id !== null && forest.has(id)) return [];
    if (forest.setAside.has(name) || forest.released.has(name)) return [];
    const because = id !== null && forest.isPreallocated(id) ? 'preallocated' : 'unowned';
    return [{ name, id, because }];
  });
}

/** Whether a crash interrupted its preparation, so that its removal is only inferred. */
export function isAbandonedByCrash({ status, removal }: SnapshotState): boolean {
  return removal?.because === 'inferred' || metaOf(status).afterCrash === 'SnapshotAbandoned';
}

/** How entries are used, by name. */
export type Uses = ReadonlyMap<string, DirectoryUse>;

/** `uses` are in the order of the candidates. */
export function usesByName(candidates: readonly Candidate[], uses: readonly DirectoryUse[]): Uses {
  const byName = new Map<string, DirectoryUse>();
  for (const [index, { name }] of candidates.entries()) {
    const use = uses[index];
    if (use !== undefined) byName.set(name, use);
  }
  return byName;
}

/** The findings about the candidates. `nextId` is the next id of the log. */
export function candidateFindings(
  candidates: readonly Candidate[],
  uses: Uses,
  { nextId, snapshotsPath }: { readonly nextId: SnapshotId; readonly snapshotsPath: string },
): readonly Finding[] {
  const findings: Finding[] = [];
  const unusedPreallocated: SnapshotId[] = [];
  const newer: (Finding & { kind: 'LogOlderThanDirectories' })['directories'][number][] = [];
  for (const { name, id, because } of candidates) {
    const use = uses.get(name);
    const path = `${snapshotsPath}/${name}`;
    if (use === undefined || use.kind === 'absent') continue;
    if (use.kind === 'unknown') findings.push({ ...use, kind: 'UncheckedDirectory', name });
    else if (use.kind === 'used') {
      const { evidence } = use;
      if (id === null) findings.push({ kind: 'ForeignEntry', name, path, evidence });
      else newer.push({ name, because, evidence });
    } else if (because === 'unowned') findings.push({ kind: 'OrphanDirectory', name, path });
    else if (because === 'preallocated' && id !== null) unusedPreallocated.push(id);
  }
  if (newer.length > 0) {
    const directories = newer.sort((a, b) => Number(a.name) - Number(b.name));
    findings.unshift({ kind: 'LogOlderThanDirectories', directories, nextId });
  }
  if (unusedPreallocated.length > 0) {
    findings.push({
      kind: 'PreallocatedDirectories',
      ids: unusedPreallocated.sort((a, b) => a - b),
    });
  }
  return findings;
}

/** Directories per event, to keep the record small. */
const SET_ASIDE_AT_ONCE = 200;

/** The events that set aside the candidates in use. */
export function setAsideEvents(
  candidates: readonly Candidate[],
  uses: Uses,
): readonly DaemonEventOf<'DirectoriesSetAside'>[] {
  const directories = candidates.flatMap(({ name, because }) => {
    const use = uses.get(name);
    return use?.kind === 'used' ? [{ name, because, evidence: use.evidence }] : [];
  });
  const events: DaemonEventOf<'DirectoriesSetAside'>[] = [];
  for (let from = 0; from < directories.length; from += SET_ASIDE_AT_ONCE) {
    const slice = directories.slice(from, from + SET_ASIDE_AT_ONCE);
    events.push({ type: 'DirectoriesSetAside', data: { directories: slice } });
  }
  return events;
}
