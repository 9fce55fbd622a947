/**
 * One look at a root from outside: the log replayed, directories and mounts listed, the plan that
 * a start would make. Nothing is written and no lock is taken.
 */
import { realpath } from 'node:fs/promises';
import { hostname } from 'node:os';
import { errnoOf } from '../../base/errors.js';
import { formatTime, type SnapshotId } from '../../base/units.js';
import type { Host } from '../../host/host.js';
import { snapshotsDirectory } from '../../log/files.js';
import type { Plan } from '../../inspect/startup/plan.js';
import { contradictionInRoot } from '../../inspect/startup/root-agreement.js';
import { settingsIn } from '../../inspect/archive/settings-at.js';
import { replayToDamage } from '../../inspect/archive/replay-root.js';
import { countSnapshots, type SnapshotCounts } from '../../inspect/startup/report.js';
import { startupPlan } from '../../inspect/startup/startup-plan.js';
import { LogDamaged, RootRefused } from '../../log/errors.js';
import { compareFileSystems, fileSystemsOf } from '../../log/root/file-systems.js';
import type { LogFinding } from '../../log/verify/findings.js';
import {
  examineRoot,
  readIdentityIfSound,
  refuseContradiction,
  type StoredIdentity,
} from '../../log/root/identity.js';
import { readLog } from '../../log/reader.js';
import { verifyLog } from '../../log/verify/verify.js';
import type { Forest } from '../../machines/snapshots/forest.js';
import { lastHolder, liveHolder, lockRefusal, type LiveLockHolder } from './holder.js';
import { mountTables, withHiddenMounts } from './mount-tables.js';

export interface ScanRootOptions {
  readonly root: string;
  readonly host: Host;
  /** The mount table of this machine says nothing about this root. */
  readonly isOffline: boolean;
}

export interface CheckpointInUse {
  readonly position: number;
  /** Time of the last record it contains, RFC 3339; null when that record is retired. */
  readonly takenOf: string | null;
}

export interface RootScan {
  /** The path that the daemon has for this root. */
  readonly root: string;
  readonly holder: LiveLockHolder | null;
  readonly identity: StoredIdentity | null;
  /** Why a start would refuse the root as it stands; null when it would not. */
  readonly refusal: RootRefused | null;
  /** Why mounts were left out of the plan; null when they were looked at. */
  readonly mountsUnknown: string | null;
  /** Where records may be missing; then nothing is compared with the log, and the plan is empty. */
  readonly damage: LogDamaged | null;
  readonly plan: Plan;
  readonly snapshots: SnapshotCounts;
  /** The position the next record gets. */
  readonly position: number;
  readonly checkpoint: CheckpointInUse | null;
  /** What a quick check of the log found, information left out. */
  readonly logFindings: readonly LogFinding[];
}

/** Where a root is, who serves it, and whether this machine's mount table speaks of it. */
export type RootPlace = Pick<RootScan, 'root' | 'holder' | 'identity' | 'mountsUnknown'>;

export async function placeOfRoot(options: ScanRootOptions): Promise<RootPlace> {
  const identity = await readIdentityIfSound(options.host.disk, options.root);
  const servedAt = await lastServedAt(options);
  const isSamePlace = servedAt !== null && (await isSame(servedAt, options.root));
  // A detour through a link would not be found in the mount table.
  const root = isSamePlace ? servedAt : options.root;
  const holder = await liveHolder(root);
  const mountsUnknown =
    holder === null || options.isOffline
      ? await whyUnknown({ ...options, root }, identity, isSamePlace ? null : servedAt)
      : null;
  return { root, holder, identity, mountsUnknown };
}

const nothingCompared = (nextId: SnapshotId): Plan => ({
  ...{ findings: [], adopted: [], candidates: [], uses: new Map(), vanished: [], nextId },
});

/** Fails as `replayToDamage` does. */
export async function scanRoot(options: ScanRootOptions): Promise<RootScan> {
  const { host } = options;
  const { disk } = host;
  const { root, holder, identity, mountsUnknown } = await placeOfRoot(options);
  const logFindings = await quickFindings(options, holder !== null);
  const { replay, checkpoint, damage: met } = await replayToDamage(disk, root);
  const damage = met ?? damageIn(logFindings.filter(hasRest));
  // Directories after the log: the log is the first to know of a snapshot.
  const tables = mountsUnknown === null ? await mountTables(host, holder) : null;
  const mounts = tables?.daemon?.mounts ?? tables?.here ?? null;
  return {
    root,
    holder,
    identity,
    refusal: await refusalOf(options, damage === null ? replay.forest : null),
    mountsUnknown,
    damage,
    // Directories of snapshots behind the damage would look like orphans.
    plan:
      damage === null
        ? withHiddenMounts(
            await startupPlan(replay.forest, {
              directories: host.directories,
              idmappedMounts: host.idmappedMounts,
              mountTable: mounts === null ? null : { read: () => Promise.resolve(mounts) },
              snapshotsPath: snapshotsDirectory(root),
              isLive: holder !== null,
            }),
            tables,
            snapshotsDirectory(root),
          )
        : nothingCompared(replay.forest.nextId),
    snapshots: countSnapshots(replay.forest),
    position: replay.position,
    checkpoint: checkpoint === null ? null : await checkpointInUse(options, checkpoint),
    logFindings,
  };
}

