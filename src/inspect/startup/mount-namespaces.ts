/**
 * Determines from mount tables which mounts propagate between mount namespaces
 * (mount_namespaces(7), shared subtrees). Pure.
 */
import type { MountEntry } from '../../base/ports.js';
import type { SnapshotId } from '../../base/units.js';
import type { Finding } from './findings.js';
import { mountOf } from '../../base/mount-layers.js';

/** Advice for an operator whose clients do not see the daemon's mounts. */
export const SHARE_MOUNTS =
  'remove PrivateTmp=, ProtectSystem=, PrivateMounts= and other settings that give the daemon a mount ' +
  'namespace of its own from the drop-ins of its unit, or give its pod mountPropagation: Bidirectional ' +
  'for the root, and restart it';

/**
 * Whether mounts below one mount can propagate to another one in another mount namespace. If both
 * may be slaves of a third, the tables cannot decide, and the answer is true.
 */
export function mayPropagate(from: MountEntry, to: MountEntry): boolean {
  if (from.peerGroup === null) return false;
  return to.peerGroup === from.peerGroup || to.master !== null;
}

/**
 * Whether mounts propagate to other namespaces, judged by one table. A slave mount has only its own
 * peers: systemd creates such mounts for sandboxed services.
 */
export function isSharedOutward({ peerGroup, master }: MountEntry): boolean {
  return peerGroup !== null && master === null;
}

export interface NamespacesCompared {
  /** The daemon's. */
  readonly pid: number;
  readonly theirs: readonly MountEntry[];
  /** Of a process in the namespace of the clients. */
  readonly ours: readonly MountEntry[];
  /** Layers that the daemon has mounted. */
  readonly layers: readonly SnapshotId[];
  readonly snapshotsPath: string;
}

/** Null if all current and future mounts of the daemon are visible to clients. */
export function hiddenMounts(compared: NamespacesCompared): Finding | null {
  const { pid, theirs, ours, layers, snapshotsPath } = compared;
  const hidden = layers.filter((id) => {
    const mountpoint = `${snapshotsPath}/${id}/fs`;
    const [their, our] = [theirs, ours].map((mounts) => topmost(mounts, mountpoint));
    return their?.device !== our?.device || their?.root !== our?.root;
  });
  const [from, to] = [theirs, ours].map((mounts) => mountOf(snapshotsPath, mounts));
  const isShared = from && to && mayPropagate(from, to);
  if (hidden.length === 0 && isShared) return null;
  return { kind: 'HiddenMounts', pid, ids: hidden };
}

function topmost(mounts: readonly MountEntry[], mountpoint: string): MountEntry | undefined {
  return mounts.findLast((entry) => entry.mountpoint === mountpoint);
}
