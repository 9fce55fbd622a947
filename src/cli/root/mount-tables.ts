/**
 * The mount tables with mounts of a root: that of this process, and that of a daemon in another
 * mount namespace, where it mounts its layers.
 */
import { errnoOf } from '../../base/errors.js';
import type { MountEntry } from '../../base/ports.js';
import type { Host } from '../../host/host.js';
import { hiddenMounts } from '../../inspect/startup/mount-namespaces.js';
import type { Plan } from '../../inspect/startup/plan.js';
import type { LiveLockHolder } from './holder.js';

export interface MountTables {
  readonly here: readonly MountEntry[];
  /** Null if the daemon is in the same mount namespace, or there is no daemon. */
  readonly daemon: { readonly pid: number; readonly mounts: readonly MountEntry[] } | null;
}

export async function mountTables(host: Host, holder: LiveLockHolder | null): Promise<MountTables> {
  const here = await host.mountTable.read();
  if (holder === null || holder.isTool) return { here, daemon: null };
  const { pid } = holder;
  const startedAt = host.processes.startOf(pid);
  const isApart = startedAt !== null && host.processes.mountViewOf({ pid, startedAt }) === 'other';
  const mounts = isApart ? await tableIfRunning(host, pid) : null;
  return { here, daemon: mounts === null ? null : { pid, mounts } };
}

/** Null if the daemon has just exited. */
async function tableIfRunning(host: Host, pid: number): Promise<readonly MountEntry[] | null> {
  try {
    return await host.processes.mountsOf(pid);
  } catch (thrown) {
    if (['ENOENT', 'ESRCH', 'EINVAL'].includes(errnoOf(thrown) ?? '')) return null;
    throw thrown;
  }
}

/** The union of both tables. */
export function allMounts({ here, daemon }: MountTables): readonly MountEntry[] {
  if (daemon === null) return here;
  const textOf = ({ mountpoint, device, root }: MountEntry) => `${device} ${root} ${mountpoint}`;
  const known = new Set(daemon.mounts.map(textOf));
  return [...daemon.mounts, ...here.filter((entry) => !known.has(textOf(entry)))];
}

/** Adds the finding about hidden mounts, which only exists while the daemon is running. */
export function withHiddenMounts(
  plan: Plan,
  tables: MountTables | null,
  snapshotsPath: string,
): Plan {
  if (tables === null || tables.daemon === null) return plan;
  const { pid, mounts } = tables.daemon;
  const compared = { pid, theirs: mounts, ours: tables.here, layers: plan.adopted, snapshotsPath };
  const found = hiddenMounts(compared);
  return found === null ? plan : { ...plan, findings: [...plan.findings, found] };
}
