/**
 * What processes in several mount namespaces see of each other's mounts, as far as their mount
 * tables tell (mount_namespaces(7), shared subtrees). Pure.
 */
import type { MountEntry } from '../../base/ports.js';
import type { SnapshotId } from '../../base/units.js';
import type { Finding } from './findings.js';
import { mountOf } from '../../base/mount-layers.js';

/** What an operator changes when clients do not see the daemon's mounts. */
export const SHARE_MOUNTS =
  'remove PrivateTmp=, ProtectSystem=, PrivateMounts= and other settings that give the daemon a mount ' +
  'namespace of its own from the drop-ins of its unit, or give its pod mountPropagation: Bidirectional ' +
  'for the root, and restart it';

/**
 * Whether what is mounted below one mount can appear below the other one, of another mount
 * namespace. Where the other receives from a third, both may do so, and only a look can tell.
 */
export function mayPropagate(from: MountEntry, to: MountEntry): boolean {
  if (from.peerGroup === null) return false;
  return to.peerGroup === from.peerGroup || to.master !== null;
}

/**
 * Whether mounts appear in other namespaces too, as far as one table tells. A mount that receives
 * from others has peers of its own at most: systemd makes such for each sandboxed service.
 */
export function isSharedOutward({ peerGroup, master }: MountEntry): boolean {
  return peerGroup !== null && master === null;
}

export interface NamespacesCompared {
  /** The daemon's. */
  readonly pid: number;
  readonly theirs: readonly MountEntry[];
  /** Of a process outside, where clients are. */
  readonly ours: readonly MountEntry[];
  /** Layers that the daemon has mounted. */
  readonly layers: readonly SnapshotId[];
  readonly snapshotsPath: string;
}

/** Null when all that the daemon has mounted, and will mount, is seen outside too. */
export function hiddenMounts(compared: NamespacesCompared): Finding | null {
  const { pid, theirs, ours, layers, snapshotsPath } = compared;
  const hidden = layers.filter((id) => {
    const mountpoint = `${snapshotsPath}/${id}/fs`;
    const [there, here] = [theirs, ours].map((mounts) => topmost(mounts, mountpoint));
    return there?.device !== here?.device || there?.root !== here?.root;
  });
  const [from, to] = [theirs, ours].map((mounts) => mountOf(snapshotsPath, mounts));
  const isShared = from && to && mayPropagate(from, to);
  if (hidden.length === 0 && isShared) return null;
  return { kind: 'HiddenMounts', pid, ids: hidden };
}

function topmost(mounts: readonly MountEntry[], mountpoint: string): MountEntry | undefined {
  return mounts.findLast((entry) => entry.mountpoint === mountpoint);
}
