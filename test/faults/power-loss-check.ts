/**
 * One look at a root after a power cut: verified, opened as a start opens it, compared with what
 * was promised, settled, and started once more. Each difference is one line; no line means none.
 */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { until } from '../../scripts/rig/wait.js';
import { defaultPolicies } from '../../src/effects/policies.js';
import { snapshotDirectories } from '../../src/host/files/directories.js';
import { systemDisk } from '../../src/host/files/disk.js';
import { openHost, type Host } from '../../src/host/host.js';
import { isOrdinary } from '../../src/inspect/startup/findings.js';
import { startupPlan } from '../../src/inspect/startup/startup-plan.js';
import { replayRoot } from '../../src/inspect/archive/replay-root.js';
import { readIdentity } from '../../src/log/root/identity.js';
import { readLog } from '../../src/log/reader.js';
import { verifyLog } from '../../src/log/verify/verify.js';
import { openSnapshotter, type OpenedSnapshotter } from '../../src/snapshotter/startup/open.js';
import { describeContents } from './power-loss-contents.js';
import type { History, Promised } from './power-loss-oracle.js';

export interface CheckOptions {
  readonly root: string;
  readonly history: History;
  /** Where in the order of the disk's writes the power went. */
  readonly position: number;
  /** Also start a second time, which must find nothing to do. */
  readonly restarts: boolean;
  /** Counts what was seen, to show that the cuts met something. */
  readonly count: (what: string) => void;
}

/** A power cut leaves these behind; anything else would be a loss. */
const findingsOfACut = new Set([
  'AbandonedPreparation',
  'UnfinishedCommit',
  'UnfinishedRemoval',
  'OrphanDirectory',
]);

export async function checkAfterCut(options: CheckOptions): Promise<string[]> {
  const { root, history, position, restarts, count } = options;
  const found = await verifiedAfterCut(root, count);
  if (found.length > 0) return found;
  const first = await open(root, found);
  try {
    for (const finding of first.plan.findings) {
      const { kind } = finding;
      count(kind);
      const isExpected = findingsOfACut.has(kind) || isOrdinary(finding);
      if (!isExpected) found.push(`the start found ${kind}`);
    }
    // What a client sees is right before anything is settled.
    found.push(...history.compare(position, await promisedNow(first, root)));
    await first.recover();
    found.push(...(await settled(root)));
    found.push(...history.compare(position, await promisedNow(first, root)));
  } finally {
    await first.close('the look is over');
  }
  const end = first.log.durablePosition;
  if (restarts && found.length === 0) found.push(...(await checkRestart(root, end)));
  return found;
}

/** No damage. A torn tail is what a power cut is allowed to leave. */
async function verifiedAfterCut(root: string, count: (what: string) => void): Promise<string[]> {
  const disk = systemDisk();
  // The power went before there was a log: a start begins one.
  if ((await readIdentity(disk, root)) === null) {
    count('no log yet');
    return [];
  }
  const found: string[] = [];
  for await (const item of verifyLog({ root, disk })) {
    if (item.kind === 'summary' || item.severity === 'info') continue;
    if (item.kind === 'torn-tail') count('torn tail');
    else found.push(`verify: ${item.kind} at ${item.position}: ${item.detail}`);
  }
  return found;
}

let sharedHost: Host | null = null;

/** Threads take long to start and hold nothing of a root: one host serves all looks. */
function hostOf(root: string): Host {
  sharedHost ??= openHost({ root });
  return { ...sharedHost, directories: snapshotDirectories(root, sharedHost.workers) };
}

function open(root: string, found: string[]): Promise<OpenedSnapshotter> {
  return openSnapshotter({
    root,
    release: { version: '0.0.0', node: process.version, pid: process.pid },
    ports: { ...hostOf(root), random: Math.random },
    fileSystem: null,
    settings: {
      asynchronousRemove: false,
      durability: 'data',
      upperdirLabel: false,
      preallocatedDirectories: 4,
      policies: defaultPolicies,
      failureLimit: { failures: 20, withinMillis: 60_000 },
      checkpointEveryEvents: 10_000,
      historyCheckpointEveryEvents: 0,
      retainMillis: null,
    },
    mountSettings: () =>
      Promise.resolve({ mountOptions: [], kernelOptions: ['index=off'], whyNoIdMapping: null }),
    log: {
      uuid: randomUUID,
      segmentBytes: 1024 * 1024,
    },
    observer: {
      warning: (message, fields) => found.push(`warning: ${message} ${JSON.stringify(fields)}`),
      fatal: (thrown) => found.push(`fatal: ${String(thrown)}`),
      effectFailed: (effect, id, reason) => found.push(`${effect} of ${id}: ${reason}`),
      healthChanged: () => undefined,
    },
  });
}

/** What clients are told, and what the layers really hold. */
async function promisedNow(
  opened: OpenedSnapshotter,
  root: string,
): Promise<Map<string, Promised>> {
  const listed = opened.snapshotter.list([]);
  if (!listed.ok) throw new Error(listed.refusal.message);
  const { replay } = await replayRoot(systemDisk(), root);
  const ids = new Map([...replay.forest.values()].map(({ name, id }) => [name, id]));
  const now = new Map<string, Promised>();
  for (const { name, kind, parent, labels } of listed.value) {
    const fs = join(root, 'snapshots', String(ids.get(name)), 'fs');
    // A committed layer must be whole, whether or not its Commit was answered.
    const contents = kind === 'committed' ? describeContents(fs) : null;
    now.set(name, { kind, parent, labels, contents });
  }
  return now;
}

/** Recovery works behind the clients; what is still to be done when its time is over is told. */
async function settled(root: string): Promise<string[]> {
  let left: string[] = [];
  const probe = async () => {
    left = (await findingsNow(root)).map((kind) => `not settled: ${kind}`);
    return left.length === 0;
  };
  await until('the root is settled', probe, { pauseMillis: 5 }).catch(() => undefined);
  return left;
}

async function findingsNow(root: string): Promise<string[]> {
  const { replay } = await replayRoot(systemDisk(), root);
  const { directories, idmappedMounts, mountTable } = hostOf(root);
  const snapshotsPath = `${root}/snapshots`;
  const world = { directories, idmappedMounts, mountTable, snapshotsPath, isLive: false };
  const { findings } = await startupPlan(replay.forest, world);
  return findings.filter((finding) => !isOrdinary(finding)).map(({ kind }) => kind);
}

/** A second start finds nothing and writes nothing but that it started. */
async function checkRestart(root: string, from: OpenedSnapshotter['log']['durablePosition']) {
  const found: string[] = [];
  const second = await open(root, found);
  try {
    const left = second.plan.findings.filter((finding) => !isOrdinary(finding));
    found.push(...left.map(({ kind }) => `the second start found ${kind}`));
    if (second.recoveryReport.tornTail !== null) found.push('the second start cut a tail');
    await second.recover();
  } finally {
    await second.close('the look is over');
  }
  const usual = ['DaemonStarted', 'DaemonStopped', 'CheckpointTaken'];
  for await (const { type } of readLog({ root, disk: systemDisk(), from })) {
    if (!usual.includes(type)) found.push(`the second start wrote ${type}`);
  }
  return found;
}
