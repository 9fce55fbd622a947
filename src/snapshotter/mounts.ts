/**
 * The mounts a client gets for a snapshot: pure, from state and settings. Kinds, options and their
 * order are those of containerd's overlay snapshotter 2.x (plugins/snapshots/overlay/overlay.go):
 * the applier reads `upperdir=` and `lowerdir=` as separate options, and the mounter can shorten
 * the lowers only because all lie side by side.
 */
import { assert } from '../base/assert.js';
import type { SnapshotId } from '../base/units.js';
import type { SnapshotState } from '../machines/fold.js';
import { mapsAreTrusted } from '../machines/id-mapping.js';
import { GID_MAPPING_LABEL, UID_MAPPING_LABEL } from '../machines/labels.js';

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
  /** Hand mapping labels on as `uidmap=` and `gidmap=`: the kernel can idmap overlay lowers. */
  readonly remapIds: boolean;
}

export interface SnapshotPaths {
  fsPath(id: SnapshotId): string;
  workPath(id: SnapshotId): string;
}

/** `ancestors` are the snapshot's parents, nearest first. */
export function mountsOf(
  state: SnapshotState,
  ancestors: readonly SnapshotState[],
  paths: SnapshotPaths,
  settings: MountSettings,
): readonly MountSpec[] {
  const maps = settings.remapIds ? mapOptions(state) : [];
  const isView = state.preparedAs === 'view';
  const lowers = ancestors.map((ancestor) => paths.fsPath(ancestor.id));
  const [nearest] = lowers;
  if (nearest === undefined) return [bind(paths.fsPath(state.id), isView, maps)];
  // A view on one layer shows that layer; its own directory stays empty.
  if (isView && lowers.length === 1) return [bind(nearest, true, maps)];
  const upper = isView
    ? []
    : [`workdir=${paths.workPath(state.id)}`, `upperdir=${paths.fsPath(state.id)}`];
  const lower = `lowerdir=${lowers.join(':')}`;
  const options = [...maps, ...upper, lower, ...settings.mountOptions, ...settings.kernelOptions];
  return [{ type: 'overlay', source: 'overlay', options }];
}

function bind(source: string, readOnly: boolean, maps: readonly string[]): MountSpec {
  assert(source.startsWith('/'), 'containerd mounts in its own directory: paths are absolute');
  return { type: 'bind', source, options: [...maps, readOnly ? 'ro' : 'rw', 'rbind'] };
}

function mapOptions(state: SnapshotState): readonly string[] {
  if (!mapsAreTrusted(state.name)) return [];
  const options: string[] = [];
  const uidMapping = state.labels.get(UID_MAPPING_LABEL);
  const gidMapping = state.labels.get(GID_MAPPING_LABEL);
  if (uidMapping !== undefined) options.push(`uidmap=${uidMapping}`);
  if (gidMapping !== undefined) options.push(`gidmap=${gidMapping}`);
  return options;
}
