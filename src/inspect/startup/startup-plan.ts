/**
 * The plan that a startup would make now: entries and mounts are listed, and what only a look can
 * tell to be garbage is looked at. The daemon does the same in two steps, because clients need not
 * wait for the second one (src/snapshotter/startup/open.ts, recovery.ts).
 */
import { errnoOf } from '../../base/errors.js';
import type {
  IdmappedMounts,
  MountTable,
  SnapshotDirectories,
  SnapshotDirectoryEntry,
} from '../../base/ports.js';
import type { Forest } from '../../machines/snapshots/forest.js';
import { planRecovery, unlooked, withUses, type Plan } from './plan.js';
import { usesByName } from './unowned.js';

export interface StartupWorld {
  readonly directories: Pick<SnapshotDirectories, 'list' | 'usesOf'>;
  readonly idmappedMounts: Pick<IdmappedMounts, 'list'>;
  /** Null where the mount table of this machine does not apply to the root. */
  readonly mountTable: Pick<MountTable, 'read'> | null;
  /** `<root>/snapshots`. */
  readonly snapshotsPath: string;
  /** A daemon is at work. */
  readonly isLive: boolean;
}

/** `forest` is the replay of the log. Fails as the ports do. */
export async function startupPlan(forest: Forest, world: StartupWorld): Promise<Plan> {
  const { directories, idmappedMounts, mountTable, snapshotsPath, isLive } = world;
  const observed = {
    directories: await listed(directories),
    idmapped: await idmappedMounts.list(),
    mounts: mountTable === null ? null : await mountTable.read(),
    nextId: forest.nextId,
    isLive,
  };
  const plan = planRecovery(forest, observed, snapshotsPath);
  const candidates = unlooked(plan);
  const uses = await directories.usesOf(candidates.map(({ name }) => name));
  return withUses(plan, usesByName(candidates, uses), snapshotsPath).plan;
}

/** A root that was imported has no `snapshots/`. */
async function listed({
  list,
}: StartupWorld['directories']): Promise<readonly SnapshotDirectoryEntry[]> {
  try {
    return await list();
  } catch (thrown) {
    if (errnoOf(thrown) === 'ENOENT') return [];
    throw thrown;
  }
}
