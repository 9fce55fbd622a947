/**
 * Finds the event behind a finding: the one that recorded what is now missing, began what has not
 * ended, or last mentioned an unowned entry. docs/recovery.md has a table of them.
 */
import { assertNever } from '../../base/assert.js';
import { parseSnapshotId, position, type Position, type SnapshotId } from '../../base/units.js';
import { LogDamaged } from '../../log/errors.js';
import type { LogRecord } from '../../log/types.js';
import { DAEMON_STREAM } from '../../machines/events/daemon-events.js';
import type { SnapshotEventType } from '../../machines/events/events.js';
import { understand } from '../../machines/events/streams.js';
import type { Archive } from '../archive/archive.js';
import type { Finding } from './findings.js';
import { below, layerIdAt } from '../../base/mount-layers.js';

/** The subject of a finding, which determines where its event is. */
export type CauseSubject =
  | { readonly of: 'snapshots'; readonly finding: Finding }
  /** A position in the log: the event is the one before it. */
  | { readonly of: 'log'; readonly position: Position }
  /** The root as a whole: it has no event. */
  | { readonly of: 'root' };

export type Cause =
  | { readonly kind: 'event'; readonly record: LogRecord }
  /** Why there is no event, or why it is unknown. */
  | { readonly kind: 'none' | 'unknown'; readonly why: string };

/** Directories of one finding whose events are searched. */
const NAMES_MAX = 20;

/** Findings whose causes are searched: each search reads the log. */
export const CAUSES_MAX = 100;

/** Returns the causes in the order of the subjects. Reports damage as an unknown cause. */
export async function causesOf(
  archive: Archive,
  subjects: readonly CauseSubject[],
  snapshotsPath: string,
): Promise<readonly Cause[]> {
  const searched = subjects.slice(0, CAUSES_MAX);
  const findings = searched.flatMap((subject) =>
    subject.of === 'snapshots' ? [subject.finding] : [],
  );
  const evidence = await gatherEvidence(archive, findings, snapshotsPath);
  const causes: Cause[] = [];
  for (const [index, subject] of subjects.entries()) {
    if (index >= CAUSES_MAX) causes.push(unknown(`not searched beyond ${CAUSES_MAX} findings`));
    else if (subject.of === 'root') causes.push(none('it is about the root as a whole'));
    else if (subject.of === 'log') causes.push(await before(archive, subject.position));
    else causes.push(causeOf(subject.finding, evidence));
  }
  return causes;
}

const none = (why: string): Cause => ({ kind: 'none', why });
const unknown = (why: string): Cause => ({ kind: 'unknown', why });

async function before(archive: Archive, at: Position): Promise<Cause> {
  if (at === 0) return none('no event is before it');
  try {
    for await (const [record] of archive.read({ from: position(at - 1), to: at })) {
      if (record !== undefined) return { kind: 'event', record };
    }
    return none('the event before it is retired or lost');
  } catch (thrown) {
    if (!(thrown instanceof LogDamaged)) throw thrown;
    return unknown('the event before it cannot be read');
  }
}

/** The records about all subjects. */
interface Evidence {
  readonly lives: ReadonlyMap<SnapshotId, readonly LogRecord[]>;
  /** Snapshots whose events cannot be read. */
  readonly unreadable: ReadonlyMap<SnapshotId, LogDamaged>;
  /** The daemon's events about directories, oldest first. */
  readonly daemon: readonly DirectoryRecord[];
  /** Damage within the daemon's events. */
  readonly daemonDamage: LogDamaged | null;
  /** The first retained position. */
  readonly first: Position;
  readonly snapshotsPath: string;
}

interface DirectoryRecord {
  readonly record: LogRecord;
  /** The entries in `snapshots/` that it mentions. */
  readonly names: ReadonlySet<string>;
}

async function gatherEvidence(
  archive: Archive,
  findings: readonly Finding[],
  snapshotsPath: string,
): Promise<Evidence> {
  const ids = new Set(findings.flatMap((finding) => idsBehind(finding, snapshotsPath)));
  const { lives, unreadable } = await livesOf(archive, [...ids]);
  const daemon: DirectoryRecord[] = [];
  const daemonDamage = await damageIn(async () => {
    if (!findings.some(needsDaemonEvents)) return;
    for await (const batch of archive.read({ stream: DAEMON_STREAM })) {
      daemon.push(...batch.flatMap((record) => directoryRecord(record) ?? []));
    }
  });
  let first = position(0);
  await damageIn(async () => {
    ({ first } = await archive.bounds());
  });
  return { lives, unreadable, daemon, daemonDamage, first, snapshotsPath };
}

/** Reads all lives at once. If that meets damage, reads each on its own: some may be readable. */
async function livesOf(
  archive: Archive,
  ids: readonly SnapshotId[],
): Promise<Pick<Evidence, 'lives' | 'unreadable'>> {
  const lives = new Map<SnapshotId, readonly LogRecord[]>();
  const unreadable = new Map<SnapshotId, LogDamaged>();
  const damage = await damageIn(async () => {
    for (const [id, life] of await archive.historiesOf(ids)) lives.set(id, life);
  });
  if (damage === null) return { lives, unreadable };
  for (const id of ids) {
    const ownDamage = await damageIn(async () => {
      lives.set(id, await archive.historyOf(id));
    });
    if (ownDamage !== null) unreadable.set(id, ownDamage);
  }
  return { lives, unreadable };
}

