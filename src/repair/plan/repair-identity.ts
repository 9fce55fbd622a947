/** The identity of a repaired root. */
import type { RecordedFileSystems } from '../../log/root/file-systems.js';
import { FORMAT_VERSION } from '../../log/format/layout.js';
import type { StoredIdentity } from '../../log/root/identity.js';
import type { RepairEvidence } from './repair-evidence.js';
import type { RepairPlan } from './repair-plan.js';

/** The identity that a repair writes. */
export function identityAfter(
  plan: RepairPlan,
  evidence: RepairEvidence,
  options: {
    readonly uuid: string;
    readonly now: bigint;
    readonly fileSystems: RecordedFileSystems;
    readonly writtenBy: string;
  },
): Omit<StoredIdentity, 'created'> & { readonly created: bigint } {
  const { identity } = evidence;
  return {
    uuid: plan.identity.uuid ?? options.uuid,
    created: plan.identity.created ?? options.now,
    formatVersion: FORMAT_VERSION,
    epoch: plan.identity.epoch,
    fileSystems: identity.kind === 'sound' ? identity.identity.fileSystems : options.fileSystems,
    writtenBy: options.writtenBy,
  };
}
