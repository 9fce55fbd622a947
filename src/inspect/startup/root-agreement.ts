/** Whether the directories in a root are those that its log has; asked where nothing else tells. */
import type { Disk } from '../../base/ports.js';
import { parseSnapshotId } from '../../base/units.js';
import { snapshotEntries, snapshotsDirectory } from '../../log/files.js';
import type { Forest } from '../../machines/snapshots/forest.js';
import { planRecovery } from './plan.js';

/**
 * Null when each snapshot in the log that has a directory of its own has it here. Directories that
 * the log does not know are no contradiction: a crash leaves some.
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
