/**
 * The differences between log, directories and mount table, and what startup does about each.
 * docs/recovery.md explains each kind.
 */
import { assertNever } from '../../base/assert.js';
import type { FailedScan } from '../../base/ports.js';
import type { SnapshotId } from '../../base/units.js';
import { idsInWords, namesInWords } from '../events/id-ranges.js';
import type { SET_ASIDE_REASONS } from '../../machines/events/daemon-events.js';
import type { SetAside } from '../../machines/set-aside.js';

/** Why no snapshot owns a directory, according to the log. */
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
  /** The daemon crashed during Prepare or View, before the reply. */
  | (OfSnapshot & { readonly kind: 'AbandonedPreparation' })
  /** The daemon crashed during Commit; the snapshot is still active. */
  | (OfSnapshot & { readonly kind: 'UnfinishedCommit' })
  /** Removed for the client, but its directory is still being deleted. */
  | (OfSnapshot & {
      readonly kind: 'UnfinishedRemoval';
      /** Removes a preparation that a crash interrupted: its directory is kept if it is in use. */
      readonly isInferred: boolean;
      /** The last attempt, if it failed. */
      readonly failed: {
        readonly path: string;
        readonly code: string;
        readonly since: string;
      } | null;
    })
  /** Removed asynchronously, and waiting for Cleanup. */
  | (OfSnapshot & { readonly kind: 'AwaitingCleanup' })
  | (OfSnapshot & {
      readonly kind: 'MissingDirectory';
      readonly shownAs: 'active' | 'view' | 'committed';
      readonly path: string;
    })
  /** A mount on the directory of a snapshot hides its files. */
  | (OfSnapshot & {
      readonly kind: 'HiddenDirectory';
      readonly shownAs: 'active' | 'view' | 'committed';
      readonly path: string;
    })
  /** Nothing is mounted on the mountpoint of a remote layer. */
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
  /** Preallocated for future snapshots. */
  | { readonly kind: 'PreallocatedDirectories'; readonly ids: readonly SnapshotId[] }
  /**
   * Directories in use that are garbage according to the log: an older log was restored, or the
   * disk lost the newest records.
   */
  | {
      readonly kind: 'LogOlderThanDirectories';
      readonly directories: readonly {
        readonly name: string;
        readonly because: GarbageReason;
        readonly evidence: string;
      }[];
      /** The next id: the log has never assigned this one or later ones. */
      readonly nextId: SnapshotId;
    }
  /** An entry in `snapshots/` that is in use and whose name Stratalog never gives. */
  | {
      readonly kind: 'ForeignEntry';
      readonly name: string;
      readonly path: string;
      readonly evidence: string;
    }
  /** The scan of a directory failed, so its content is unknown. */
  | ({ readonly kind: 'UncheckedDirectory'; readonly name: string } & FailedScan)
  /** Set aside: unowned, and deleted only on request of the operator. */
  | {
      readonly kind: 'KeptDirectories';
      readonly because: SetAside['because'];
      readonly directories: readonly KeptDirectory[];
    }
  /** Set aside, and then released for deletion by the operator. */
  | { readonly kind: 'ReleasedDirectories'; readonly names: readonly string[] }
  /** A mount below the root that is not a layer of ours. */
  | { readonly kind: 'ForeignMount'; readonly mountpoint: string; readonly type: string }
  /** A mount elsewhere that uses our directories, most likely the root of a container. */
  | {
      readonly kind: 'MountElsewhere';
      readonly mountpoint: string;
      readonly ids: readonly SnapshotId[];
    }
  /** The daemon runs in its own mount namespace, and its mounts do not propagate. */
  | {
      readonly kind: 'HiddenMounts';
      readonly pid: number;
      /** Layers that are mounted only in that namespace. */
      readonly ids: readonly SnapshotId[];
    };

export type FindingKind = Finding['kind'];

/** What the daemon does about a finding at startup. */
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
    // A container would otherwise run on the files of another file system.
    return finding.shownAs === 'committed' ? 'mark the layer unavailable' : 'report only';
  }
  if (finding.kind !== 'MissingDirectory') return ACTIONS[finding.kind];
  // Never recreate a committed layer as an empty directory: containers would run without its files.
  return finding.shownAs === 'committed' ? 'mark the layer unavailable' : 'make an empty directory';
}

/** The subject of a finding as a searchable text. */
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

/** Whether a healthy daemon can show the finding too, so that it needs no attention. */
export function isOrdinary(finding: Finding): boolean {
  return (
    finding.kind === 'MountElsewhere' ||
    finding.kind === 'AwaitingCleanup' ||
    finding.kind === 'PreallocatedDirectories' ||
    // The operator who ran the repair knows of them.
    (finding.kind === 'KeptDirectories' && finding.because === 'repair')
  );
}