/**
 * The first place where records may be missing that the log had. A reader takes damage in the
 * newest segment for a torn tail; only a check of what follows knows better.
 */
function damageIn(findings: readonly LogFinding[]): LogDamaged | null {
  const lost = findings.find(
    ({ kind, severity }) => severity === 'damage' && kind !== 'identity-damaged',
  );
  if (lost === undefined) return null;
  const { segment, offset, position, detail } = lost;
  return new LogDamaged({ segment, offset, position }, detail);
}

/** Where nothing of a log is left no start comes so far as to compare anything. */
const hasRest = ({ kind }: LogFinding): boolean => kind !== 'log-missing';

/**
 * For those who would call a directory nobody's: a log that lost records may have lost its owner.
 *
 * Fails  LogDamaged at the first place where records may be missing
 */
export async function requireUndamaged({
  host,
  root,
}: Pick<ScanRootOptions, 'host' | 'root'>): Promise<void> {
  const isLive = (await liveHolder(root)) !== null;
  const damage = damageIn(await quickFindings({ host, root }, isLive));
  if (damage !== null) throw damage;
}

/** The path under which the newest start knew the root; null when it did not say, or cannot be read. */
async function lastServedAt(options: ScanRootOptions): Promise<string | null> {
  try {
    return await servedAtInLog(options);
  } catch (thrown) {
    if (thrown instanceof LogDamaged) return null;
    throw thrown;
  }
}

async function servedAtInLog({ host, root }: ScanRootOptions): Promise<string | null> {
  const events = readLog({ root, disk: host.disk, stream: 'daemon', reverse: true });
  for await (const { type, data, position } of events) {
    if (type === 'DaemonStarted') return settingsIn(data['settings'], position).root;
  }
  return null;
}

async function isSame(one: string, other: string): Promise<boolean> {
  try {
    return (await realpath(one)) === (await realpath(other));
  } catch (thrown) {
    if (errnoOf(thrown) === 'ENOENT' || errnoOf(thrown) === 'ENOTDIR') return false;
    throw thrown;
  }
}

/** The first sign that this is not the place where the daemon mounts its layers. */
async function whyUnknown(
  { root, host, isOffline }: ScanRootOptions,
  identity: StoredIdentity | null,
  servedElsewhere: string | null,
): Promise<string | null> {
  if (isOffline) return '--offline was given';
  if (identity === null) return 'the root has no identity';
  const { fileSystems } = identity;
  const verdict = compareFileSystems(fileSystems, await fileSystemsOf(host.disk, root), 'none');
  if (verdict.kind === 'refused') return verdict.found;
  const last = await lastHolder(root);
  if (last !== null && last.host !== '' && last.host !== hostname()) {
    return `it was last served on host ${last.host}`;
  }
  return servedElsewhere === null ? null : `it was last served at ${servedElsewhere}`;
}

async function quickFindings(
  { host, root }: Pick<ScanRootOptions, 'host' | 'root'>,
  isLive: boolean,
): Promise<LogFinding[]> {
  const findings: LogFinding[] = [];
  for await (const item of verifyLog({ root, disk: host.disk, quick: true })) {
    if (item.kind === 'summary' || item.severity === 'info') continue;
    // Beside a writer the end of the newest segment is simply not written yet.
    if (isLive && item.kind === 'torn-tail') continue;
    findings.push(item);
  }
  return findings;
}

/** Of a copied root only the mounts are unknown, and that is reported on its own. */
async function refusalOf(
  { host: { disk }, root }: ScanRootOptions,
  forest: Forest | null,
): Promise<RootRefused | null> {
  try {
    const rules = { expectExisting: false, acceptedMove: 'copy' } as const;
    const changes = (await examineRoot(disk, root, rules))?.changes ?? [];
    if (forest !== null) {
      await refuseContradiction(root, changes, () => contradictionInRoot(disk, root, forest));
    }
    return await lockRefusal(root);
  } catch (thrown) {
    if (thrown instanceof RootRefused) return thrown;
    throw thrown;
  }
}

async function checkpointInUse(
  { host, root }: ScanRootOptions,
  position: number,
): Promise<CheckpointInUse> {
  const range = { root, disk: host.disk, from: position - 1, to: position };
  for await (const record of readLog(range)) {
    if (record.position === position - 1) return { position, takenOf: formatTime(record.time) };
  }
  return { position, takenOf: null };
}