/** Returns the damage that a read meets, or null. */
async function damageIn(read: () => Promise<void>): Promise<LogDamaged | null> {
  try {
    await read();
    return null;
  } catch (thrown) {
    if (thrown instanceof LogDamaged) return thrown;
    throw thrown;
  }
}

function idsBehind(finding: Finding, snapshotsPath: string): readonly SnapshotId[] {
  if ('id' in finding) return [finding.id];
  switch (finding.kind) {
    case 'MountElsewhere':
    case 'HiddenMounts':
    case 'MissingIdmappedMount':
      return finding.ids;
    case 'UnneededIdmappedMount':
      return oneOrNone(layerIdAt(finding.path, snapshotsPath));
    case 'ForeignMount':
      return oneOrNone(idOfMountpoint(finding.mountpoint, snapshotsPath));
    case 'OrphanDirectory':
    case 'ForeignEntry':
    case 'UncheckedDirectory':
      return oneOrNone(parseSnapshotId(finding.name));
    case 'LogOlderThanDirectories':
      return finding.directories
        .slice(0, NAMES_MAX)
        .flatMap(({ name }) => parseSnapshotId(name) ?? []);
    case 'PreallocatedDirectories':
    case 'KeptDirectories':
    case 'ReleasedDirectories':
      return [];
    default:
      return assertNever(finding);
  }
}

const oneOrNone = (id: SnapshotId | null): readonly SnapshotId[] => (id === null ? [] : [id]);

/** The snapshot whose layer belongs on a mountpoint. */
function idOfMountpoint(mountpoint: string, snapshotsPath: string): SnapshotId | null {
  const [, name] = /^(\d+)\/fs$/.exec(below(mountpoint, snapshotsPath) ?? '') ?? [];
  return name === undefined ? null : parseSnapshotId(name);
}

function needsDaemonEvents({ kind }: Finding): boolean {
  return (
    kind === 'OrphanDirectory' ||
    kind === 'ForeignEntry' ||
    kind === 'UncheckedDirectory' ||
    kind === 'LogOlderThanDirectories' ||
    kind === 'PreallocatedDirectories' ||
    kind === 'KeptDirectories' ||
    kind === 'ReleasedDirectories' ||
    kind === 'MissingDirectory'
  );
}

/** Null if the event is not about directories or not understood, which must not fail the search. */
function directoryRecord(record: LogRecord): DirectoryRecord | null {
  try {
    const understood = understand(record);
    if (understood.about !== 'daemon') return null;
    const { type, data } = understood.event;
    const about = (names: readonly (string | number)[]): DirectoryRecord => ({
      record,
      names: new Set(names.map(String)),
    });
    switch (type) {
      case 'DirectoriesPreallocated':
      case 'PreallocatedReleased':
        return about(data.ids);
      case 'LogRepaired':
        return about(data.kept);
      case 'DirectoriesSetAside':
        return about(data.directories.map(({ name }) => name));
      case 'DirectoriesReleased':
        return about(data.names);
      case 'DirectoryRecreated':
        return about([data.id]);
      case 'OrphanFound':
      case 'OrphanRemoved':
        return about([data.name]);
      case 'DaemonStarted':
      case 'TailCut':
      case 'RootFileSystemChanged':
      case 'ClockStepped':
      case 'RecoveryPlanned':
      case 'DirectoriesCollected':
      case 'CheckpointTaken':
      case 'SegmentChecked':
      case 'SegmentsRetired':
      case 'DaemonStopped':
        return null;
      default:
        return assertNever(type);
    }
  } catch {
    return null;
  }
}

function causeOf(finding: Finding, evidence: Evidence): Cause {
  const damage = damageBefore(finding, evidence);
  if (damage !== null) {
    return unknown(
      `its events cannot be read: the log is damaged at position ${damage.position} (run \`stratalog verify\`)`,
    );
  }
  const record = eventBehind(finding, evidence);
  if (record !== null) return { kind: 'event', record };
  const { first } = evidence;
  const retired = first > 0 ? `; events before position ${first} are retired` : '';
  return none(`${whyNone(finding)}${retired}`);
}

/** Damage that could hide the newest event about a finding. */
function damageBefore(finding: Finding, evidence: Evidence): LogDamaged | null {
  for (const id of idsBehind(finding, evidence.snapshotsPath)) {
    const damage = evidence.unreadable.get(id);
    if (damage !== undefined) return damage;
  }
  return needsDaemonEvents(finding) ? evidence.daemonDamage : null;
}

function whyNone({ kind }: Finding): string {
  if (kind === 'HiddenMounts') return 'no layer is mounted';
  if (kind === 'OrphanDirectory' || kind === 'ForeignEntry') return 'no event mentions it';
  return kind === 'ForeignMount' ? 'no event records the mount' : 'the log has no such event';
}

