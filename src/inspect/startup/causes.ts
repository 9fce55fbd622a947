/**
 * The event behind a finding: the one that promised what is not there, began what has not ended,
 * or last spoke of what nobody owns. docs/recovery.md has a table of them.
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

/** What a finding is about, as far as an event can be behind it. */
export type CauseSubject =
  | { readonly of: 'snapshots'; readonly finding: Finding }
  /** A place in the log: the event is the one before it. */
  | { readonly of: 'log'; readonly position: Position }
  /** The root as a whole: no event is behind it. */
  | { readonly of: 'root' };

export type Cause =
  | { readonly kind: 'event'; readonly record: LogRecord }
  /** Why there is none, or why nobody can tell, in words. */
  | { readonly kind: 'none' | 'unknown'; readonly why: string };

/** Of a finding about many directories, those whose events are looked for. */
const NAMES_MAX = 20;

/** Causes beyond this number are left out: each has to be looked for in the log. */
export const CAUSES_MAX = 100;

/** In the order of the matters. Damage in the way is no reason to fail: it is said instead. */
export async function causesOf(
  archive: Archive,
  matters: readonly CauseSubject[],
  snapshotsPath: string,
): Promise<readonly Cause[]> {
  const asked = matters.slice(0, CAUSES_MAX);
  const findings = asked.flatMap((matter) => (matter.of === 'snapshots' ? [matter.finding] : []));
  const told = await testimonyOn(archive, findings, snapshotsPath);
  const causes: Cause[] = [];
  for (const [index, matter] of matters.entries()) {
    if (index >= CAUSES_MAX) causes.push(unknown(`not looked for beyond ${CAUSES_MAX} findings`));
    else if (matter.of === 'root') causes.push(none('it is about the root as a whole'));
    else if (matter.of === 'log') causes.push(await before(archive, matter.position));
    else causes.push(causeOf(matter.finding, told));
  }
  return causes;
}

const none = (why: string): Cause => ({ kind: 'none', why });
const unknown = (why: string): Cause => ({ kind: 'unknown', why });

async function before(archive: Archive, at: Position): Promise<Cause> {
  if (at === 0) return none('nothing stands before it');
  try {
    for await (const [record] of archive.read({ from: position(at - 1), to: at })) {
      if (record !== undefined) return { kind: 'event', record };
    }
    return none('what stood before it is retired, or lost');
  } catch (thrown) {
    if (!(thrown instanceof LogDamaged)) throw thrown;
    return unknown('what stands before it cannot be read');
  }
}

/** What the log says of everything that is asked about. */
interface Evidence {
  readonly lives: ReadonlyMap<SnapshotId, readonly LogRecord[]>;
  /** Snapshots whose events cannot be read. */
  readonly unreadable: ReadonlyMap<SnapshotId, LogDamaged>;
  /** What the daemon said of directories, oldest first. */
  readonly daemon: readonly Said[];
  /** In the way of what it said. */
  readonly daemonDamage: LogDamaged | null;
  /** The first position that is kept. */
  readonly first: Position;
  readonly snapshotsPath: string;
}

interface Said {
  readonly record: LogRecord;
  /** Of entries in `snapshots/`. */
  readonly names: ReadonlySet<string>;
}

async function testimonyOn(
  archive: Archive,
  findings: readonly Finding[],
  snapshotsPath: string,
): Promise<Evidence> {
  const ids = new Set(findings.flatMap((finding) => idsBehind(finding, snapshotsPath)));
  const { lives, unreadable } = await livesOf(archive, [...ids]);
  const daemon: Said[] = [];
  const daemonDamage = await damageIn(async () => {
    if (!findings.some(asksDaemon)) return;
    for await (const batch of archive.read({ stream: DAEMON_STREAM })) {
      daemon.push(...batch.flatMap((record) => saidIn(record) ?? []));
    }
  });
  let first = position(0);
  await damageIn(async () => {
    ({ first } = await archive.bounds());
  });
  return { lives, unreadable, daemon, daemonDamage, first, snapshotsPath };
}

/** One reading for all; where damage is in its way, each by itself: it need not be in the way of all. */
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
    const inTheWay = await damageIn(async () => {
      lives.set(id, await archive.historyOf(id));
    });
    if (inTheWay !== null) unreadable.set(id, inTheWay);
  }
  return { lives, unreadable };
}

