/**
 * Formats an event as a short summary. An event that is not understood (it is malformed or from a
 * newer release) is shown as JSON, because inspection must work even if startup would fail.
 */
import { pluralize } from '../../base/pluralize.js';
import { assertNever } from '../../base/assert.js';
import type { DaemonEvent, DaemonEventData } from '../../machines/events/daemon-events.js';
import type {
  Caller,
  ParentLink,
  RemoteQuestion,
  SnapshotEvent,
} from '../../machines/events/events.js';
import type { IdMapping } from '../../machines/id-mapping.js';
import { programName } from '../../machines/client-identity.js';
import { understand, type RecordLike, type Understood } from '../../machines/events/streams.js';
import { durationInWords } from './durations.js';
import { idsInWords, namesInWords } from './id-ranges.js';

/** May contain any character that a client chose: escape it before printing it to a terminal. */
export function summaryOf(record: RecordLike): string {
  const understood = understoodOrNull(record);
  if (understood === null) {
    return `(not understood by this release) ${JSON.stringify(record.data)}`;
  }
  return understood.about === 'snapshot'
    ? snapshotSummary(understood.event)
    : daemonSummary(understood.event);
}

function understoodOrNull(record: RecordLike): Understood | null {
  try {
    return understand(record);
  } catch {
    return null;
  }
}

function snapshotSummary(event: SnapshotEvent): string {
  switch (event.type) {
    case 'SnapshotPreparing': {
      const { kind, key, parent, remote, idMapping, caller } = event.data;
      const lookup = remote && asked(remote);
      return words(kind, key, on(parent), lookup, idMapping && mapped(idMapping), by(caller));
    }
    case 'RemoteMounted':
      return `by ${event.data.fileSystem}`;
    case 'SnapshotCommitting':
      return words(`as ${event.data.name}`, on(event.data.parent), by(event.data.caller));
    case 'SnapshotCommitted': {
      const { name, usage, parent, remote, durability } = event.data;
      const size = `${usage.size} bytes in ${usage.inodes} inodes`;
      const where = remote === null ? `${durability} durable` : `remote, ${remote.fileSystem}`;
      return words(`as ${name}`, on(parent), `(${size}; ${where})`);
    }
    case 'LabelsUpdated':
      return words(pluralize(event.data.labels.size, 'label'), by(event.data.caller));
    case 'LayerUnavailable': {
      const { reason, attempts, retryAt } = event.data;
      const next = retryAt === null ? 'next on use or by hand' : `next ${retryAt}`;
      return `${reason} (${pluralize(attempts, 'attempt')} so far; ${next})`;
    }
    case 'LayerAvailable':
      return event.data.how;
    case 'SnapshotRemoving':
      return words(event.data.deferred && 'deferred to Cleanup', by(event.data.caller));
    case 'SnapshotSalvaged':
      return `as ${event.data.name}, unverified: ${event.data.reason}`;
    case 'RemoteMountFailed':
    case 'SnapshotCommitFailed':
    case 'SnapshotAbandoned':
    case 'SnapshotRemovalFailed':
      return event.data.reason;
    case 'IdMappingStarted':
    case 'SnapshotPrepared':
    case 'RemoteMountStarted':
    case 'SnapshotCollecting':
    case 'SnapshotRemoved':
      return '';
    default:
      return assertNever(event);
  }
}

const asked = (remote: RemoteQuestion): string =>
  'declined' in remote
    ? `target ${remote.ref} not requested: ${remote.declined}`
    : `target ${[remote.ref, ...remote.fileSystems.map((name) => `from ${name}`)].join(' ')}`;

