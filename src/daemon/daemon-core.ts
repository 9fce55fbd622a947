/**
 * Opens the log, the snapshotter and the services of the daemon. Separate from daemon.ts because it
 * takes longest to load, and clients are accepted before that.
 */
import { reasonOf } from '../base/errors.js';
import type { SnapshotterObserver } from '../snapshotter/startup/open.js';
import { openLockedRoot, type Assembled, type FileSystemFactory } from '../api/assembly.js';
import { openAudit } from './open-audit.js';
import type { Audit } from '../api/audit/audit-service.js';
import type { Config } from './config/config.js';
import type { SnapshotsServer } from '../api/generated/containerd/services/snapshots/v1/snapshots.js';
import type { LockedRoot } from '../api/root/locked-root.js';
import type { Logger } from './observe/logger.js';
import { policiesOf } from './policies.js';
import { snapshotsService } from '../api/snapshots/snapshots-service.js';

/** The layer store may be on a server that does not answer. */
const STORE_PROBE_MILLIS = 5_000;

export interface CoreOptions {
  readonly config: Config;
  readonly logger: Logger;
  /** Released if opening fails. */
  readonly locked: LockedRoot;
  readonly observer: SnapshotterObserver;
  readonly onAuditSent: (events: number) => void;
  /** Aborts the replay. */
  readonly signal: AbortSignal;
}

export interface DaemonCore extends Assembled {
  readonly snapshots: SnapshotsServer;
  /** Null if it is disabled. */
  readonly audit: Audit | null;
}

/** @throws as `openSnapshotter`, or the signal's reason */
export async function openCore(options: CoreOptions): Promise<DaemonCore> {
  const { config, logger, locked, observer, signal } = options;
  const fileSystem = await layerStore(config.layerStore, logger);
  const choices = {
    root: config.root,
    asynchronousRemove: config.asyncRemove,
    durability: config.durability,
    upperdirLabel: config.upperdirLabel,
    preallocatedDirectories: config.preallocatedDirectories,
    mountOptions: config.mountOptions,
    remapIds: config.remapIds,
    expectExisting: config.expectExisting,
    policies: policiesOf(config.effects),
    checkpointEveryEvents: config.logStore.checkpointEveryEvents,
    historyCheckpointEveryEvents: config.logStore.historyCheckpointEveryEvents,
    segmentBytes: config.logStore.segmentSize,
    retainMillis: config.logStore.retain,
    acceptMovedRoot: config.acceptMovedRoot,
  };
  const core = await openLockedRoot(locked, choices, { fileSystem, observer, signal });
  const { recoveryReport, plan } = core;
  logger.info(
    {
      root: config.root,
      position: core.log.durablePosition,
      replayed: recoveryReport.recordsReplayed,
      checkpoint: recoveryReport.checkpoint,
      findings: plan.findings.length,
      adopted: plan.adopted.length,
    },
    'log replayed',
  );
  for (const { how, ...change } of recoveryReport.fileSystems) {
    if (how !== 'same-id') continue;
    logger.info(change, 'device number of the file system changed; its id is unchanged');
  }
  if (recoveryReport.tornTail !== null) {
    logger.warn({ ...recoveryReport.tornTail }, 'torn tail saved and truncated');
  }
  const snapshots = snapshotsService({
    snapshotter: core.snapshotter,
    budgets: config.limits.budgets,
    onFatal: (thrown) => observer.fatal(thrown),
  });
  return { ...core, snapshots, audit: openAudit(core, config, options.onAuditSent) };
}

/** Loads the code of the layer store only if one is configured. */
async function layerStore(directory: string | null, logger: Logger): Promise<FileSystemFactory> {
  if (directory === null) return () => null;
  const { openLayerStore } = await import('../filesystems/layer-store/layer-store.js');
  return ({ mountTable, workers }) => {
    const store = openLayerStore({ directory, mountTable, workers });
    store.probe(AbortSignal.timeout(STORE_PROBE_MILLIS)).catch((thrown: unknown) => {
      const error = reasonOf(thrown);
      const message = 'layer store unavailable; layers are pulled instead';
      logger.warn({ error }, message);
    });
    return store;
  };
}
