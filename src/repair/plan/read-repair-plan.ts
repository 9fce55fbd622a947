/** Reads everything that a repair plan is based on. Writes nothing and takes no lock. */
import type { Disk } from '../../base/ports.js';
import type { SnapshotId } from '../../base/units.js';
import { compareFileSystems, fileSystemsOf } from '../../log/root/file-systems.js';
import { SEGMENT } from '../../log/format/layout.js';
import { fileSystemRefused } from '../../log/root/identity.js';
import { gatherRepairEvidence, looseRecords, type LooseRecord } from './repair-evidence.js';
import type { RepairInputs } from './repair-plan.js';
import { filesOfLog, furthestWalk } from './repair-walk.js';

export interface ReadRepairPlanOptions {
  readonly disk: Disk;
  readonly root: string;
  /** Numbers of the directories in `snapshots/`. */
  readonly directories: readonly SnapshotId[];
  /** End the log before this position, even if the records after it are sound. */
  readonly endAt?: number;
}

/**
 * Fails  LogTooNew, HostFault; RootRefused if `log/` or `snapshots/` is on another file system than
 *        recorded: a repair cannot set aside directories that it does not see, and a later startup
 *        would delete them
 */
export async function readRepairPlan(options: ReadRepairPlanOptions): Promise<RepairInputs> {
  const { disk, root, directories } = options;
  const evidence = await gatherRepairEvidence(disk, root);
  const fileSystems = await fileSystemsOf(disk, root);
  if (evidence.identity.kind === 'sound') {
    const comparison = compareFileSystems(
      evidence.identity.identity.fileSystems,
      fileSystems,
      'copy',
    );
    if (comparison.kind === 'refused') throw fileSystemRefused(root, comparison);
  }
  const walk = await furthestWalk(disk, root, evidence, options.endAt);
  const loose: LooseRecord[] = [];
  for (const file of filesOfLog(evidence)) {
    const piece = walk?.pieces.findLast((kept) => kept.file === file);
    const from = piece?.to.offset ?? SEGMENT.headerBytes;
    loose.push(...(await looseRecords(disk, root, file, from)));
  }
  return { evidence, walk, loose, directories, fileSystems };
}
