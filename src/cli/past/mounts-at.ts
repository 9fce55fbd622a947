/** The mounts that a Mounts call for a snapshot would have returned at a moment. */
import { snapshotsDirectory } from '../../log/files.js';
import { idmappedPath } from '../../inspect/startup/idmapped-paths.js';
import type { SettingsAt } from '../../inspect/archive/settings-at.js';
import { ancestorsIn } from '../../inspect/snapshot/relatives.js';
import { metaOf } from '../../machines/transition-table.js';
import type { SnapshotState } from '../../machines/fold.js';
import type { Forest } from '../../machines/snapshots/forest.js';
import { mountsOf, type MountSpec, type SnapshotPaths } from '../../snapshotter/mounts.js';

/** Null if the snapshot has no mounts, or the log does not have the settings that they depend on. */
export function mountsAt(
  forest: Forest,
  state: SnapshotState,
  settings: SettingsAt | null,
): readonly MountSpec[] | null {
  const { shownAs } = metaOf(state.status);
  if (shownAs !== 'active' && shownAs !== 'view') return null;
  const ancestors = ancestorsIn(forest, state);
  const isUsable = ancestors?.every(({ status }) => status === 'committed.available') ?? false;
  const { root, mountOptions } = settings ?? {};
  if (ancestors === null || !isUsable || root == null || mountOptions == null) return null;
  const snapshots = snapshotsDirectory(root);
  const paths: SnapshotPaths = {
    fsPath: (id) => `${snapshots}/${id}/fs`,
    workPath: (id) => `${snapshots}/${id}/work`,
    idmappedPath: (layer, mapping) => idmappedPath(root, layer, mapping),
  };
  // The log has configured options and those the kernel needs as one list, in this order.
  return mountsOf(state, ancestors, paths, { mountOptions, kernelOptions: [] });
}
