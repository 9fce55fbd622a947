/** Findings and a forest as a person is told of them. Pure; `stratalog inspect` prints it. */
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
  /** What was seen, and where. */
  readonly evidence: string;
  /** What the next start does about it. */
  readonly action: Action;
  /** What is gone by then, whatever is done. */
  readonly loss: string;
  /** No reason for an alarm. */
  readonly isOrdinary: boolean;
}

/** `isLive`: a daemon runs on the root, so what is under way is simply under way. */
export function reportOf(finding: Finding, isLive: boolean): FindingReport {
  return {
    kind: finding.kind,
    subject: subjectOf(finding),
    evidence: evidenceOf(finding),
    action: actionFor(finding),
    loss: lossOf(finding),
    isOrdinary: isOrdinary(finding) || (isLive && isUnderWay(finding)),
  };
}

function lossOf(finding: Finding): string {
  switch (finding.kind) {
    case 'AbandonedPreparation':
      return 'nothing: no client had an answer to the preparation';
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

/** What a living daemon is doing at any moment, and what only a crash leaves behind. */
function isUnderWay(finding: Finding): boolean {
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
      return 'the log has the beginning of its preparation and not the end';
    case 'UnfinishedCommit':
      return 'the log has SnapshotCommitting, and neither SnapshotCommitted nor SnapshotCommitFailed';
    case 'UnfinishedRemoval':
      return finding.failed === null
        ? 'the log has SnapshotRemoving or SnapshotAbandoned, and not SnapshotRemoved'
        : `it fails with ${finding.failed.code} on ${finding.failed.path} since ${finding.failed.since}`;
    case 'AwaitingCleanup':
      return 'the log has SnapshotRemoving with deferred: true';
    case 'MissingDirectory':
      return `${finding.path} is not there, and the snapshot is ${finding.shownAs}`;
    case 'HiddenDirectory':
      return `something is mounted on ${finding.path}, and the snapshot is ${finding.shownAs}`;
    case 'MissingMount':
      return `nothing is mounted on ${finding.mountpoint}`;
    case 'MissingIdmappedMount':
      return `nothing is mounted with mapped ids on ${finding.mountpoint}, needed by ${countedIds(finding.ids)}`;
    case 'UnneededIdmappedMount':
      return 'no snapshot in the log needs it';
    case 'UnavailableLayer':
      return finding.reason;
    case 'OrphanDirectory':
      return 'no snapshot in the log owns it, and it is unused';
    case 'LogOlderThanDirectories':
      return olderEvidence(finding);
    case 'ForeignEntry':
      return `Stratalog does not give this name, and ${finding.evidence}; stratalog gc --delete ${finding.name} deletes it`;
    case 'UncheckedDirectory':
      return `${finding.operation} failed with ${finding.code}: what is there is not known`;
    case 'PreallocatedDirectories':
      return 'the log has set them aside in DirectoriesPreallocated, and no snapshot has been given one';
    case 'KeptDirectories':
      return `${keptEvidence(finding)}; stratalog gc --delete <name> deletes one`;
    case 'ReleasedDirectories':
      return 'they were requested to be deleted with their content';
    case 'ForeignMount':
      return `a mount of type ${finding.type} below the snapshots that is no layer of ours`;
    case 'MountElsewhere':
      return `an overlay that uses ${countedIds(finding.ids)}`;
    case 'HiddenMounts': {
      const layers = finding.ids.length === 0 ? '' : ` (now: snapshots ${idsInWords(finding.ids)})`;
      return `the daemon runs in a mount namespace of its own, and layers that it mounts are seen only there${layers}; ${SHARE_MOUNTS}`;
    }
    default:
      return assertNever(finding);
  }
}

const countedIds = (ids: readonly number[]): string =>
  `${ids.length === 1 ? 'snapshot' : 'snapshots'} ${ids.join(', ')}`;

type Newer = Extract<Finding, { kind: 'LogOlderThanDirectories' }>;

/** What happened, by which directories it shows, and the way out. */
function olderEvidence({ directories, nextId }: Newer): string {
  const count = (because: GarbageReason) =>
    directories.filter((directory) => directory.because === because).length;
  const known = (['preallocated', 'abandoned', 'unowned'] as const).flatMap((because) =>
    count(because) === 0 ? [] : [`${count(because)} ${because}`],
  );
  const beyond = directories.filter(({ name }) => Number(name) >= nextId).length;
  const ids =
    beyond === 0 ? '' : `, ${beyond} of them with ids from ${nextId} on, which it never gave`;
  return (
    `the log is older than these directories, which are in use (${examples(directories)}): it has ` +
    `${known.join(', ')}${ids}. Put the newer log back while the daemon is stopped, or save what is in them; ` +
    'they are kept until stratalog gc --delete <name>'
  );
}

function keptEvidence({
  because,
  directories,
}: Extract<Finding, { kind: 'KeptDirectories' }>): string {
  if (because === 'repair') {
    return 'a repair has set them aside in LogRepaired: the events of their snapshots are lost';
  }
  return `in use (${examples(directories)}) although the log has them as ${because}`;
}

/** Enough to see what it is about. */
const EXAMPLES_MAX = 3;

function examples(directories: readonly KeptDirectory[]): string {
  const shown = directories
    .slice(0, EXAMPLES_MAX)
    .map(({ name, evidence }) => `${name}: ${evidence}`);
  return `${shown.join('; ')}${directories.length > EXAMPLES_MAX ? '; …' : ''}`;
}

/** How many snapshots of each kind; those that no client is shown are under way or on their way out. */
export interface SnapshotCounts {
  readonly active: number;
  readonly view: number;
  readonly committed: number;
  /** Of the committed ones, those that come from a remote file system. */
  readonly remote: number;
  /** Of the committed ones, those that cannot be used now. */
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
