/**
 * Entries of `snapshots/` that no living snapshot owns, and what becomes of each by the look that
 * was taken at it. Only the log's own word removes content: what is merely inferred to be garbage
 * (preallocated, abandoned by a crash, unowned) is deleted if it is unused, and kept otherwise.
 * Pure: startup, Cleanup, `gc` and `inspect` decide with it.
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
  /** Null for a name that is no snapshot number. */
  readonly id: SnapshotId | null;
  readonly because: GarbageReason;
}

/** Entries of `snapshots/` that belong to no snapshot and are not set aside. */
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

/** Whether a crash cut its preparation off, so that its removal is a conclusion and no fact. */
export function isAbandonedByCrash({ status, removal }: SnapshotState): boolean {
  return removal?.because === 'inferred' || metaOf(status).afterCrash === 'SnapshotAbandoned';
}

/** By name. */
export type Uses = ReadonlyMap<string, DirectoryUse>;

/** What a look answered, in the order of the candidates. */
export function usesByName(candidates: readonly Candidate[], uses: readonly DirectoryUse[]): Uses {
  const byName = new Map<string, DirectoryUse>();
  for (const [index, { name }] of candidates.entries()) {
    const use = uses[index];
    if (use !== undefined) byName.set(name, use);
  }
  return byName;
}

/** What differs from the log, and what is done about it. `nextId`: the log gives that one next. */
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

/** Directories in one event: it must stay a small record. */
const SET_ASIDE_AT_ONCE = 200;

/** Events that keep the candidates in use. */
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
