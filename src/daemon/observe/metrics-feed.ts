/** Connects the metrics to the running core. Returns a function that disconnects them. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '../../base/errors.js';
import type { Assembled } from '../../api/assembly.js';
import type { Audit } from '../../api/audit/audit-service.js';
import type { Health } from '../../api/grpc/health.js';
import type { Metrics } from './metrics.js';
import type { RunningServer } from '../../api/grpc/server.js';

/** Sizes are read in the background: a scrape must not wait for a disk. */
const SIZES_MILLIS = 10_000;

export function feedMetrics(
  metrics: Metrics,
  core: Assembled,
  server: RunningServer,
  audit: Audit | null,
  health: Health,
  root: string,
  clientFaults: () => Readonly<Record<string, number>>,
): () => void {
  let logBytes = 0;
  let checkpointAt: number | null = null;
  const readSizes = () => {
    void bytesIn(join(root, 'log')).then((bytes) => {
      logBytes = bytes ?? logBytes;
    });
  };
  readSizes();
  const timer = setInterval(readSizes, SIZES_MILLIS);
  timer.unref();
  const batches = core.log.durableBatches.subscribe((records) => {
    if (records.some(({ type }) => type === 'CheckpointTaken')) checkpointAt = performance.now();
  });
  const groups = core.log.syncGroups.subscribe(({ events, seconds }) => {
    metrics.appended(events, seconds);
  });
  metrics.readFrom({
    logPosition: () => core.log.nextPosition,
    logBytes: () => logBytes,
    checkpointAgeSeconds: () =>
      checkpointAt === null ? null : (performance.now() - checkpointAt) / 1000,
    snapshots: () => core.snapshotter.countsByKindAndState(),
    layersUnavailable: () => core.snapshotter.counts().unavailable,
    directoryProblems: () => core.snapshotter.directoryProblems(),
    connections: () => server.load().connections,
    callsInFlight: () => server.load().calls,
    auditStreams: () => audit?.streams() ?? 0,
    serving: () => health.state.serving,
    clientFaults,
  });
  return () => {
    clearInterval(timer);
    batches.unsubscribe();
    groups.unsubscribe();
  };
}

/** Null on failure: the gauge then keeps its value. */
async function bytesIn(directory: string): Promise<number | null> {
  try {
    const names = await readdir(directory);
    const sizes = await Promise.all(names.map((name) => sizeIfExists(join(directory, name))));
    return sizes.reduce((sum, size) => sum + size, 0);
  } catch {
    return null;
  }
}

/** 0 if the file is gone: segments are renamed and retired at any time. */
async function sizeIfExists(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (thrown) {
    if (errnoOf(thrown) === 'ENOENT') return 0;
    throw thrown;
  }
}
