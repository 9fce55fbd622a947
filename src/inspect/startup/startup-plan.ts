/**
 * Makes the plan that a startup would make now: lists entries and mounts, and scans the candidates
 * for garbage. The daemon does the same in two steps, because clients need not wait for the scan
 * (src/snapshotter/startup/open.ts, recovery.ts).
 */
import { errnoOf } from '../../base/errors.js';
import type {
  IdmappedMounts,
  MountTable,
  SnapshotDirectories,
  SnapshotDirectoryEntry,
} from '../../base/ports.js';
import type { Forest } from '../../machines/snapshots/forest.js';
import { planRecovery, uncheckedCandidates, withUses, type Plan } from './plan.js';
import { usesByName } from './unowned.js';

export interface StartupPorts {
  readonly directories: Pick<SnapshotDirectories, 'list' | 'usesOf'>;
  readonly idmappedMounts: Pick<IdmappedMounts, 'list'>;
  /** Null if the mount table of this machine does not apply to the root. */
  readonly mountTable: Pick<MountTable, 'read'> | null;
  /** `<root>/snapshots`. */
  readonly snapshotsPath: string;
  /** A daemon is running. */
  readonly isLive: boolean;
}

/** `forest` is the replay of the log. Fails as the ports do. */
export async function startupPlan(forest: Forest, ports: StartupPorts): Promise<Plan> {
  const { directories, idmappedMounts, mountTable, snapshotsPath, isLive } = ports;
  const observed = {
    directories: await listed(directories),
    idmapped: await idmappedMounts.list(),
    mounts: mountTable === null ? null : await mountTable.read(),
    nextId: forest.nextId,
    isLive,
  };
  const plan = planRecovery(forest, observed, snapshotsPath);
  const candidates = uncheckedCandidates(plan);
  const uses = await directories.usesOf(candidates.map(({ name }) => name));
  return withUses(plan, usesByName(candidates, uses), snapshotsPath).plan;
}

/** An imported root has no `snapshots/`. */
async function listed({
  list,
}: StartupPorts['directories']): Promise<readonly SnapshotDirectoryEntry[]> {
  try {
    return await list();
  } catch (thrown) {
    if (errnoOf(thrown) === 'ENOENT') return [];
    throw thrown;
  }
}
