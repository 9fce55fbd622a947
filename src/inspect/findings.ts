/**
 * What can be found when log, directories and mount table are laid side by side. A finding is
 * one difference; what is done about it is part of it. docs/recovery.md explains each kind.
 */
import { assertNever } from '../base/assert.js';
import type { SnapshotId } from '../base/units.js';

interface OfSnapshot {
  readonly id: SnapshotId;
  readonly name: string;
}

export type Finding =
  /** Prepare or View was under way when the daemon died; no client was told of it. */
  | (OfSnapshot & { readonly kind: 'AbandonedPreparation' })
  /** Commit was under way; the snapshot is still active. */
  | (OfSnapshot & { readonly kind: 'UnfinishedCommit' })
  /** Removed for the client, but its directory is still being deleted. */
  | (OfSnapshot & { readonly kind: 'UnfinishedRemoval' })
  /** Removed, and waiting for Cleanup, as asynchronous removal wants it. */
  | (OfSnapshot & { readonly kind: 'AwaitingCleanup' })
  | (OfSnapshot & {
      readonly kind: 'MissingDirectory';
      readonly shownAs: 'active' | 'view' | 'committed';
      readonly path: string;
    })
  /** A remote layer whose mountpoint shows nothing. */
  | (OfSnapshot & { readonly kind: 'MissingMount'; readonly mountpoint: string })
  | (OfSnapshot & { readonly kind: 'UnavailableLayer'; readonly reason: string })
  /** An entry in `snapshots/` that no snapshot owns. */
  | { readonly kind: 'OrphanDirectory'; readonly name: string; readonly path: string }
  /** Made ahead for snapshots that nobody has asked for yet. */
  | { readonly kind: 'SpareDirectories'; readonly ids: readonly SnapshotId[] }
  /** Set aside by a repair: what was in them belongs to snapshots whose events are lost. */
  | { readonly kind: 'KeptDirectories'; readonly ids: readonly SnapshotId[] }
  /** Something mounted below our root that is no layer of ours. */
  | { readonly kind: 'ForeignMount'; readonly mountpoint: string; readonly type: string }
  /** A mount elsewhere that uses our directories: a container's root, most likely. */
  | {
      readonly kind: 'MountElsewhere';
      readonly mountpoint: string;
      readonly ids: readonly SnapshotId[];
    };

export type FindingKind = Finding['kind'];

/** What the daemon does about a finding at start. */
export type Action =
  | 'abandon and remove its directory'
  | 'return it to active'
  | 'remove its directory'
  | 'remove the directories'
  | 'leave it to Cleanup'
  | 'make an empty directory'
  | 'mark the layer unavailable'
  | 'mount the layer'
  | 'try to restore the layer'
  | 'leave them alone'
  | 'report only';

const ACTIONS: Readonly<Record<Exclude<FindingKind, 'MissingDirectory'>, Action>> = {
  AbandonedPreparation: 'abandon and remove its directory',
  UnfinishedCommit: 'return it to active',
  UnfinishedRemoval: 'remove its directory',
  AwaitingCleanup: 'leave it to Cleanup',
  MissingMount: 'mount the layer',
  UnavailableLayer: 'try to restore the layer',
  OrphanDirectory: 'remove its directory',
  SpareDirectories: 'remove the directories',
  KeptDirectories: 'leave them alone',
  ForeignMount: 'report only',
  MountElsewhere: 'report only',
};

export function actionFor(finding: Finding): Action {
  if (finding.kind !== 'MissingDirectory') return ACTIONS[finding.kind];
  // A committed layer that is gone must not come back empty: containers would start on nothing.
  return finding.shownAs === 'committed' ? 'mark the layer unavailable' : 'make an empty directory';
}

/** What a finding is about, in a word a person can search for. */
export function subjectOf(finding: Finding): string {
  switch (finding.kind) {
    case 'OrphanDirectory':
      return finding.path;
    case 'SpareDirectories':
    case 'KeptDirectories':
      return `snapshots ${idsInWords(finding.ids)}`;
    case 'ForeignMount':
    case 'MountElsewhere':
      return finding.mountpoint;
    case 'AbandonedPreparation':
    case 'UnfinishedCommit':
    case 'UnfinishedRemoval':
    case 'AwaitingCleanup':
    case 'MissingDirectory':
    case 'MissingMount':
    case 'UnavailableLayer':
      return `snapshot ${finding.id} ${finding.name}`;
    default:
      return assertNever(finding);
  }
}

/** Whether a healthy, busy daemon may show it too: such a finding is no reason for an alarm. */
export function isOrdinary(finding: Finding): boolean {
  return (
    finding.kind === 'MountElsewhere' ||
    finding.kind === 'AwaitingCleanup' ||
    finding.kind === 'SpareDirectories' ||
    finding.kind === 'KeptDirectories'
  );
}

/** `4 to 35`, or one by one where there is a gap. */
export function idsInWords(ids: readonly number[]): string {
  const first = ids[0];
  const last = ids.at(-1);
  if (first === undefined || last === undefined) return 'none';
  const isRow = last - first === ids.length - 1;
  return isRow && ids.length > 2 ? `${first} to ${last}` : ids.join(', ');
}
