/**
 * Executes a repair plan. The log is unchanged until the journal is written. From then on no daemon
 * starts until this run or the next has finished the repair. So no daemon sees a log that has lost
 * events without the event that protects their directories from collection.
 */
import { errnoOf } from '../base/errors.js';
import type { Clock, Disk, MeasuredDirectory } from '../base/ports.js';
import { snapshotName, unixNanos, type SnapshotId, type UnixNanos } from '../base/units.js';
import { repairSteps } from './plan/repair-text.js';
import { identityAfter } from './plan/repair-identity.js';
import type { RepairPlan } from './plan/repair-plan.js';
import type { RepairEvidence } from './plan/repair-evidence.js';
import type { RecordedFileSystems } from '../log/root/file-systems.js';
import {
  identityPath,
  logDirectory,
  makeDirectoryIfAbsent,
  NO_FILE,
  QUARANTINE,
  readWhole,
  segmentName,
  withFile,
} from '../log/files.js';
import {
  DAEMON_EVENTS,
  DAEMON_STREAM,
  type DaemonEventData,
} from '../machines/events/daemon-events.js';
import {
  encodeSnapshotEvent,
  SNAPSHOT_EVENTS,
  type SnapshotEvent,
} from '../machines/events/events.js';
import { UNVERIFIED_LABEL } from '../machines/labels.js';
import { streamOf } from '../machines/events/streams.js';
import { finishJournal, STAGED, writeJournal, type RepairJournal } from './repair-journal.js';
import { stageEvents, stageRewritten, type EventToWrite } from './repair-segments.js';

/** What a directory without events appears to be. */
export interface DirectoryState extends MeasuredDirectory {
  readonly looked: 'committed' | 'active' | 'empty';
}

export interface RepairOptions {
  readonly disk: Disk;
  readonly clock: Clock;
  /** Returns a random UUID in lower case, for a new log. */
  readonly uuid: () => string;
  readonly root: string;
  /** For example `stratalog 0.1.0`. */
  readonly writtenBy: string;
  readonly fileSystems: RecordedFileSystems;
  inspectDirectory(id: SnapshotId): Promise<DirectoryState>;
}

export interface RepairDone {
  /** Below `log/`. */
  readonly quarantine: string;
  readonly epoch: number;
  readonly uuid: string;
  /** Position of the next event. */
  readonly position: number;
}

/** Assumes the caller holds the lock and made the plan while holding it. */
export async function executeRepair(
  options: RepairOptions,
  plan: RepairPlan,
  evidence: RepairEvidence,
): Promise<RepairDone> {
  const { disk, root, clock, fileSystems, writtenBy } = options;
  const now = clock.now();
  const after = identityAfter(plan, evidence, {
    uuid: options.uuid(),
    now,
    fileSystems,
    writtenBy,
  });
  const identity = { ...after, created: unixNanos(after.created) };
  const { name, hasIdentity } = await quarantineFor(disk, root, identity.epoch, now);
  const directory = `${logDirectory(root)}/${name}`;
  await makeDirectoryIfAbsent(disk, directory);
  const { uuid } = identity;
  for (const segment of plan.rewritten) {
    const path = `${directory}/${segment.name}${STAGED}`;
    await stageRewritten(disk, root, path, segment, { uuid, created: now });
  }
  const first = segmentName(plan.end.position);
  const files = plan.takenOut.map(({ file }) => file);
  const events = await eventsOf(options, plan, {
    quarantine: name,
    files: evidence.identity.kind === 'missing' && !hasIdentity ? files : [...files, IDENTITY],
    epoch: identity.epoch,
  });
  const header = {
    ...{ uuid, epoch: identity.epoch, writtenBy, created: now },
    ...{ firstPosition: plan.end.position, chain: plan.end.chain },
    previousFirstPosition: plan.end.previousFirstPosition,
  };
  await stageEvents(disk, `${directory}/${first}${STAGED}`, header, events);
  await copyIdentity(disk, root, directory);
  await disk.syncDirectory(directory);
  const journal: RepairJournal = {
    version: 1,
    quarantine: name,
    takenOut: files,
    renamed: plan.renamed.map(({ from, to }) => ({ from, to })),
    published: [...plan.rewritten.map((segment) => segment.name), first],
    identity,
  };
  await writeJournal(disk, root, journal);
  await finishJournal(disk, root, journal);
  const position = plan.end.position + events.length;
  return { quarantine: name, epoch: identity.epoch, uuid, position };
}

interface Quarantine {
  /** Below `log/`. */
  readonly name: string;
  /** It contains `identity.json`, moved there by an interrupted repair. */
  readonly hasIdentity: boolean;
}

/** Reuses the quarantine of a repair that was interrupted before its journal was written. */
async function quarantineFor(
  disk: Disk,
  root: string,
  epoch: number,
  now: UnixNanos,
): Promise<Quarantine> {
  const log = logDirectory(root);
  for (const name of await disk.list(log)) {
    // Another name may be a copy that the operator made.
    if (!isQuarantineOf(name, epoch)) continue;
    const directory = `${log}/${name}`;
    const entries = await entriesIn(disk, directory);
    if (entries === null) continue;
    const staged = entries.filter((entry) => entry.endsWith(STAGED));
    const others = entries.filter((entry) => !entry.endsWith(STAGED));
    // Other files belong to a repair that has written its journal.
    if (others.some((entry) => entry !== IDENTITY)) continue;
    const copy = others.length === 0 ? 'none' : await copyIn(disk, root, directory);
    if (copy === 'foreign') continue;
    for (const entry of staged) await disk.remove(`${directory}/${entry}`);
    return { name, hasIdentity: copy === 'moved' };
  }
  return { name: `${QUARANTINE}${epoch}-${now}`, hasIdentity: false };
}

