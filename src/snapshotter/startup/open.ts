/**
 * From a root to a running snapshotter: open the log, replay, look at directories and mounts,
 * make the plan, record it. `recover` then executes the plan; the caller listens before that, so
 * that containerd need not wait for it.
 *
 * Rule of the folder: this file joins the log (bytes and positions) with the machines (meaning);
 * dispatcher.ts is what happens afterwards.
 */
import type { Observable } from 'rxjs';
import { LogReadOnly, reasonOf } from '../../base/errors.js';
import type {
  Clock,
  Disk,
  IdmappedMounts,
  MountTable,
  Processes,
  SnapshotDirectories,
} from '../../base/ports.js';
import { SingleFlight } from '../../base/single-flight.js';
import type { UnixNanos } from '../../base/units.js';
import type { EffectWorld } from '../../effects/state-effects.js';
import { Supervisor, type SupervisorObserver } from '../../effects/supervisor.js';
import type { FileSystem } from '../../filesystems/contract.js';
import { idmappedPath } from '../../inspect/startup/idmapped-paths.js';
import { snapshotTexts } from '../../inspect/archive/indexed-texts.js';
import { planRecovery, type Observation, type Plan } from '../../inspect/startup/plan.js';
import { contradictionInRoot } from '../../inspect/startup/root-agreement.js';
import { OpeningReplay } from '../../inspect/archive/opening-replay.js';
import type { Replay } from '../../inspect/archive/replay.js';
import { makeDirectoryIfAbsent, snapshotsDirectory } from '../../log/files.js';
import { openLog, type OpenedLog, type OpenLogOptions } from '../../log/log.js';
import type { EventLog } from '../../log/types.js';
import type { SegmentChecker } from '../../log/verify/verify-ahead.js';
import type { DaemonEvent } from '../../machines/events/daemon-events.js';
import { DurableForest } from '../../machines/snapshots/durable-forest.js';
import type { Caller } from '../../machines/events/events.js';
import type { Forest } from '../../machines/snapshots/forest.js';
import { ClientReports, type ClientReport } from '../clients/client-reports.js';
import { Clients } from '../clients/clients.js';
import { Checkpointing } from '../checkpointing.js';
import { Cleanup } from '../cleanup.js';
import { ClockSteps, clockStepped } from '../clock/clock-steps.js';
import { ClockWatch } from '../clock/clock-watch.js';
import { Closing } from '../closing.js';
import { Dispatcher } from '../dispatcher.js';
import { IdmappedLayers } from '../idmapped-layers.js';
import { Layers } from '../layer-availability.js';
import { Preparation } from '../preparation.js';
import { Recovery } from './execute-plan.js';
import type { MountSettings, SnapshotPaths } from '../mounts.js';
import type { SnapshotterSettings } from '../settings.js';
import { SegmentChecks } from '../segment-checks.js';
import { Snapshotter } from '../snapshotter.js';
import { DirectoryPool } from '../directory-pool.js';
import { startEvents } from './startup-events.js';
import { StateRunner } from '../state-runner.js';
import { UnownedDirectories } from '../unowned-directories.js';
import { Visibility } from '../clients/visibility.js';

export interface SnapshotterPorts {
  readonly clock: Clock;
  readonly disk: Disk;
  readonly mountTable: MountTable;
  readonly processes: Processes;
  readonly directories: SnapshotDirectories;
  /** Of `<root>/idmapped`. */
  readonly idmappedMounts: IdmappedMounts;
  /** Draws from [0, 1): jitter only. */
  readonly random: () => number;
  /** For full segments of the log; without it they are not checked. */
  readonly segmentChecker?: SegmentChecker;
}

export interface SnapshotterObserver extends SupervisorObserver {
  warning(message: string, fields: Readonly<Record<string, unknown>>): void;
  /** All that is wrong between the daemon and its clients now; called after each change. */
  clientsChanged?(reports: readonly ClientReport[]): void;
  /** A broken invariant: the daemon must stop before it appends on a false belief. */
  fatal(thrown: unknown): void;
}

export type LogSettings = Pick<
  OpenLogOptions,
  'uuid' | 'segmentBytes' | 'expectExisting' | 'acceptMovedRoot' | 'holder' | 'lock'
>;

