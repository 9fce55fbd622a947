/**
 * The mounts a client gets for a snapshot: pure, from state and settings. Kinds, options and their
 * order are those of containerd's overlay snapshotter 2.x (plugins/snapshots/overlay/overlay.go):
 * the applier reads `upperdir=` and `lowerdir=` as separate options, and the mounter can shorten
 * the lowers only because all lie side by side.
 */
import { assert } from '../base/assert.js';
import type { SnapshotId } from '../base/units.js';
import type { SnapshotState } from '../machines/fold.js';
import type { IdMapping } from '../machines/id-mapping.js';

/** `containerd.types.Mount` without its rarely used target. */
export interface MountSpec {
  readonly type: 'bind' | 'overlay';
  readonly source: string;
  readonly options: readonly string[];
}

export interface MountSettings {
  /** From the configuration, for overlay mounts only. */
  readonly mountOptions: readonly string[];
  /** What this kernel and this place need: `userxattr`, `index=off`. */
  readonly kernelOptions: readonly string[];
  /** Why layers cannot be mounted with mapped ids here; null when they can. */
  readonly whyNoIdMapping: string | null;
}

export interface SnapshotPaths {
  fsPath(id: SnapshotId): string;
  workPath(id: SnapshotId): string;
  /** What shows a layer with mapped ids; null when its own directory does. */
  idmappedPath(layer: SnapshotState, mapping: IdMapping | null): string | null;
}

/**
 * `ancestors` are the snapshot's parents, nearest first.
 *
 * No mount has the options `uidmap=` and `gidmap=`, which the overlay snapshotter gives: before
 * 2.0 containerd hands them to the kernel, which refuses them; later it ignores one of the two
 * alone, and both on a read-only bind; and it maps one clone of the directory that all lowers have
 * in common, which shows either nothing of what is mounted in it, or fails with what cannot be
 * mapped there, whichever image that belongs to (core/mount/mount_linux.go).
 */
export function mountsOf(
  state: SnapshotState,
  ancestors: readonly SnapshotState[],
  paths: SnapshotPaths,
  settings: Pick<MountSettings, 'mountOptions' | 'kernelOptions'>,
): readonly MountSpec[] {
  const isView = state.preparedAs === 'view';
  const lowers = ancestors.map(
    (layer) => paths.idmappedPath(layer, state.idMapping) ?? paths.fsPath(layer.id),
  );
  const [nearest] = lowers;
  if (nearest === undefined) return [bind(paths.fsPath(state.id), isView)];
  // A view on one layer shows that layer; its own directory stays empty.
  if (isView && lowers.length === 1) return [bind(nearest, true)];
  const upper = isView
    ? []
    : [`workdir=${paths.workPath(state.id)}`, `upperdir=${paths.fsPath(state.id)}`];
  const lower = `lowerdir=${lowers.join(':')}`;
  const options = [...upper, lower, ...settings.mountOptions, ...settings.kernelOptions];
  return [{ type: 'overlay', source: 'overlay', options }];
}

function bind(source: string, readOnly: boolean): MountSpec {
  assert(source.startsWith('/'), 'containerd mounts in its own directory: paths are absolute');
  return { type: 'bind', source, options: [readOnly ? 'ro' : 'rw', 'rbind'] };
}
