/** Which log a repaired root holds. */
import type { RecordedFileSystems } from '../../log/root/file-systems.js';
import { FORMAT_VERSION } from '../../log/format/layout.js';
import type { StoredIdentity } from '../../log/root/identity.js';
import type { RepairEvidence } from './repair-evidence.js';
import type { RepairPlan } from './repair-plan.js';

/** The identity that a finished repair leaves. */
export function identityAfter(
  plan: RepairPlan,
  look: RepairEvidence,
  more: {
    readonly uuid: string;
    readonly now: bigint;
    readonly fileSystems: RecordedFileSystems;
    readonly writtenBy: string;
  },
): Omit<StoredIdentity, 'created'> & { readonly created: bigint } {
  const { identity } = look;
  return {
    uuid: plan.identity.uuid ?? more.uuid,
    created: plan.identity.created ?? more.now,
    formatVersion: FORMAT_VERSION,
    epoch: plan.identity.epoch,
    fileSystems: identity.kind === 'sound' ? identity.identity.fileSystems : more.fileSystems,
    writtenBy: more.writtenBy,
  };
}