export interface OpenSnapshotterOptions {
  /** Absolute. `log/` and `snapshots/` stand below it. */
  readonly root: string;
  readonly release: { readonly version: string; readonly node: string; readonly pid: number };
  readonly ports: SnapshotterPorts;
  readonly fileSystem: FileSystem | null;
  readonly settings: Omit<SnapshotterSettings, 'mounts'>;
  /** Asked once the root is ours: what this kernel and this place can do is found out in it. */
  readonly mountSettings: () => Promise<MountSettings>;
  readonly log: LogSettings;
  readonly observer: SnapshotterObserver;
  /** Ends the replay, which may be long; the open then fails with the signal's reason. */
  readonly signal?: AbortSignal;
}

export interface OpenedSnapshotter {
  readonly snapshotter: Snapshotter;
  readonly log: EventLog;
  readonly recoveryReport: OpenedLog['recovery'];
  readonly plan: Plan;
  /** The log folded up to the durable position: clients are answered, and Cleanup decides, by it. */
  readonly projection: Forest;
  /** The log has failed and is read-only: time to say NOT_SERVING and to exit. */
  readonly failures: Observable<Error>;
  /** A client has connected: finds out what it runs, so that its first call need not wait for that. */
  clientConnected(caller: Caller): void;
  /** Forgets what was wrong with clients that have ended. To be called now and then. */
  reviewClients(): void;
  /** Executes the plan. Settles when all that can be done at once is done. */
  recover(): Promise<void>;
  /**
   * An orderly stop: effects are stopped where they are, a checkpoint is written, the log is
   * closed. Mounts and directories stay: containers run on.
   */
  close(why: string): Promise<void>;
}

/**
 * Fails  RootRefused, RootLocked, LogDamaged, LogTooNew, EventNotUnderstood, InvariantBroken (the
 *        log contradicts the statechart), HostFault. Nothing is changed then.
 */
export async function openSnapshotter(given: OpenSnapshotterOptions): Promise<OpenedSnapshotter> {
  const closing = new Closing();
  const options = { ...given, observer: closing.observing(given.observer) };
  const { ports, observer } = options;
  const early = new EarlyRead(() => Promise.all([lookAround(ports), options.mountSettings()]));
  const { replay, opened, newest } = await openAndReplay(options, early).finally(() =>
    early.ended(),
  );
  let assembled: Parts | null = null;
  try {
    const snapshotsPath = snapshotsDirectory(options.root);
    await makeDirectoryIfAbsent(ports.disk, snapshotsPath);
    const [seen, mountSettings] = await early.result();
    const { forest } = replay;
    const observed = { ...seen, nextId: forest.nextId, isLive: false };
    const plan = planRecovery(forest, observed, snapshotsPath);
    const settings = { ...options.settings, mounts: mountSettings };
    const parts = assemble({ ...options, settings }, opened.log, replay, snapshotsPath);
    assembled = parts;
    // Only what is decided needs it: the durable forest stays what the log says.
    parts.dispatcher.accepted.reserveSeen(seen.directories.map(({ name }) => name));
    const recorded = { root: options.root, ...settingsToTell(settings, options.fileSystem) };
    const events = startEvents(options.release, opened, plan, recorded);
    await parts.dispatcher.record(...events, ...clockBehind(newest, parts, observer));
    await recordFileSystems(opened, observer);
    const onWarning = observer.warning.bind(observer);
    const recovery = new Recovery({ ...parts, plan, snapshotsPath, onWarning });
    return {
      snapshotter: parts.snapshotter,
      log: opened.log,
      recoveryReport: opened.recovery,
      plan,
      projection: parts.dispatcher.durable,
      failures: opened.log.failures,
      clientConnected: (caller) => void parts.clients.identify(caller),
      reviewClients: () => parts.reports.review(),
      recover: () => recovery.run(),
      close: (why) => {
        closing.begin();
        return closeAll(parts, opened.log, why);
      },
    };
  } catch (thrown) {
    closing.begin();
    assembled?.segmentChecks?.close();
    assembled?.clockSteps.close();
    assembled?.supervisor.close();
    await opened.log.close();
    throw thrown;
  }
}

/**
 * A clock that shows less than the newest record does was ahead then, or is behind now. Less than a
 * second is what clocks of one machine differ by after a restart.
 */
function clockBehind(
  newest: UnixNanos | null,
  { clockWatch }: Parts,
  observer: SnapshotterObserver,
): readonly DaemonEvent[] {
  const { wall } = clockWatch;
  if (newest === null || newest - wall < 1_000_000_000n) return [];
  const event = clockStepped(newest, wall);
  observer.warning('the clock is behind the newest event of the log', event.data);
  return [event];
}