function daemonSummary(event: DaemonEvent): string {
  switch (event.type) {
    case 'DaemonStarted': {
      const { release, node, pid, epoch, replayed, checkpoint } = event.data;
      const from = checkpoint === null ? '' : ` from the checkpoint at ${checkpoint}`;
      return (
        `release ${release} on Node.js ${node}, process ${pid}, epoch ${epoch}; ` +
        `${pluralize(replayed, 'record')} replayed${from}`
      );
    }
    case 'TailCut': {
      const { segment, offset, bytes, savedAs } = event.data;
      return `${pluralize(bytes, 'byte')} of ${segment} from offset ${offset}, saved as ${savedAs}`;
    }
    case 'RootFileSystemChanged': {
      const { part, how, before, after } = event.data;
      const where = part === 'root' ? 'the root' : `${part}/`;
      return `${where}: ${fileSystemWords(before)}, now ${fileSystemWords(after)} (${changeWords[how]})`;
    }
    case 'ClockStepped': {
      const { byMillis, expected, found } = event.data;
      const span = durationInWords(BigInt(Math.abs(byMillis)) * 1_000_000n);
      return `set ${byMillis > 0 ? 'ahead' : 'back'} by ${span}: ${found} instead of ${expected}`;
    }
    case 'RecoveryPlanned': {
      const { adopted, findings, omitted } = event.data;
      const kinds = new Map<string, number>();
      for (const { kind } of findings) kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
      const found = [...kinds].map(([kind, count]) => `${count} ${kind}`).join(', ');
      const more = omitted === 0 ? '' : ` and ${omitted} more`;
      const what = found === '' ? 'nothing found' : `found ${found}${more}`;
      return `${pluralize(adopted, 'layer')} adopted; ${what}`;
    }
    case 'DirectoriesPreallocated':
    case 'PreallocatedReleased':
      return idsInWords(event.data.ids);
    case 'DirectoryRecreated':
      return `${event.data.path} of snapshot ${event.data.id}`;
    case 'OrphanFound':
    case 'OrphanRemoved':
      return event.data.path;
    case 'DirectoriesCollected': {
      const { collected, orphans, replayedTo } = event.data;
      return `${pluralize(collected, 'snapshot')}, ${pluralize(orphans, 'orphan')}; log replayed to ${replayedTo}`;
    }
    case 'CheckpointTaken':
      return `of position ${event.data.position}, ${pluralize(event.data.snapshots, 'snapshot')}`;
    case 'SegmentChecked': {
      const { from, to, sha256 } = event.data;
      return `records ${from} to ${to - 1} are sound, sha256 ${sha256.slice(0, 12)}`;
    }
    case 'SegmentsRetired':
      return `${pluralize(event.data.segments.length, 'segment')} before ${event.data.before}`;
    case 'LogRepaired':
      return repairSummary(event);
    case 'DirectoriesSetAside': {
      const { directories } = event.data;
      return directories
        .map(({ name, because, evidence }) => `${name} (${because}: ${evidence})`)
        .join(', ');
    }
    case 'DirectoriesReleased': {
      const { names, because, caller } = event.data;
      return words(`${namesInWords(names)}, ${because}`, caller === undefined ? null : by(caller));
    }
    case 'DaemonStopped':
      return event.data.why;
    default:
      return assertNever(event);
  }
}

function repairSummary({ data }: DaemonEvent & { type: 'LogRepaired' }): string {
  const { findings, omitted, lost, kept, epoch, quarantine } = data;
  const what =
    lost === null
      ? 'no event was lost'
      : lost.from === lost.to
        ? `events from position ${lost.from} on are unknown`
        : `events ${lost.from} to ${lost.to - 1} were lost`;
  const aside =
    kept.length === 0 ? '' : `; ${pluralize(kept.length, 'directory', 'directories')} set aside`;
  return (
    `${pluralize(findings.length + omitted, 'finding')}; ${what}${aside}; epoch ${epoch}, ` +
    `files moved to ${quarantine}`
  );
}

const changeWords = {
  'same-id': 'the same file system',
  assumed: 'assumed to be the same: it has no id',
  accepted: 'accepted by the operator',
} as const;

function fileSystemWords(found: DaemonEventData<'RootFileSystemChanged'>['after']): string {
  if (found === null) return "on the root's file system";
  const { type, id, device } = found;
  return `${type}${id === null ? '' : ` ${id}`}, device ${device}`;
}

const words = (...parts: readonly (string | false | null)[]): string =>
  parts.filter((part) => part !== false && part !== null && part !== '').join(' ');

const on = (parent: ParentLink | null): string | null =>
  parent === null ? null : `on ${parent.name}`;

/** `ids mapped 0:100000:65536`, with `by the client` if the client maps them. */
function mapped({ uids, gids, appliedBy }: IdMapping): string {
  const maps = uids === gids ? uids : `${uids} and groups ${gids}`;
  return `ids mapped ${maps}${appliedBy === 'client' ? ' by the client' : ''}`;
}

/** The caller is nearly always containerd, so the namespace comes before the pid. */
function by(caller: Caller): string | null {
  const { namespace, pid, program } = caller;
  const process = pid === undefined ? undefined : `pid ${pid}`;
  const parts = [namespace, program && programName(program), process].filter(Boolean);
  return parts.length === 0 ? null : `by ${parts.join(', ')}`;
}