/** That the reading met. */
async function damageIn(reading: () => Promise<void>): Promise<LogDamaged | null> {
  try {
    await reading();
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

/** Whose layer would be mounted there, if one were. */
function idOfMountpoint(mountpoint: string, snapshotsPath: string): SnapshotId | null {
  const [, name] = /^(\d+)\/fs$/.exec(below(mountpoint, snapshotsPath) ?? '') ?? [];
  return name === undefined ? null : parseSnapshotId(name);
}

function asksDaemon({ kind }: Finding): boolean {
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

/** Null for what is not about directories, or not understood: looking must not fail at it. */
function saidIn(record: LogRecord): Said | null {
  try {
    const understood = understand(record);
    if (understood.about !== 'daemon') return null;
    const { type, data } = understood.event;
    const of = (names: readonly (string | number)[]): Said => ({
      record,
      names: new Set(names.map(String)),
    });
    switch (type) {
      case 'DirectoriesPreallocated':
      case 'PreallocatedReleased':
        return of(data.ids);
      case 'LogRepaired':
        return of(data.kept);
      case 'DirectoriesSetAside':
        return of(data.directories.map(({ name }) => name));
      case 'DirectoriesReleased':
        return of(data.names);
      case 'DirectoryRecreated':
        return of([data.id]);
      case 'OrphanFound':
      case 'OrphanRemoved':
        return of([data.name]);
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

/** Pure. */
function causeOf(finding: Finding, told: Evidence): Cause {
  const damage = damageBefore(finding, told);
  if (damage !== null) {
    return unknown(
      `its events cannot be read, the log is damaged at position ${damage.position} (\`stratalog verify\`)`,
    );
  }
  const record = eventBehind(finding, told);
  if (record !== null) return { kind: 'event', record };
  const { first } = told;
  const retired = first > 0 ? `; events before position ${first} are retired` : '';
  return none(`${whyNone(finding)}${retired}`);
}

/** In the way of what is asked: the newest event could be one that cannot be read. */
function damageBefore(finding: Finding, told: Evidence): LogDamaged | null {
  for (const id of idsBehind(finding, told.snapshotsPath)) {
    const damage = told.unreadable.get(id);
    if (damage !== undefined) return damage;
  }
  return asksDaemon(finding) ? told.daemonDamage : null;
}

function whyNone({ kind }: Finding): string {
  if (kind === 'HiddenMounts') return 'no layer is mounted';
  if (kind === 'OrphanDirectory' || kind === 'ForeignEntry') return 'the log never spoke of it';
  return kind === 'ForeignMount' ? 'no event of the log mounted it' : 'the log does not have it';
}

const removals = ['SnapshotRemoving', 'SnapshotCollecting', 'SnapshotAbandoned'] as const;
const makings = ['SnapshotPrepared', 'SnapshotCommitted', 'SnapshotSalvaged'] as const;
const mountings = ['RemoteMounted', 'LayerAvailable'] as const;

function eventBehind(finding: Finding, told: Evidence): LogRecord | null {
  const lifeOf = (id: SnapshotId): readonly LogRecord[] => told.lives.get(id) ?? [];
  switch (finding.kind) {
    case 'AbandonedPreparation':
      // How far it came.
      return lifeOf(finding.id).at(-1) ?? null;
    case 'UnfinishedCommit':
      return lastOf(lifeOf(finding.id), 'SnapshotCommitting');
    case 'UnfinishedRemoval':
      return lastOf(lifeOf(finding.id), ...removals);
    case 'AwaitingCleanup':
      return lastOf(lifeOf(finding.id), 'SnapshotRemoving');
    case 'MissingDirectory': {
      const { id } = finding;
      const again = lastSaid(told, ({ record, names }) => {
        return record.type === 'DirectoryRecreated' && names.has(String(id));
      });
      return newest(lastOf(lifeOf(id), ...makings), again);
    }
    case 'HiddenDirectory':
      return lastOf(lifeOf(finding.id), ...makings);
    case 'MissingMount':
      return lastOf(lifeOf(finding.id), ...mountings);
    case 'MissingIdmappedMount':
      return newest(...finding.ids.map((id) => lastOf(lifeOf(id), 'IdMappingStarted')));
    case 'UnneededIdmappedMount': {
      const id = layerIdAt(finding.path, told.snapshotsPath);
      return id === null ? null : lastOf(lifeOf(id), ...mountings, ...removals);
    }
    case 'UnavailableLayer':
      return lastOf(lifeOf(finding.id), 'LayerUnavailable');
    case 'OrphanDirectory':
    case 'ForeignEntry':
    case 'UncheckedDirectory':
      return lastAbout(told, [finding.name]);
    case 'LogOlderThanDirectories':
      return lastAbout(told, namesOf(finding.directories));
    case 'PreallocatedDirectories':
      return lastNaming(told, ['DirectoriesPreallocated'], finding.ids.map(String));
    case 'KeptDirectories':
      return lastNaming(told, ['LogRepaired', 'DirectoriesSetAside'], namesOf(finding.directories));
    case 'ReleasedDirectories':
      return lastNaming(told, ['DirectoriesReleased'], finding.names);
    case 'ForeignMount': {
      const id = idOfMountpoint(finding.mountpoint, told.snapshotsPath);
      if (id === null) return null;
      const life = lifeOf(id);
      const ended = lastOf(life, 'RemoteMountFailed', 'SnapshotRemoved', ...removals);
      return ended ?? lastOf(life, ...mountings);
    }
    case 'MountElsewhere': {
      const lives = finding.ids.map(lifeOf);
      // What it shows should be gone, or it is what was made last: the upper one.
      const removed = newest(...lives.map((life) => lastOf(life, ...removals)));
      return removed ?? newest(...lives.map((life) => lastOf(life, ...makings)));
    }
    case 'HiddenMounts':
      return newest(...finding.ids.map((id) => lastOf(lifeOf(id), ...mountings)));
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

function lastSaid({ daemon }: Evidence, isIt: (said: Said) => boolean): LogRecord | null {
  return daemon.findLast(isIt)?.record ?? null;
}

function lastNaming(
  told: Evidence,
  types: readonly string[] | null,
  names: readonly string[],
): LogRecord | null {
  return lastSaid(told, (said) => {
    const isIt = types === null || types.includes(said.record.type);
    return isIt && names.some((name) => said.names.has(name));
  });
}

/** The newest event that names one of these entries, or is of a snapshot whose directory one was. */
function lastAbout(told: Evidence, names: readonly string[]): LogRecord | null {
  const ofLives = names.map((name) => {
    const id = parseSnapshotId(name);
    return id === null ? null : (told.lives.get(id)?.at(-1) ?? null);
  });
  return newest(lastNaming(told, null, names), ...ofLives);
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
