/**
 * What can be found when log, directories and mount table are laid side by side. A finding is
 * one difference; what is done about it is part of it. docs/recovery.md explains each kind.
 */
import { assertNever } from '../../base/assert.js';
import type { FailedScan } from '../../base/ports.js';
import type { SnapshotId } from '../../base/units.js';
import { idsInWords, namesInWords } from '../events/id-ranges.js';
import type { SET_ASIDE_REASONS } from '../../machines/events/daemon-events.js';
import type { SetAside } from '../../machines/set-aside.js';

/** What the log has of a directory that no living snapshot owns. */
export type GarbageReason = (typeof SET_ASIDE_REASONS)[number];

interface OfSnapshot {
  readonly id: SnapshotId;
  readonly name: string;
}

export interface KeptDirectory {
  readonly name: string;
  readonly evidence: string;
}

export type Finding =
  /** Prepare or View was under way when the daemon died; no client has had an answer. */
  | (OfSnapshot & { readonly kind: 'AbandonedPreparation' })
  /** Commit was under way; the snapshot is still active. */
  | (OfSnapshot & { readonly kind: 'UnfinishedCommit' })
  /** Removed for the client, but its directory is still being deleted. */
  | (OfSnapshot & {
      readonly kind: 'UnfinishedRemoval';
      /** The end of a preparation that a crash cut off: its directory is kept if it is in use. */
      readonly isInferred: boolean;
      /** The newest attempt, if it failed. */
      readonly failed: {
        readonly path: string;
        readonly code: string;
        readonly since: string;
      } | null;
    })
  /** Removed, and waiting for Cleanup, as asynchronous removal wants it. */
  | (OfSnapshot & { readonly kind: 'AwaitingCleanup' })
  | (OfSnapshot & {
      readonly kind: 'MissingDirectory';
      readonly shownAs: 'active' | 'view' | 'committed';
      readonly path: string;
    })
  /** Something is mounted on the directory of a snapshot, so that its files cannot be seen. */
  | (OfSnapshot & {
      readonly kind: 'HiddenDirectory';
      readonly shownAs: 'active' | 'view' | 'committed';
      readonly path: string;
    })
  /** A remote layer whose mountpoint shows nothing. */
  | (OfSnapshot & { readonly kind: 'MissingMount'; readonly mountpoint: string })
  /** A layer that these snapshots need is not mounted with mapped ids. */
  | {
      readonly kind: 'MissingIdmappedMount';
      readonly mountpoint: string;
      readonly ids: readonly SnapshotId[];
    }
  /** A mount with mapped ids, or its directory, that no snapshot needs. */
  | { readonly kind: 'UnneededIdmappedMount'; readonly path: string }
  | (OfSnapshot & { readonly kind: 'UnavailableLayer'; readonly reason: string })
  /** An entry in `snapshots/` that no snapshot owns. */
  | { readonly kind: 'OrphanDirectory'; readonly name: string; readonly path: string }
  /** Made ahead for snapshots that nobody has asked for yet. */
  | { readonly kind: 'PreallocatedDirectories'; readonly ids: readonly SnapshotId[] }
  /**
   * Directories in use that the log knows only as garbage: an older log was put back, or the disk
   * lost its newest records.
   */
  | {
      readonly kind: 'LogOlderThanDirectories';
      readonly directories: readonly {
        readonly name: string;
        readonly because: GarbageReason;
        readonly evidence: string;
      }[];
      /** The log gives this id next: those from here on it does not know at all. */
      readonly nextId: SnapshotId;
    }
  /** Something in `snapshots/` under a name that Stratalog does not give, and that is in use. */
  | {
      readonly kind: 'ForeignEntry';
      readonly name: string;
      readonly path: string;
      readonly evidence: string;
    }
  /** A look that failed: what is there is not known. */
  | ({ readonly kind: 'UncheckedDirectory'; readonly name: string } & FailedScan)
  /** Set aside: no snapshot owns them, and only a person may have them deleted. */
  | {
      readonly kind: 'KeptDirectories';
      readonly because: SetAside['because'];
      readonly directories: readonly KeptDirectory[];
    }
  /** Set aside before, and then requested to be deleted. */
  | { readonly kind: 'ReleasedDirectories'; readonly names: readonly string[] }
  /** Something mounted below our root that is no layer of ours. */
  | { readonly kind: 'ForeignMount'; readonly mountpoint: string; readonly type: string }
  /** A mount elsewhere that uses our directories: a container's root, most likely. */
  | {
      readonly kind: 'MountElsewhere';
      readonly mountpoint: string;
      readonly ids: readonly SnapshotId[];
    }
  /** The running daemon is in a mount namespace of its own, and what it mounts stays there. */
  | {
      readonly kind: 'HiddenMounts';
      readonly pid: number;
      /** Layers that it has mounted, and that are not seen outside. */
      readonly ids: readonly SnapshotId[];
    };

