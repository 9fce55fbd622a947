/** Sound roots to be damaged, and everything that is looked at before and after a repair. */
import {
  position,
  snapshotId,
  streamVersion,
  unixNanos,
  type SnapshotId,
} from '../../src/base/units.js';
import type { Clock, Disk } from '../../src/base/ports.js';
import { checkEvents } from '../../src/inspect/archive/check-events.js';
import { startupPlan } from '../../src/inspect/startup/startup-plan.js';
import {
  planRepair,
  type RepairPlan,
  type RepairRequest,
} from '../../src/repair/plan/repair-plan.js';
import { readRepairPlan } from '../../src/repair/plan/read-repair-plan.js';
import { replayRoot } from '../../src/inspect/archive/replay-root.js';
import { Replay } from '../../src/inspect/archive/replay.js';
import { openLog } from '../../src/log/log.js';
import { verifyLog } from '../../src/log/verify/verify.js';
import { encodeHead, encodeState, headOf } from '../../src/machines/snapshots/state-json.js';
import { executeRepair, type RepairDone } from '../../src/repair/repair.js';

export const UUID = '0b5c7a1e-2f3d-4c6b-8a9e-112233445566';
export const OTHER_UUID = '99999999-2f3d-4c6b-8a9e-112233445566';
const release = 'stratalog 0.1.0';
export const ROOT = '/root';

function steppingClock(start = 1_767_225_600_000_000_000n): Clock {
  let now = start;
  return {
    now: () => unixNanos((now += 1_000_000n)),
    monotonicMillis: () => 0,
    schedule: () => () => undefined,
  };
}

interface Happening {
  readonly stream: string;
  readonly type: string;
  readonly data: Readonly<Record<string, unknown>>;
}

const caller = { namespace: 'default' };
const preparing = (id: number, parent: number | null): Happening => ({
  stream: `snapshot-${id}`,
  type: 'SnapshotPreparing',
  data: {
    ...{
      id,
      kind: 'active',
      key: `default/${id}/key-${id}`,
      labels: {},
      remote: null,
      idMapping: null,
      caller,
    },
    parent: parent === null ? null : { id: parent, name: `default/${parent}/layer-${parent}` },
  },
});
const prepared = (id: number): Happening => ({
  stream: `snapshot-${id}`,
  type: 'SnapshotPrepared',
  data: {},
});
const committed = (id: number, parent: number | null): readonly Happening[] => [
  {
    stream: `snapshot-${id}`,
    type: 'SnapshotCommitting',
    data: { name: `default/${id}/layer-${id}`, labels: {}, parent: null, caller },
  },
  {
    stream: `snapshot-${id}`,
    type: 'SnapshotCommitted',
    data: {
      ...{ name: `default/${id}/layer-${id}`, labels: {}, usage: { size: 4096, inodes: 2 } },
      parent: parent === null ? null : { id: parent, name: `default/${parent}/layer-${parent}` },
      ...{ owner: { uid: 0, gid: 0 }, remote: null, durability: 'data' },
    },
  },
];

/** Six layers on one another and two containers: 30 events, each in a sync group of its own. */
function story(): readonly Happening[] {
  const events: Happening[] = [];
  for (let id = 1; id <= 6; id++) {
    const parent = id === 1 ? null : id - 1;
    events.push(preparing(id, parent), prepared(id), ...committed(id, parent));
  }
  events.push(preparing(7, 6), prepared(7), preparing(8, 6), prepared(8));
  events.push({
    stream: 'snapshot-7',
    type: 'SnapshotRemoving',
    data: { deferred: false, caller },
  });
  events.push({ stream: 'snapshot-7', type: 'SnapshotRemoved', data: {} });
  return events;
}

export const EVENTS = story().length;

export interface SoundOptions {
  /** Positions at which a checkpoint is taken. */
  readonly checkpoints?: readonly number[];
  readonly uuid?: string;
  /** Segments before this position are dropped, as after a long life. */
  readonly retireBefore?: number;
  /** Where segments begin. */
  readonly segmentsAt?: readonly number[];
  /** How many events; all by default. */
  readonly events?: number;
  /** Behind them, a container in a user namespace: three events. */
  readonly withMappedIds?: boolean;
}

/** The number of `mappedContainer`. */
export const MAPPED = 9;

function mappedContainer(): readonly Happening[] {
  const { data, ...made } = preparing(MAPPED, 6);
  const map = '0:100000:65536';
  return [
    { ...made, data: { ...data, idMapping: { uids: map, gids: map, appliedBy: 'snapshotter' } } },
    { stream: made.stream, type: 'IdMappingStarted', data: {} },
    prepared(MAPPED),
  ];
}

/** A segment begins at each of these positions, because another release came. */
const SEGMENTS_AT = [0, 8, 16, 24] as const;

