/**
 * Whose the mounts with mapped ids are: what snapshots need and is not there, and what is there and
 * no snapshot needs. Pure.
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
  /** Null where the mount table is not of this root. */
  readonly mounts: readonly MountEntry[] | null;
  /** As IdmappedMounts.list answers; null when it was not listed. */
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
    // Of several mounts on one mountpoint, the last one in the table is on top.
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
    // A removal takes its own away when it ends.
    const isLeaving = leaving.has(entry.split('/')[0] ?? '');
    const path = `${idmappedDirectory(root)}/${entry}`;
    if (ids.length === 0 && !isLeaving) findings.push({ kind: 'UnneededIdmappedMount', path });
  }
  return findings;
}

/** An entry below `idmapped/`: a mount's directory, or a directory of maps with none in it. */
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
  /** By entry, all that need it, those in preparation and committed ones included. */
  readonly owned: ReadonlyMap<string, readonly SnapshotId[]>;
  /** Names of the directories of maps from which a snapshot is being removed. */
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