function isQuarantineOf(name: string, epoch: number): boolean {
  const prefix = `${QUARANTINE}${epoch}-`;
  return name.startsWith(prefix) && /^\d+$/.test(name.slice(prefix.length));
}

/** Null if the path is not a directory. */
async function entriesIn(disk: Disk, path: string): Promise<readonly string[] | null> {
  try {
    return await disk.list(path);
  } catch (thrown) {
    if (['ENOTDIR', 'ENOENT', 'ELOOP'].includes(errnoOf(thrown) ?? '')) return null;
    throw thrown;
  }
}

const IDENTITY = 'identity.json';

/** Classifies `identity.json` in a quarantine. Never removes one that is not our copy. */
async function copyIn(
  disk: Disk,
  root: string,
  directory: string,
): Promise<'whole' | 'moved' | 'foreign'> {
  const original = await bytesIfFile(disk, identityPath(root));
  const copy = await bytesIfFile(disk, `${directory}/${IDENTITY}`);
  if (copy === 'not a file') return original === null ? 'moved' : 'foreign';
  if (copy === null || original === null || original === 'not a file') return 'foreign';
  return original.equals(copy) ? 'whole' : 'foreign';
}

/** Null if the name does not exist. */
async function bytesIfFile(disk: Disk, path: string): Promise<Buffer | 'not a file' | null> {
  try {
    return await readWhole(disk, path, Infinity);
  } catch (thrown) {
    if (!NO_FILE.has(errnoOf(thrown) ?? '')) throw thrown;
    return 'not a file';
  }
}

/**
 * Copies the identity to the quarantine before the journal replaces it. The copy is renamed when it
 * is whole: the next repair could not recognize half a copy as ours.
 */
async function copyIdentity(disk: Disk, root: string, directory: string): Promise<void> {
  const bytes = await bytesIfFile(disk, identityPath(root));
  if (bytes === null) return;
  const copy = `${directory}/${IDENTITY}`;
  if (bytes === 'not a file') {
    await disk.rename(identityPath(root), copy);
    return;
  }
  await withFile(disk, `${copy}${STAGED}`, 'create', async (file) => {
    await file.write(bytes, 0);
    await file.sync();
  });
  await disk.rename(`${copy}${STAGED}`, copy);
}

/** Further findings are only counted, to keep the event within the record size. */
const FINDINGS_MAX = 200;

async function eventsOf(
  options: RepairOptions,
  plan: RepairPlan,
  done: { readonly quarantine: string; readonly files: readonly string[]; readonly epoch: number },
): Promise<readonly EventToWrite[]> {
  const { findings, identity, history, lost, kept, nextId } = plan;
  const repaired: DaemonEventData<'LogRepaired'> = {
    release: options.writtenBy,
    findings: findings.slice(0, FINDINGS_MAX).map((finding) => ({
      kind: finding.kind,
      place:
        'subject' in finding
          ? `${finding.subject}, position ${finding.position}`
          : `${finding.segment} at offset ${finding.offset}, position ${finding.position}`,
      detail: finding.detail,
    })),
    omitted: Math.max(0, findings.length - FINDINGS_MAX),
    steps: repairSteps(plan).slice(0, FINDINGS_MAX),
    quarantine: done.quarantine,
    files: [...done.files],
    history,
    lost: lost === null ? null : { from: lost.from, to: lost.to, readable: lost.readable.length },
    epochBefore: identity.epochBefore,
    epoch: done.epoch,
    replaces: identity.replaces,
    kept: [...kept],
    nextId,
  };
  const events: EventToWrite[] = [
    {
      ...{ stream: DAEMON_STREAM, streamVersion: plan.daemonVersion, type: 'LogRepaired' },
      ...{ schemaVersion: DAEMON_EVENTS.LogRepaired.version, data: repaired },
    },
  ];
  if (plan.salvaged.length > 0) {
    const names = plan.salvaged.map(({ id }) => String(id));
    const released: DaemonEventData<'DirectoriesReleased'> = { names, because: 'salvaged' };
    events.push({
      ...{ stream: DAEMON_STREAM, streamVersion: plan.daemonVersion + 1 },
      ...{ type: 'DirectoriesReleased', data: released },
      schemaVersion: DAEMON_EVENTS.DirectoriesReleased.version,
    });
  }
  for (const { id, version } of plan.finished) {
    events.push(snapshotEvent(id, version, { type: 'SnapshotPrepared', data: {} }));
  }
  for (const { id, reason } of plan.salvaged) {
    const { usage, owner, looked } = await options.inspectDirectory(id);
    const name = snapshotName(`salvaged/${id}`);
    const labels = new Map([[UNVERIFIED_LABEL, `${reason}; it looks ${looked}`]]);
    const data = { id, name, labels, usage, owner, looked, reason };
    events.push(snapshotEvent(id, 0, { type: 'SnapshotSalvaged', data }));
  }
  return events;
}

const snapshotEvent = (
  id: SnapshotId,
  streamVersion: number,
  event: SnapshotEvent,
): EventToWrite => ({
  ...{ stream: streamOf(id), streamVersion, type: event.type },
  schemaVersion: SNAPSHOT_EVENTS[event.type].version,
  data: encodeSnapshotEvent(event),
});