/** After the events that tell of it. A full disk must not keep the start: the next one reports it again. */
async function recordFileSystems(opened: OpenedLog, observer: SnapshotterObserver): Promise<void> {
  for (const { part, how, before, after } of opened.recovery.fileSystems) {
    if (how === 'same-id') continue;
    observer.warning(how === 'assumed' ? takenForTheSame : moveAccepted, { part, before, after });
  }
  try {
    await opened.recordFileSystems();
  } catch (thrown) {
    observer.warning('the file systems of the root could not be recorded in identity.json', {
      error: reasonOf(thrown),
    });
  }
}

const takenForTheSame =
  'the device number has changed, and this file system has no id: log and directories agree, so it is taken for the same one';
const moveAccepted = 'the root is on another file system than before, as accept_moved_root allows';

/** One after the other, on one thread: a second thread would cost a start more than it saves. */
async function lookAround({
  directories,
  mountTable,
  idmappedMounts,
}: SnapshotterPorts): Promise<Omit<Observation, 'nextId' | 'isLive'>> {
  const mounts = await mountTable.read();
  const idmapped = await idmappedMounts.list();
  return { mounts, idmapped, directories: await directories.list(undefined, { namesOnly: true }) };
}

/**
 * A look that needs the root to be ours, taken while the log is still being read. What goes wrong
 * then may be mended by what the open does next, so it is looked again.
 */
class EarlyRead<Found> {
  #begun: Promise<Found | null> | null = null;

  constructor(private readonly look: () => Promise<Found>) {}

  begin(): void {
    this.#begun ??= this.look().catch(() => null);
  }

  /** Settles when nothing of it runs any more. */
  async ended(): Promise<void> {
    await this.#begun;
  }