/** Writes a log of real events, in four segments. */
export async function writeSound(
  root: string,
  disk: Disk,
  options: SoundOptions = {},
): Promise<void> {
  const { checkpoints = [], uuid = UUID, retireBefore, segmentsAt = SEGMENTS_AT } = options;
  const clock = steppingClock();
  const replay = new Replay();
  const versions = new Map<string, number>();
  const more = options.withMappedIds === true ? mappedContainer() : [];
  const events = [...story().slice(0, options.events), ...more];
  for (const [index, first] of segmentsAt.entries()) {
    if (first > 0 && first >= events.length) return;
    const writtenBy = `stratalog 0.0.${index + 1}`;
    const { log } = await openLog({
      ...{ root, disk, clock, uuid: () => uuid, writtenBy, segmentBytes: 4096, holder },
      onCheckpoint: () => Promise.resolve(),
      onRecords: () => undefined,
      onWarning: () => undefined,
    });
    for (const event of events.slice(first, segmentsAt[index + 1])) {
      const version = versions.get(event.stream) ?? 0;
      versions.set(event.stream, version + 1);
      const expectedVersion = streamVersion(version);
      const appended = log.append([{ ...event, expectedVersion, schemaVersion: 1 }], {
        sync: true,
      });
      for (const record of appended.records) replay.apply(record);
      await appended.durable;
      if (checkpoints.includes(log.nextPosition)) await checkpoint(log, replay);
    }
    if (retireBefore !== undefined && index === segmentsAt.length - 1)
      await log.retire(position(retireBefore));
    await log.close();
  }
}

const holder = { pid: 1, host: 'test', command: 'test' };

async function checkpoint(
  log: Awaited<ReturnType<typeof openLog>>['log'],
  replay: Replay,
): Promise<void> {
  const head = headOf(replay.forest, replay.daemonStreamVersion);
  const lines = [encodeHead(head), ...[...replay.forest.values()].map(encodeState)];
  await log.writeCheckpoint({ position: log.nextPosition, lines });
}

/** The directories that the story leaves. */
const DIRECTORIES = [1, 2, 3, 4, 5, 6, 8].map(snapshotId);

export interface Planned {
  readonly plan: RepairPlan;
  readonly world: Awaited<ReturnType<typeof readRepairPlan>>;
}

export async function planFor(
  root: string,
  disk: Disk,
  query: Partial<RepairRequest> & { readonly endAt?: number } = {},
  directories: readonly SnapshotId[] = DIRECTORIES,
): Promise<Planned> {
  const { endAt, fromDirectories = false } = query;
  const world = await readRepairPlan({
    disk,
    root,
    directories,
    ...(endAt !== undefined && { endAt }),
  });
  return { world, plan: planRepair(world, { fromDirectories }) };
}

export async function repair(
  root: string,
  disk: Disk,
  { plan, world }: Planned,
  clock: Clock = steppingClock(1_800_000_000_000_000_000n),
): Promise<RepairDone> {
  const options = {
    ...{ root, disk, fileSystems: world.fileSystems, uuid: () => OTHER_UUID, writtenBy: release },
    clock,
    inspectDirectory: () =>
      Promise.resolve({
        ...{ usage: { size: 4096, inodes: 2 }, owner: { uid: 0, gid: 0 } },
        looked: 'committed' as const,
      }),
  };
  return executeRepair(options, plan, world.evidence);
}

/** Kinds of everything that verifying calls more than information, sorted, each once. */
export async function kindsFound(root: string, disk: Disk): Promise<string[]> {
  const kinds = new Set<string>();
  for await (const item of verifyLog({ root, disk })) {
    if (item.kind !== 'summary' && item.severity !== 'info') kinds.add(item.kind);
  }
  for await (const { kind } of checkEvents(disk, root)) kinds.add(kind);
  return [...kinds].sort();
}

/** Every snapshot as a checkpoint would hold it; the log up to a position, or all of it. */
export async function statesOf(root: string, disk: Disk, upTo?: number): Promise<string[]> {
  const { replay } = await replayRoot(disk, root, upTo === undefined ? undefined : position(upTo));
  return [...replay.forest.values()].map(encodeState).sort();
}

/** What the next start would find. */
export async function startFindings(root: string, disk: Disk, ids = DIRECTORIES) {
  const { replay } = await replayRoot(disk, root);
  const directories = ids.map((id) => ({
    ...{ id, name: String(id), isDirectory: true },
    parts: { kind: 'seen', fs: true, work: true } as const,
  }));
  const plan = await startupPlan(replay.forest, {
    directories: {
      list: () => Promise.resolve(directories),
      usesOf: (names) => Promise.resolve(names.map(() => ({ kind: 'unused' }))),
    },
    idmappedMounts: { list: () => Promise.resolve([]) },
    ...{ mountTable: null, snapshotsPath: `${root}/snapshots`, isLive: false },
  });
  return plan.findings;
}

/** Opens the log as a start does, and appends an event. */
export async function startAndAppend(root: string, disk: Disk): Promise<number> {
  const replay = new Replay();
  let forest = replay;
  const { log, recovery } = await openLog({
    ...{ root, disk, clock: steppingClock(1_900_000_000_000_000_000n), uuid: () => OTHER_UUID },
    ...{ writtenBy: release, segmentBytes: 4096, expectExisting: true },
    holder,
    onCheckpoint: async (text) => {
      forest = await Replay.restore(text);
    },
    onRecords: (batch) => {
      for (const record of batch) forest.apply(record);
    },
    onWarning: () => undefined,
  });
  try {
    if (recovery.tornTail !== null) throw new Error('a repaired log has no torn tail');
    const event = {
      ...{ stream: 'daemon', type: 'DaemonStopped', schemaVersion: 1, data: { why: 'test' } },
      expectedVersion: streamVersion(forest.daemonStreamVersion),
    };
    await log.append([event], { sync: true }).durable;
    return log.identity.epoch;
  } finally {
    await log.close();
  }
}
