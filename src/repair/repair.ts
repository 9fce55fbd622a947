/**
 * Carries out a repair that a person has agreed to. Until the journal is written nothing of the
 * log has changed; from then on every start is kept away until the repair is finished, by this
 * run or by the next. So no daemon ever sees a log that lost events without the event that says
 * which directories must not be collected.
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

/** What a directory without a history looks like. */
export interface DirectoryState extends MeasuredDirectory {
  readonly looked: 'committed' | 'active' | 'empty';
}

export interface RepairOptions {
  readonly disk: Disk;
  readonly clock: Clock;
  /** A random UUID in lower case, for a log that begins anew. */
  readonly uuid: () => string;
  readonly root: string;
  /** For example `stratalog 0.1.0`. */
  readonly writtenBy: string;
  readonly fileSystems: RecordedFileSystems;
  lookInto(id: SnapshotId): Promise<DirectoryState>;
}

export interface RepairDone {
  /** Below `log/`. */
  readonly quarantine: string;
  readonly epoch: number;
  readonly uuid: string;
  /** The position the next event gets. */
  readonly position: number;
}

/** Assumes the caller holds the lock, and that the plan was made since. */
export async function executeRepair(
  options: RepairOptions,
  plan: RepairPlan,
  look: RepairEvidence,
): Promise<RepairDone> {
  const { disk, root, clock, fileSystems, writtenBy } = options;
  const now = clock.now();
  const after = identityAfter(plan, look, { uuid: options.uuid(), now, fileSystems, writtenBy });
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
    files: look.identity.kind === 'missing' && !hasIdentity ? files : [...files, IDENTITY],
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
  /** An interrupted repair has moved something there that had the identity's name. */
  readonly hasIdentity: boolean;
}

/** A quarantine that an interrupted repair has only begun to fill is filled anew. */
async function quarantineFor(
  disk: Disk,
  root: string,
  epoch: number,
  now: UnixNanos,
): Promise<Quarantine> {
  const log = logDirectory(root);
  for (const name of await disk.list(log)) {
    // Others may be somebody's copy of one, or no directory.
    if (!isQuarantineOf(name, epoch)) continue;
    const directory = `${log}/${name}`;
    const entries = await entriesIn(disk, directory);
    if (entries === null) continue;
    const staged = entries.filter((entry) => entry.endsWith(STAGED));
    const others = entries.filter((entry) => !entry.endsWith(STAGED));
    // Something was taken out: it is the quarantine of a repair that went further.
    if (others.some((entry) => entry !== IDENTITY)) continue;
    const copy = others.length === 0 ? 'none' : await copyIn(disk, root, directory);
    if (copy === 'of another') continue;
    for (const entry of staged) await disk.remove(`${directory}/${entry}`);
    return { name, hasIdentity: copy === 'moved' };
  }
  return { name: `${QUARANTINE}${epoch}-${now}`, hasIdentity: false };
}

function isQuarantineOf(name: string, epoch: number): boolean {
  const begins = `${QUARANTINE}${epoch}-`;
  return name.startsWith(begins) && /^\d+$/.test(name.slice(begins.length));
}

/** Null for what is no directory. */
async function entriesIn(disk: Disk, path: string): Promise<readonly string[] | null> {
  try {
    return await disk.list(path);
  } catch (thrown) {
    if (['ENOTDIR', 'ENOENT', 'ELOOP'].includes(errnoOf(thrown) ?? '')) return null;
    throw thrown;
  }
}

const IDENTITY = 'identity.json';

/** What has the identity's name in a quarantine. What is no copy of ours is nobody's to remove. */
async function copyIn(
  disk: Disk,
  root: string,
  directory: string,
): Promise<'whole' | 'moved' | 'of another'> {
  const original = await bytesIfFile(disk, identityPath(root));
  const copy = await bytesIfFile(disk, `${directory}/${IDENTITY}`);
  if (copy === 'no file') return original === null ? 'moved' : 'of another';
  if (copy === null || original === null || original === 'no file') return 'of another';
  return original.equals(copy) ? 'whole' : 'of another';
}

/** Null when nothing has the name. */
async function bytesIfFile(disk: Disk, path: string): Promise<Buffer | 'no file' | null> {
  try {
    return await readWhole(disk, path, Infinity);
  } catch (thrown) {
    if (!NO_FILE.has(errnoOf(thrown) ?? '')) throw thrown;
    return 'no file';
  }
}

/**
 * What stands there is replaced by the journal: the old bytes are kept first. The copy gets its
 * name when it is whole: whoever finds half of one could not tell whose it is.
 */
async function copyIdentity(disk: Disk, root: string, directory: string): Promise<void> {
  const bytes = await bytesIfFile(disk, identityPath(root));
  if (bytes === null) return;
  const copy = `${directory}/${IDENTITY}`;
  if (bytes === 'no file') {
    await disk.rename(identityPath(root), copy);
    return;
  }
  await withFile(disk, `${copy}${STAGED}`, 'create', async (file) => {
    await file.write(bytes, 0);
    await file.sync();
  });
  await disk.rename(`${copy}${STAGED}`, copy);
}

/** Findings beyond this number are counted: the event must stay a record. */
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
    events.push(ofSnapshot(id, version, { type: 'SnapshotPrepared', data: {} }));
  }
  for (const { id, reason } of plan.salvaged) {
    const { usage, owner, looked } = await options.lookInto(id);
    const name = snapshotName(`salvaged/${id}`);
    const labels = new Map([[UNVERIFIED_LABEL, `${reason}; it looks ${looked}`]]);
    const data = { id, name, labels, usage, owner, looked, reason };
    events.push(ofSnapshot(id, 0, { type: 'SnapshotSalvaged', data }));
  }
  return events;
}

const ofSnapshot = (id: SnapshotId, streamVersion: number, event: SnapshotEvent): EventToWrite => ({
  ...{ stream: streamOf(id), streamVersion, type: event.type },
  schemaVersion: SNAPSHOT_EVENTS[event.type].version,
  data: encodeSnapshotEvent(event),
});
