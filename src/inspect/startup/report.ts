/** Formats findings and snapshot counts for `stratalog inspect`. Pure. */
import { idsInWords } from '../events/id-ranges.js';
import { assertNever } from '../../base/assert.js';
import { metaOf } from '../../machines/transition-table.js';
import type { Forest } from '../../machines/snapshots/forest.js';
import {
  actionFor,
  isOrdinary,
  subjectOf,
  type Action,
  type Finding,
  type GarbageReason,
  type KeptDirectory,
} from './findings.js';
import { SHARE_MOUNTS } from './mount-namespaces.js';

export interface FindingReport {
  readonly kind: Finding['kind'];
  readonly subject: string;
  /** What was observed, and where. */
  readonly evidence: string;
  /** What the next startup does about it. */
  readonly action: Action;
  /** What is lost in any case. */
  readonly loss: string;
  /** Needs no attention. */
  readonly isOrdinary: boolean;
}

/** `isLive`: a daemon runs on the root, so work in progress is ordinary. */
export function reportOf(finding: Finding, isLive: boolean): FindingReport {
  return {
    kind: finding.kind,
    subject: subjectOf(finding),
    evidence: evidenceOf(finding),
    action: actionFor(finding),
    loss: lossOf(finding),
    isOrdinary: isOrdinary(finding) || (isLive && isInProgress(finding)),
  };
}

function lossOf(finding: Finding): string {
  switch (finding.kind) {
    case 'AbandonedPreparation':
      return 'nothing: no client received a reply to the preparation';
    case 'MissingDirectory':
      return lossOfDirectory(finding);
    case 'LogOlderThanDirectories':
      return 'nothing more than the events that the log lacks';
    case 'UnfinishedCommit':
    case 'UnfinishedRemoval':
    case 'AwaitingCleanup':
    case 'HiddenDirectory':
    case 'MissingMount':
    case 'MissingIdmappedMount':
    case 'UnneededIdmappedMount':
    case 'UnavailableLayer':
    case 'OrphanDirectory':
    case 'ForeignEntry':
    case 'UncheckedDirectory':
    case 'KeptDirectories':
    case 'PreallocatedDirectories':
    case 'ForeignMount':
    case 'MountElsewhere':
    case 'HiddenMounts':
      return 'nothing';
    case 'ReleasedDirectories':
      return 'what is in them, as requested';
    default:
      return assertNever(finding);
  }
}

function lossOfDirectory({ shownAs, path }: Finding & { kind: 'MissingDirectory' }): string {
  if (shownAs === 'committed') return 'the files of the layer';
  if (shownAs === 'view') return 'nothing: it is read-only, and its layers are elsewhere';
  return path.endsWith('/work') ? 'nothing' : 'what the container had written';
}

/** Whether the finding is ordinary work of a running daemon: without one, a crash left it. */
function isInProgress(finding: Finding): boolean {
  if (finding.kind === 'UnfinishedRemoval') return finding.failed === null;
  return (
    finding.kind === 'AbandonedPreparation' ||
    finding.kind === 'UnfinishedCommit' ||
    finding.kind === 'ReleasedDirectories' ||
    finding.kind === 'UnneededIdmappedMount'
  );
}