export type FindingKind = Finding['kind'];

/** What the daemon does about a finding at start. */
export type Action =
  | 'abandon it, and remove its directory if it is unused'
  | 'return it to active'
  | 'remove its directory'
  | 'remove its directory if it is unused'
  | 'remove the directories'
  | 'leave it to Cleanup'
  | 'make an empty directory'
  | 'mark the layer unavailable'
  | 'mount the layer'
  | 'mount the layer with mapped ids'
  | 'unmount it and remove its directory'
  | 'try to restore the layer'
  | 'set the directories aside'
  | 'set it aside'
  | 'leave it alone'
  | 'leave them alone'
  | 'report only';

type FixedKind = Exclude<FindingKind, 'MissingDirectory' | 'HiddenDirectory' | 'UnfinishedRemoval'>;

const ACTIONS: Readonly<Record<FixedKind, Action>> = {
  AbandonedPreparation: 'abandon it, and remove its directory if it is unused',
  UnfinishedCommit: 'return it to active',
  AwaitingCleanup: 'leave it to Cleanup',
  MissingMount: 'mount the layer',
  MissingIdmappedMount: 'mount the layer with mapped ids',
  UnneededIdmappedMount: 'unmount it and remove its directory',
  UnavailableLayer: 'try to restore the layer',
  OrphanDirectory: 'remove its directory',
  PreallocatedDirectories: 'remove the directories',
  LogOlderThanDirectories: 'set the directories aside',
  ForeignEntry: 'set it aside',
  UncheckedDirectory: 'leave it alone',
  KeptDirectories: 'leave them alone',
  ReleasedDirectories: 'remove the directories',
  ForeignMount: 'report only',
  MountElsewhere: 'report only',
  HiddenMounts: 'report only',
};

export function actionFor(finding: Finding): Action {
  if (finding.kind === 'UnfinishedRemoval') {
    return finding.isInferred ? 'remove its directory if it is unused' : 'remove its directory';
  }
  if (finding.kind === 'HiddenDirectory') {
    // A container on another file system's files would be wrong without a sign.
    return finding.shownAs === 'committed' ? 'mark the layer unavailable' : 'report only';
  }
  if (finding.kind !== 'MissingDirectory') return ACTIONS[finding.kind];
  // A committed layer that is gone must not come back empty: containers would start on nothing.
  return finding.shownAs === 'committed' ? 'mark the layer unavailable' : 'make an empty directory';
}

/** What a finding is about, in a word a person can search for. */
export function subjectOf(finding: Finding): string {
  switch (finding.kind) {
    case 'OrphanDirectory':
    case 'ForeignEntry':
    case 'UncheckedDirectory':
    case 'UnneededIdmappedMount':
      return finding.path;
    case 'PreallocatedDirectories':
      return `directories ${idsInWords(finding.ids)}`;
    case 'LogOlderThanDirectories':
    case 'KeptDirectories':
      return `directories ${namesInWords(finding.directories.map(({ name }) => name))}`;
    case 'ReleasedDirectories':
      return `directories ${namesInWords(finding.names)}`;
    case 'MissingIdmappedMount':
    case 'ForeignMount':
    case 'MountElsewhere':
      return finding.mountpoint;
    case 'HiddenMounts':
      return `process ${finding.pid}`;
    case 'AbandonedPreparation':
    case 'UnfinishedCommit':
    case 'UnfinishedRemoval':
    case 'AwaitingCleanup':
    case 'MissingDirectory':
    case 'HiddenDirectory':
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
    finding.kind === 'PreallocatedDirectories' ||
    // The person who had the log repaired knows of them.
    (finding.kind === 'KeptDirectories' && finding.because === 'repair')
  );
}
