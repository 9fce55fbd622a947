/**
 * Scans a root: replays the log, lists directories and mounts, and makes the plan that startup would
 * make. Read-only, without a lock.
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
  /** Ignore the mount table of this machine. */
  readonly isOffline: boolean;
}

export interface CheckpointInUse {
  readonly position: number;
  /** Time of the last record it contains, RFC 3339; null when that record is retired. */
  readonly takenOf: string | null;
}

export interface RootScan {
  /** The path by which the daemon knows this root. */
  readonly root: string;
  readonly holder: LiveLockHolder | null;
  readonly identity: StoredIdentity | null;
  /** Why startup would refuse the root; null if it would not. */
  readonly refusal: RootRefused | null;
  /** Why the plan does not include mounts; null if it does. */
  readonly mountsUnknown: string | null;
  /** The first place where records may be missing. The plan is then empty. */
  readonly damage: LogDamaged | null;
  readonly plan: Plan;
  readonly snapshots: SnapshotCounts;
  /** The position of the next record. */
  readonly position: number;
  readonly checkpoint: CheckpointInUse | null;
  /** The findings of a quick check of the log, without those of severity info. */
  readonly logFindings: readonly LogFinding[];
}

/** The path of a root, its holder, and whether the mount table of this machine applies to it. */
export type RootLocation = Pick<RootScan, 'root' | 'holder' | 'identity' | 'mountsUnknown'>;

export async function locateRoot(options: ScanRootOptions): Promise<RootLocation> {
  const identity = await readIdentityIfSound(options.host.disk, options.root);
  const servedAt = await lastServedAt(options);
  const isSamePlace = servedAt !== null && (await isSame(servedAt, options.root));
  // The mount table has real paths.
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
  const { root, holder, identity, mountsUnknown } = await locateRoot(options);
  const logFindings = await quickFindings(options, holder !== null);
  const { replay, checkpoint, readTo, damage: replayDamage } = await replayToDamage(disk, root);
  const damage = replayDamage ?? damageIn(logFindings.filter(hasLog));
  // Lists directories after the log: a snapshot is in the log before its directory exists.
  const tables = mountsUnknown === null ? await mountTables(host, holder) : null;
  const mounts = tables?.daemon?.mounts ?? tables?.here ?? null;
  return {
    root,
    holder,
    identity,
    refusal: await refusalOf(options, damage === null ? replay.forest : null),
    mountsUnknown,
    damage,
    // Directories of snapshots after the damage would look like orphans.
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
    position: readTo,
    checkpoint: checkpoint === null ? null : await checkpointInUse(options, checkpoint),
    logFindings,
  };
}

/**
 * The first place where records may be missing. Readers cannot tell damage in the newest segment from
 * a torn tail; the quick check can, because it reads what follows.
 */
function damageIn(findings: readonly LogFinding[]): LogDamaged | null {
  const lost = findings.find(
    ({ kind, severity }) => severity === 'damage' && kind !== 'identity-damaged',
  );
  if (lost === undefined) return null;
  const { segment, offset, position, detail } = lost;
  return new LogDamaged({ segment, offset, position }, detail);
}

/** If the whole log is missing, startup is refused before it compares anything. */
const hasLog = ({ kind }: LogFinding): boolean => kind !== 'log-missing';

/**
 * Checked before a directory is reported as unowned: the record of its owner may be lost.
 *
 * Fails with LogDamaged at the first place where records may be missing.
 */
export async function requireUndamaged({
  host,
  root,
}: Pick<ScanRootOptions, 'host' | 'root'>): Promise<void> {
  const isLive = (await liveHolder(root)) !== null;
  const damage = damageIn(await quickFindings({ host, root }, isLive));
  if (damage !== null) throw damage;
}

/** The path of the root in the newest DaemonStarted; null if it is not recorded or not readable. */
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

/** The first evidence that the daemon mounts its layers elsewhere, so that mounts are unknown. */
async function whyUnknown(
  { root, host, isOffline }: ScanRootOptions,
  identity: StoredIdentity | null,
  servedElsewhere: string | null,
): Promise<string | null> {
  if (isOffline) return '--offline was given';
  if (identity === null) return 'the root has no identity';
  const { fileSystems } = identity;
  const comparison = compareFileSystems(fileSystems, await fileSystemsOf(host.disk, root), 'none');
  if (comparison.kind === 'refused') return comparison.found;
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
    // While a daemon writes, an incomplete record at the end is not a torn tail.
    if (isLive && item.kind === 'torn-tail') continue;
    findings.push(item);
  }
  return findings;
}

/** A copied root is not a refusal: its unknown mounts are reported separately. */
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