function evidenceOf(finding: Finding): string {
  switch (finding.kind) {
    case 'AbandonedPreparation':
      return 'the log has the start of its preparation, but not the end';
    case 'UnfinishedCommit':
      return 'the log has SnapshotCommitting, but neither SnapshotCommitted nor SnapshotCommitFailed';
    case 'UnfinishedRemoval':
      return finding.failed === null
        ? 'the log has SnapshotRemoving or SnapshotAbandoned, but not SnapshotRemoved'
        : `it has failed with ${finding.failed.code} on ${finding.failed.path} since ${finding.failed.since}`;
    case 'AwaitingCleanup':
      return 'the log has SnapshotRemoving with deferred: true';
    case 'MissingDirectory':
      return `${finding.path} does not exist, but the snapshot is ${finding.shownAs}`;
    case 'HiddenDirectory':
      return `a mount on ${finding.path} hides the snapshot, which is ${finding.shownAs}`;
    case 'MissingMount':
      return `nothing is mounted on ${finding.mountpoint}`;
    case 'MissingIdmappedMount':
      return `nothing is mounted with mapped ids on ${finding.mountpoint}, which ${snapshotList(finding.ids)} ${finding.ids.length === 1 ? 'needs' : 'need'}`;
    case 'UnneededIdmappedMount':
      return 'no snapshot in the log needs it';
    case 'UnavailableLayer':
      return finding.reason;
    case 'OrphanDirectory':
      return 'no snapshot in the log owns it, and it is unused';
    case 'LogOlderThanDirectories':
      return olderEvidence(finding);
    case 'ForeignEntry':
      return `not a name of Stratalog, and ${finding.evidence}; stratalog gc --delete ${finding.name} deletes it`;
    case 'UncheckedDirectory':
      return `${finding.operation} failed with ${finding.code}: its content is unknown`;
    case 'PreallocatedDirectories':
      return 'preallocated by DirectoriesPreallocated and not yet used by a snapshot';
    case 'KeptDirectories':
      return `${keptEvidence(finding)}; stratalog gc --delete <name> deletes one`;
    case 'ReleasedDirectories':
      return 'their deletion, including their content, was requested';
    case 'ForeignMount':
      return `a mount of type ${finding.type} below the snapshots that is not a layer of ours`;
    case 'MountElsewhere':
      return `an overlay that uses ${snapshotList(finding.ids)}`;
    case 'HiddenMounts': {
      const layers = finding.ids.length === 0 ? '' : ` (now: snapshots ${idsInWords(finding.ids)})`;
      return `the daemon runs in its own mount namespace, and its layers are visible only there${layers}; ${SHARE_MOUNTS}`;
    }
    default:
      return assertNever(finding);
  }
}

const snapshotList = (ids: readonly number[]): string =>
  `${ids.length === 1 ? 'snapshot' : 'snapshots'} ${ids.join(', ')}`;

type Newer = Extract<Finding, { kind: 'LogOlderThanDirectories' }>;

/** What happened, the directories that prove it, and what to do. */
function olderEvidence({ directories, nextId }: Newer): string {
  const count = (because: GarbageReason) =>
    directories.filter((directory) => directory.because === because).length;
  const known = (['preallocated', 'abandoned', 'unowned'] as const).flatMap((because) =>
    count(because) === 0 ? [] : [`${count(because)} ${because}`],
  );
  const beyond = directories.filter(({ name }) => Number(name) >= nextId).length;
  const ids =
    beyond === 0 ? '' : `, ${beyond} of them with ids from ${nextId} on, which it never assigned`;
  return (
    `the log is older than these directories, which are in use (${examples(directories)}): in the ` +
    `log they are ${known.join(', ')}${ids}; restore the newer log while the daemon is stopped, or ` +
    'save their content; they are kept until stratalog gc --delete <name>'
  );
}

function keptEvidence({
  because,
  directories,
}: Extract<Finding, { kind: 'KeptDirectories' }>): string {
  if (because === 'repair') {
    return 'set aside by a repair (LogRepaired): the events of their snapshots are lost';
  }
  return `in use (${examples(directories)}), but ${because} in the log`;
}

const EXAMPLES_MAX = 3;

function examples(directories: readonly KeptDirectory[]): string {
  const shown = directories
    .slice(0, EXAMPLES_MAX)
    .map(({ name, evidence }) => `${name}: ${evidence}`);
  return `${shown.join('; ')}${directories.length > EXAMPLES_MAX ? '; …' : ''}`;
}

/** Snapshots by kind. Those that clients do not see are being prepared or removed. */
export interface SnapshotCounts {
  readonly active: number;
  readonly view: number;
  readonly committed: number;
  /** Committed snapshots from a remote file system. */
  readonly remote: number;
  /** Committed snapshots that are currently unusable. */
  readonly unavailable: number;
  readonly preparing: number;
  readonly removing: number;
}

export function countSnapshots(forest: Forest): SnapshotCounts {
  const counts = {
    active: 0,
    view: 0,
    committed: 0,
    remote: 0,
    unavailable: 0,
    preparing: 0,
    removing: 0,
  };
  for (const { status, remote } of forest.values()) {
    const { shownAs, holdsName } = metaOf(status);
    counts[shownAs ?? (holdsName ? 'preparing' : 'removing')] += 1;
    if (shownAs === 'committed' && remote !== null) counts.remote += 1;
    if (status === 'committed.unavailable') counts.unavailable += 1;
  }
  return counts;
}