  async result(): Promise<Found> {
    return (await this.#begun) ?? (await this.look());
  }
}

async function openAndReplay(
  options: OpenSnapshotterOptions,
  early: { begin(): void },
): Promise<{ replay: Replay; opened: OpenedLog; newest: UnixNanos | null }> {
  const { ports, observer, release, root, signal } = options;
  const opening = new OpeningReplay();
  let newest: UnixNanos | null = null;
  const opened = await openLog({
    ...options.log,
    root,
    disk: ports.disk,
    clock: ports.clock,
    writesIndexes: true,
    indexedTexts: snapshotTexts,
    historyCheckpointEveryEvents: options.settings.historyCheckpointEveryEvents,
    writtenBy: `stratalog ${release.version}`,
    onCheckpoint: (text, at) => {
      signal?.throwIfAborted();
      early.begin();
      return opening.onCheckpoint(text, at);
    },
    onRecords: (batch, origin) => {
      signal?.throwIfAborted();
      early.begin();
      opening.onRecords(batch, origin);
      newest = batch.at(-1)?.time ?? newest;
    },
    contradictionInRoot: () => contradictionInRoot(ports.disk, root, opening.replay.forest),
    onWarning: (message, cause) => {
      observer.warning(message, cause === undefined ? {} : { error: reasonOf(cause) });
    },
  });
  return { replay: opening.replay, opened, newest };
}

function assemble(
  options: Omit<OpenSnapshotterOptions, 'settings'> & { readonly settings: SnapshotterSettings },
  log: EventLog,
  replay: Replay,
  snapshotsPath: string,
) {
  const { ports, settings, observer, fileSystem, root } = options;
  const { clock, directories, mountTable, disk, random } = ports;
  const { policies, failureLimit } = settings;
  const onProblem = observer.warning.bind(observer);
  const supervisor = new Supervisor({ clock, policies, failureLimit, observer, random });
  const flush = new SingleFlight(() => directories.syncFileSystem());
  const { reports, visibility, clients } = clientParts(ports, observer, snapshotsPath);
  const idmapped = new IdmappedLayers({
    ...{ root, mountTable, visibility, onProblem },
    mounts: ports.idmappedMounts,
    forest: () => dispatcher.durable,
  });
  const world: EffectWorld = {
    directories,
    mountTable,
    fileSystem,
    durability: settings.durability,
    flush: () => flush.request(),
    setAside: (id, evidence) => unowned.setAside(id, evidence),
    idmappedMounts: idmapped,
    parentOf: ({ parent }) => (parent === null ? undefined : replay.forest.get(parent.id)),
    whyHidden: async (client, mountpoint, signal) =>
      (await visibility.whyHidden(client, [mountpoint], signal))?.reason ?? null,
  };
  const onFatal = (thrown: unknown) => {
    dispatcher.giveUp(new LogReadOnly('the daemon is stopping: an invariant is broken'));
    observer.fatal(thrown);
  };
  const running = { onFatal, onWarning: onProblem };
  const runner = new StateRunner({ clock, supervisor, policies, world, random, ...running });
  const dispatcher = new Dispatcher({
    log,
    clock,
    accepted: replay.forest,
    durable: new DurableForest(replay.forest),
    runner,
    daemonStreamVersion: replay.daemonStreamVersion,
  });
  runner.reportTo(dispatcher);
  const effects = { dispatcher, runner, supervisor };
  const layers = new Layers({ ...effects, fileSystem, directories, clock, visibility });
  const unowned = new UnownedDirectories({
    ...{ dispatcher, supervisor, directories, snapshotsPath, onProblem },
  });
  const preallocated = new DirectoryPool({
    ...{ dispatcher, supervisor, directories, unowned, clock, onProblem },
    count: settings.preallocatedDirectories,
    durable: settings.durability === 'data',
  });
  const preparation = new Preparation({
    ...{ dispatcher, layers, preallocated, clients, visibility },
    fileSystems: fileSystem === null ? [] : [fileSystem.name],
  });
  const stretch = Math.min(SETTLED_AFTER_MILLIS, settings.retainMillis ?? Infinity);
  const clockWatch = new ClockWatch(clock, stretch);
  const clockSteps = new ClockSteps({
    ...{ log, clockWatch, onWarning: onProblem },
    record: (event) => dispatcher.record(event),
  });
  const checkpointing = new Checkpointing({ log, dispatcher, settings, clockWatch, observer });
  const cleanup = new Cleanup({ ...effects, directories, unowned, idmapped, onProblem });
  const { segmentChecker: checker } = ports;
  const segmentChecks =
    checker && new SegmentChecks({ disk, root, log, dispatcher, clock, checker, onProblem });
  const owners = { layers, idmapped, preparation, cleanup, preallocated, unowned, clients };
  const paths = pathsIn(root, directories);
  const parts = { ...effects, ...owners, directories, paths, settings };
  const clocks = { clockWatch, clockSteps };
  return {
    ...{ ...parts, ...clocks, checkpointing, segmentChecks, reports },
    snapshotter: new Snapshotter(parts),
  };
}

function pathsIn(root: string, directories: SnapshotDirectories): SnapshotPaths {
  return {
    fsPath: (id) => directories.fsPath(id),
    workPath: (id) => directories.workPath(id),
    idmappedPath: (layer, mapping) => idmappedPath(root, layer, mapping),
  };
}

/** Who calls, what they see, and what is wrong with that. */
function clientParts(
  { processes, mountTable, clock }: SnapshotterPorts,
  observer: SnapshotterObserver,
  snapshotsPath: string,
) {
  const reports = new ClientReports({
    processes,
    onWarning: observer.warning.bind(observer),
    onChange: (current) => observer.clientsChanged?.(current),
  });
  const look = { processes, mountTable, snapshotsPath, reports };
  return { reports, visibility: new Visibility(look), clients: new Clients({ ...look, clock }) };
}

type Parts = ReturnType<typeof assemble>;

/**
 * How long the wall clock must agree with the monotonic one before it decides what is dropped for
 * good: long enough to set it right after a boot, or after a warning. Never longer than history is
 * kept.
 */
const SETTLED_AFTER_MILLIS = 3_600_000;

async function closeAll(parts: Parts, log: EventLog, why: string): Promise<void> {
  parts.segmentChecks?.close();
  parts.clockSteps.close();
  parts.runner.close();
  try {
    await parts.preallocated.close().finally(() => parts.supervisor.close());
    await parts.dispatcher.record({ type: 'DaemonStopped', data: { why } });
    await parts.checkpointing.takeNow();
  } finally {
    await parts.checkpointing.close();
    parts.dispatcher.close();
    await log.close();
  }
}

/** What changes the meaning of the events that follow; kept with DaemonStarted. */
function settingsToTell(
  { asynchronousRemove, durability, mounts }: SnapshotterSettings,
  fileSystem: FileSystem | null,
): Readonly<Record<string, unknown>> {
  return {
    asynchronousRemove,
    durability,
    mountOptions: [...mounts.mountOptions, ...mounts.kernelOptions],
    whyNoIdMapping: mounts.whyNoIdMapping,
    fileSystem: fileSystem?.name ?? null,
  };
}
