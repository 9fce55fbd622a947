/**
 * Compares the mounts with mapped ids with the snapshots that need them: finds missing and unneeded
 * ones. Pure.
 */
import type { MountEntry } from '../../base/ports.js';
import type { SnapshotId } from '../../base/units.js';
import { idmappedDirectory } from '../../log/files.js';
import { metaOf } from '../../machines/transition-table.js';
import type { Forest } from '../../machines/snapshots/forest.js';
import { hasIdmappedLayers } from '../../machines/id-mapping.js';
import type { Finding } from './findings.js';
import { clonesBelow, mapsDirectory } from './idmapped-paths.js';
import { below } from '../../base/mount-layers.js';

export interface IdmappedObservation {
  /** Null if the mount table does not apply to the root. */
  readonly mounts: readonly MountEntry[] | null;
  /** As returned by IdmappedMounts.list; null if not listed. */
  readonly idmapped: readonly string[] | null;
}

export function idmappedFindings(
  forest: Forest,
  { mounts, idmapped }: IdmappedObservation,
  root: string,
): readonly Finding[] {
  const findings: Finding[] = [];
  const { needed, owned, leaving } = ownersOf(forest, root);
  if (mounts !== null) {
    // The last entry for a mountpoint is the topmost mount.
    const isMapped = new Map(
      mounts.map(({ mountpoint, options }) => [mountpoint, options.includes('idmapped')]),
    );
    for (const [mountpoint, ids] of needed) {
      if (isMapped.get(mountpoint) !== true) {
        findings.push({ kind: 'MissingIdmappedMount', mountpoint, ids });
      }
    }
  }
  for (const { entry, ids } of entriesIn(idmapped ?? [], owned)) {
    // A removal in progress unmounts its own.
    const isLeaving = leaving.has(entry.split('/')[0] ?? '');
    const path = `${idmappedDirectory(root)}/${entry}`;
    if (ids.length === 0 && !isLeaving) findings.push({ kind: 'UnneededIdmappedMount', path });
  }
  return findings;
}

/** An entry below `idmapped/`: the directory of a mount, or an empty directory of maps. */
export interface IdmappedEntry {
  readonly entry: string;
  /** The snapshots that need it. */
  readonly ids: readonly SnapshotId[];
}

export function idmappedEntries(
  forest: Forest,
  listed: readonly string[],
  root: string,
): readonly IdmappedEntry[] {
  return entriesIn(listed, ownersOf(forest, root).owned);
}

function entriesIn(
  listed: readonly string[],
  owned: ReadonlyMap<string, readonly SnapshotId[]>,
): readonly IdmappedEntry[] {
  const isLeaf = (entry: string) =>
    entry.includes('/') || !listed.some((other) => other.startsWith(`${entry}/`));
  return listed.filter(isLeaf).map((entry) => ({ entry, ids: owned.get(entry) ?? [] }));
}

interface Owners {
  /** Mountpoints that a client may use now, with the snapshots that need them. */
  readonly needed: ReadonlyMap<string, readonly SnapshotId[]>;
  /** All snapshots that need an entry, including committed ones and those in preparation. */
  readonly owned: ReadonlyMap<string, readonly SnapshotId[]>;
  /** Names of directories of maps that a snapshot being removed uses. */
  readonly leaving: ReadonlySet<string>;
}

function ownersOf(forest: Forest, root: string): Owners {
  const needed = new Map<string, SnapshotId[]>();
  const owned = new Map<string, SnapshotId[]>();
  const leaving = new Set<string>();
  const add = (index: Map<string, SnapshotId[]>, key: string, id: SnapshotId) => {
    const ids = index.get(key) ?? [];
    index.set(key, ids);
    ids.push(id);
  };
  for (const state of forest.mapped().filter(hasIdmappedLayers)) {
    const { holdsName, shownAs } = metaOf(state.status);
    if (!holdsName) {
      leaving.add(below(mapsDirectory(root, state.idMapping), idmappedDirectory(root)) ?? '');
      continue;
    }
    for (const { mountpoint } of clonesBelow(root, forest, state)) {
      add(owned, below(mountpoint, idmappedDirectory(root)) ?? '', state.id);
      if (shownAs === 'active' || shownAs === 'view') add(needed, mountpoint, state.id);
    }
  }
  return { needed, owned, leaving };
}
