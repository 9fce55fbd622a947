/** Checks whether a root has the directories that its log requires, when no id identifies it. */
import type { Disk } from '../../base/ports.js';
import { parseSnapshotId } from '../../base/units.js';
import { snapshotEntries, snapshotsDirectory } from '../../log/files.js';
import type { Forest } from '../../machines/snapshots/forest.js';
import { planRecovery } from './plan.js';

/**
 * Null if the directory of every snapshot exists. Unknown directories are not a contradiction,
 * because a crash can leave some.
 */
export async function contradictionInRoot(
  disk: Disk,
  root: string,
  forest: Forest,
): Promise<string | null> {
  const directories = (await snapshotEntries(disk, root)).map((name) => ({
    ...{ name, id: parseSnapshotId(name) },
    ...{ isDirectory: true, parts: { kind: 'unchecked' } as const },
  }));
  const observed = {
    directories,
    mounts: null,
    idmapped: null,
    nextId: forest.nextId,
    isLive: false,
  };
  const { findings } = planRecovery(forest, observed, snapshotsDirectory(root));
  const missing = findings.filter(({ kind }) => kind === 'MissingDirectory');
  const [first] = missing;
  if (first?.kind !== 'MissingDirectory') return null;
  const more = missing.length === 1 ? '' : ` and ${missing.length - 1} more`;
  return `the directory of snapshot ${first.id}${more} is missing`;
}