const removals = ['SnapshotRemoving', 'SnapshotCollecting', 'SnapshotAbandoned'] as const;
const creations = ['SnapshotPrepared', 'SnapshotCommitted', 'SnapshotSalvaged'] as const;
const mountEvents = ['RemoteMounted', 'LayerAvailable'] as const;

function eventBehind(finding: Finding, evidence: Evidence): LogRecord | null {
  const lifeOf = (id: SnapshotId): readonly LogRecord[] => evidence.lives.get(id) ?? [];
  switch (finding.kind) {
    case 'AbandonedPreparation':
      return lifeOf(finding.id).at(-1) ?? null;
    case 'UnfinishedCommit':
      return lastOf(lifeOf(finding.id), 'SnapshotCommitting');
    case 'UnfinishedRemoval':
      return lastOf(lifeOf(finding.id), ...removals);
    case 'AwaitingCleanup':
      return lastOf(lifeOf(finding.id), 'SnapshotRemoving');
    case 'MissingDirectory': {
      const { id } = finding;
      const recreated = lastRecord(evidence, ({ record, names }) => {
        return record.type === 'DirectoryRecreated' && names.has(String(id));
      });
      return newest(lastOf(lifeOf(id), ...creations), recreated);
    }
    case 'HiddenDirectory':
      return lastOf(lifeOf(finding.id), ...creations);
    case 'MissingMount':
      return lastOf(lifeOf(finding.id), ...mountEvents);
    case 'MissingIdmappedMount':
      return newest(...finding.ids.map((id) => lastOf(lifeOf(id), 'IdMappingStarted')));
    case 'UnneededIdmappedMount': {
      const id = layerIdAt(finding.path, evidence.snapshotsPath);
      return id === null ? null : lastOf(lifeOf(id), ...mountEvents, ...removals);
    }
    case 'UnavailableLayer':
      return lastOf(lifeOf(finding.id), 'LayerUnavailable');
    case 'OrphanDirectory':
    case 'ForeignEntry':
    case 'UncheckedDirectory':
      return lastAbout(evidence, [finding.name]);
    case 'LogOlderThanDirectories':
      return lastAbout(evidence, namesOf(finding.directories));
    case 'PreallocatedDirectories':
      return lastNaming(evidence, ['DirectoriesPreallocated'], finding.ids.map(String));
    case 'KeptDirectories':
      return lastNaming(
        evidence,
        ['LogRepaired', 'DirectoriesSetAside'],
        namesOf(finding.directories),
      );
    case 'ReleasedDirectories':
      return lastNaming(evidence, ['DirectoriesReleased'], finding.names);
    case 'ForeignMount': {
      const id = idOfMountpoint(finding.mountpoint, evidence.snapshotsPath);
      if (id === null) return null;
      const life = lifeOf(id);
      const ended = lastOf(life, 'RemoteMountFailed', 'SnapshotRemoved', ...removals);
      return ended ?? lastOf(life, ...mountEvents);
    }
    case 'MountElsewhere': {
      const lives = finding.ids.map(lifeOf);
      // A removed snapshot explains the mount best, otherwise the newest one, which is the upper.
      const removed = newest(...lives.map((life) => lastOf(life, ...removals)));
      return removed ?? newest(...lives.map((life) => lastOf(life, ...creations)));
    }
    case 'HiddenMounts':
      return newest(...finding.ids.map((id) => lastOf(lifeOf(id), ...mountEvents)));
    default:
      return assertNever(finding);
  }
}

function lastOf(
  records: readonly LogRecord[],
  ...types: readonly SnapshotEventType[]
): LogRecord | null {
  const wanted: ReadonlySet<string> = new Set(types);
  return records.findLast(({ type }) => wanted.has(type)) ?? null;
}

function lastRecord(
  { daemon }: Evidence,
  matches: (record: DirectoryRecord) => boolean,
): LogRecord | null {
  return daemon.findLast(matches)?.record ?? null;
}

function lastNaming(
  evidence: Evidence,
  types: readonly string[] | null,
  names: readonly string[],
): LogRecord | null {
  return lastRecord(evidence, (mention) => {
    const isOfType = types === null || types.includes(mention.record.type);
    return isOfType && names.some((name) => mention.names.has(name));
  });
}

/** The newest event that names one of the entries or belongs to the snapshot with its number. */
function lastAbout(evidence: Evidence, names: readonly string[]): LogRecord | null {
  const ofLives = names.map((name) => {
    const id = parseSnapshotId(name);
    return id === null ? null : (evidence.lives.get(id)?.at(-1) ?? null);
  });
  return newest(lastNaming(evidence, null, names), ...ofLives);
}

const namesOf = (directories: readonly { readonly name: string }[]): readonly string[] =>
  directories.slice(0, NAMES_MAX).map(({ name }) => name);

function newest(...records: readonly (LogRecord | null)[]): LogRecord | null {
  let found: LogRecord | null = null;
  for (const record of records) {
    if (record !== null && record.position >= (found?.position ?? 0)) found = record;
  }
  return found;
}
