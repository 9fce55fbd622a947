/** Everything a repair plan is made of, read in one go. Writes nothing, takes no lock. */
import type { Disk } from '../../base/ports.js';
import type { SnapshotId } from '../../base/units.js';
import { compareFileSystems, fileSystemsOf } from '../../log/root/file-systems.js';
import { SEGMENT } from '../../log/format/layout.js';
import { fileSystemRefused } from '../../log/root/identity.js';
import { gatherRepairEvidence, looseRecords, type LooseRecord } from './repair-evidence.js';
import type { RepairWorld } from './repair-plan.js';
import { filesOfLog, furthestWalk } from './repair-walk.js';

export interface ListSegmentsOptions {
  readonly disk: Disk;
  readonly root: string;
  /** Numbers of the directories in `snapshots/`. */
  readonly directories: readonly SnapshotId[];
  /** The log is to end before this position, whatever stands there. */
  readonly endAt?: number;
}

/**
 * Fails  LogTooNew, HostFault; RootRefused when `log/` or `snapshots/` is not the one it was: what is
 *        not there cannot be set aside, and a later start would delete it
 */
export async function readRepairPlan(options: ListSegmentsOptions): Promise<RepairWorld> {
  const { disk, root, directories } = options;
  const look = await gatherRepairEvidence(disk, root);
  const fileSystems = await fileSystemsOf(disk, root);
  if (look.identity.kind === 'sound') {
    const verdict = compareFileSystems(look.identity.identity.fileSystems, fileSystems, 'copy');
    if (verdict.kind === 'refused') throw fileSystemRefused(root, verdict);
  }
  const walk = await furthestWalk(disk, root, look, options.endAt);
  const loose: LooseRecord[] = [];
  for (const file of filesOfLog(look)) {
    const piece = walk?.pieces.findLast((kept) => kept.file === file);
    const from = piece?.to.offset ?? SEGMENT.headerBytes;
    loose.push(...(await looseRecords(disk, root, file, from)));
  }
  return { look, walk, loose, directories, fileSystems };
}
