/**
 * The service from start to stop: root opened and replayed, plan recorded, socket bound, plan
 * executed behind it; watched while it runs; stopped without touching a mount.
 *
 * It listens last, when calls can be answered, and before recovery, which may take long: Stat,
 * List and Remove need no mount.
 */
import type { Socket } from 'node:net';
import { firstValueFrom } from 'rxjs/internal/firstValueFrom';
import { Subject } from 'rxjs/internal/Subject';
import { adviceFor } from '../base/advice.js';
import { counted } from '../base/counted.js';
import { LogReadOnly, reasonOf, UsageError } from '../base/errors.js';
import { raiseDescriptorLimit } from '../host/limits.js';
import { notify, watchdogMillis } from '../host/notify.js';
import { passedSockets } from '../host/sockets.js';
import type { ClientFault, ClientReport } from '../snapshotter/client-reports.js';
import type { SnapshotterObserver } from '../snapshotter/open.js';
import { assembleSnapshotter, type Assembled, type FileSystemFactory } from './assembly.js';
import { openAudit, type OpenedAudit } from './audit-open.js';
import { callerOn, type Caller } from './callers.js';
import type { Config } from './config.js';
import { auditServiceName, Health, snapshotsServiceName, type HealthName } from './health.js';
import type { RunningHttp } from './http.js';
import type { ListenTarget } from './listener.js';
import type { Logger } from './logger.js';
import type { Metrics } from './metrics.js';
import { feedMetrics } from './metrics-feed.js';
import { policiesOf } from './policies.js';
import { RELEASE } from './release.js';
import { releaseAtRest } from './rest.js';
import { startServer, type RunningServer } from './server.js';
import { snapshotsService } from './snapshots.js';
import { examineSocketPath } from './unix-socket.js';
import { strictSnapshotsService } from './snapshots-requests.js';
import { watchProcess } from './watch.js';

export interface DaemonOptions {
  readonly config: Config;
  readonly logger: Logger;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/** Why the daemon ends, and the exit code that says so. */
interface Ending {
  readonly why: string;
  readonly code: number;
}

/** How long reads are served after the log has failed, so that somebody can look. */
const READ_ONLY_MILLIS = 5_000;
/** A store on a server that does not answer is told of after this time. */
const STORE_PROBE_MILLIS = 5_000;
/** The exit code of a broken invariant (EX_SOFTWARE, sysexits.h). */
const EXIT_BROKEN = 70;
/** `systemctl status` shows this while all is well. */
const STATUS_MILLIS = 10_000;

/** How the daemon ended. */
export interface DaemonEnd {
  readonly code: number;
  /** Threads that hang in system calls: an ordinary exit would wait for them for ever. */
  readonly hangingThreads: number;
}

/**
 * Runs until a signal or a failure ends it. Throws when it cannot start: a root that is refused,
 * locked or damaged is then unchanged; after that the start stands in the log.
 */
export async function runDaemon(options: DaemonOptions): Promise<DaemonEnd> {
  const daemon = new Daemon(options);
  return daemon.run();
}

class Daemon {
  readonly #config: Config;
  readonly #logger: Logger;
  readonly #environment: DaemonOptions['environment'];
  readonly #health: Health;
  /** Null while nobody can scrape them. */
  #metrics: Metrics | null = null;
  #audit: OpenedAudit | null = null;
  #clientReports: readonly ClientReport[] = [];
  readonly #endings = new Subject<Ending>();
  readonly #cleanups: (() => void | Promise<void>)[] = [];

  constructor(options: DaemonOptions) {
    this.#config = options.config;
    this.#health = new Health(options.config.audit ? [auditServiceName] : []);
    this.#logger = options.logger;
    this.#environment = options.environment;
  }

  async run(): Promise<DaemonEnd> {
    const limits = raiseDescriptorLimit();
    this.#logger.debug({ descriptors: limits.soft }, 'descriptor limit raised');
    const ended = firstValueFrom(this.#endings);
    this.#listenToSignals();
    await this.#examineAddresses();
    await this.#loadMetrics();
    const core = await this.#openCore();
    const server = await this.#open(core);
    this.#watch(core, server);
    this.#tellActorsOn('SIGUSR2', core);
    this.#sayReady();
    void this.#recover(core);
    const ending = await ended;
    const hangingThreads = await this.#stop(core, server, ending);
    this.#logger.info({ why: ending.why, code: ending.code, hangingThreads }, 'stopped');
    return { code: ending.code, hangingThreads };
  }

  /** What cannot be served at all is told before each start of a loop of them stands in the log. */
  async #examineAddresses(): Promise<void> {
    const target = this.#target();
    const { metricsAddress, debugAddress } = this.#config;
    const paths = new Map<string, string>();
    const examine = async (setting: string, path: string): Promise<void> => {
      const other = paths.get(path);
      if (other !== undefined) {
        throw new UsageError(`${setting} and ${other} are both ${path}; choose another for one`);
      }
      paths.set(path, setting);
      await examineSocketPath(path);
    };
    if ('path' in target) await examine('address', target.path);
    if (metricsAddress !== null && 'path' in metricsAddress) {
      await examine('metrics_address', metricsAddress.path);
    }
    if (debugAddress !== null) await examine('debug_address', debugAddress);
  }

  /** All addresses, the socket last; when one cannot be had, everything is closed again. */
  async #open(core: Assembled): Promise<RunningServer> {
    try {
      await this.#serveHttp(core);
      return await this.#listen(core);
    } catch (thrown) {
      await this.#close(core, `could not start: ${reasonOf(thrown)}`);
      throw thrown;
    }
  }

  async #loadMetrics(): Promise<void> {
    if (this.#config.metricsAddress === null) return;
    const loaded = await import('./metrics.js');
    this.#metrics = new loaded.Metrics({ version: RELEASE, processMetrics: true });
  }

  async #openCore(): Promise<Assembled> {
    const config = this.#config;
    const layerStore = await this.#layerStore();
    const core = await assembleSnapshotter(
      {
        root: config.root,
        asynchronousRemove: config.asyncRemove,
        durability: config.durability,
        upperdirLabel: config.upperdirLabel,
        spareDirectories: config.spareDirectories,
        mountOptions: config.mountOptions,
        remapIds: config.remapIds,
        expectExisting: config.expectExisting,
        policies: policiesOf(config.effects),
        checkpointEveryEvents: config.logStore.checkpointEveryEvents,
        historyCheckpointEveryEvents: config.logStore.historyCheckpointEveryEvents,
        segmentBytes: config.logStore.segmentSize,
        retainMillis: config.logStore.retain,
        acceptMovedRoot: config.acceptMovedRoot,
      },
      layerStore,
      this.#observer(),
    );
    const { recoveryReport, plan } = core;
    this.#logger.info(
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
      this.#logger.info(change, 'the device number of the file system has changed, its id has not');
    }
    if (recoveryReport.tornTail !== null) {
      this.#logger.warn({ ...recoveryReport.tornTail }, 'a torn tail was set aside and cut');
    }
    core.failures.subscribe((failure) => this.#logFailed(failure));
    return core;
  }

  /** How the layer store is opened, if there is to be one; only then is its code loaded. */
  async #layerStore(): Promise<FileSystemFactory> {
    const directory = this.#config.layerStore;
    if (directory === null) return () => null;
    const { openLayerStore } = await import('../filesystems/layer-store/layer-store.js');
    return ({ mountTable, workers }) => {
      const store = openLayerStore({ directory, mountTable, workers });
      store.probe(AbortSignal.timeout(STORE_PROBE_MILLIS)).catch((thrown: unknown) => {
        const error = reasonOf(thrown);
        const told = 'the layer store cannot be used now; layers are pulled instead';
        this.#logger.warn({ error }, told);
      });
      return store;
    };
  }

  #observer(): SnapshotterObserver {
    return {
      warning: (message, fields) => this.#logger.warn(fields, message),
      effectFailed: (effect, snapshot, reason) => {
        this.#metrics?.effectFailed(effect);
        this.#logger.debug({ effect, snapshot, error: reason }, 'an effect failed');
      },
      healthChanged: (health) => {
        if (health === 'degraded') this.#logger.warn('effects fail often: degraded');
        else this.#logger.info('effects are well again');
      },
      clientsChanged: (reports) => this.#clientsChanged(reports),
      fatal: (thrown) => this.#broken(thrown),
    };
  }

  #clientsChanged(reports: readonly ClientReport[]): void {
    this.#clientReports = reports;
    for (const [fault, affected] of Object.entries(affectedBy)) {
      const reasons = reports.flatMap((report) => (report.fault === fault ? [report.reason] : []));
      this.#health.report(fault, reasons.length === 0 ? null : reasons.join('. '), [affected]);
    }
  }

  #broken(thrown: unknown): void {
    this.#logger.panic({ error: thrown }, 'an invariant is broken; stopping before it is written');
    this.#health.report('invariant', reasonOf(thrown));
    this.#endings.next({ why: `broken invariant: ${reasonOf(thrown)}`, code: EXIT_BROKEN });
  }

  #logFailed(failure: Error): void {
    const advice = adviceFor(failure.cause).replace(/^; /, '');
    const fields = { error: failure, ...(advice === '' ? {} : { advice }) };
    this.#logger.fatal(fields, 'the log cannot be written; read-only from now on');
    this.#health.report('log', `the log is read-only: ${failure.message}`);
    const timer = setTimeout(
      () => this.#endings.next({ why: 'the log cannot be written', code: 1 }),
      READ_ONLY_MILLIS,
    );
    this.#cleanups.push(() => clearTimeout(timer));
  }

  async #listen(core: Assembled): Promise<RunningServer> {
    const { limits } = this.#config;
    const target = this.#target();
    this.#audit = openAudit(core, this.#config, (events) => this.#metrics?.auditSent(events));
    const server = await startServer({
      target,
      services: [
        {
          definition: strictSnapshotsService,
          implementation: snapshotsService({
            snapshotter: core.snapshotter,
            budgets: limits.budgets,
            onFatal: (thrown) => this.#broken(thrown),
          }),
        },
        ...(this.#audit === null ? [] : [this.#audit.registration]),
      ],
      health: this.#health,
      limits: { connections: limits.connections, concurrentCalls: limits.concurrentCalls },
      callerOf: (socket) => callerOf(socket, core),
      onCallEnd: (end) => {
        if (end.service !== snapshotsServiceName) return;
        this.#metrics?.request(end.method, end.code, end.seconds);
        this.#logger.debug({ method: end.method, code: end.code, seconds: end.seconds }, 'call');
      },
      onWarning: (message, error) => this.#logger.warn({ error }, message),
    });
    const where = 'fd' in target ? `descriptor ${target.fd}` : target.path;
    this.#logger.info({ address: where, release: RELEASE }, 'serving');
    return server;
  }

  #sayReady(): void {
    this.#health.setAll(true);
    this.#notify({ ready: true, status: 'serving' });
  }

  /** systemd's socket when it passes one, else a path of our own. */
  #target(): ListenTarget {
    const [passed] = passedSockets(this.#environment, process.pid);
    if (passed !== undefined) return { fd: passed.fd };
    const { address, socket } = this.#config;
    return {
      path: address,
      mode: socket.mode,
      ...(socket.uid === undefined ? {} : { uid: socket.uid }),
      ...(socket.gid === undefined ? {} : { gid: socket.gid }),
    };
  }

  #watch(core: Assembled, server: RunningServer): void {
    const { limits } = this.#config;
    const reports = watchProcess({
      loopDelayMillis: limits.loopDelay,
      descriptorsReserve: limits.descriptorsReserve,
    }).subscribe(({ source, reason }) => {
      if (reason === null) this.#logger.info({ source }, 'the process is well again');
      else this.#logger.warn({ source, reason }, 'the process is strained');
      this.#health.report(source, reason);
    });
    this.#cleanups.push(() => reports.unsubscribe());
    if (this.#metrics !== null) {
      const { root } = this.#config;
      this.#cleanups.push(
        feedMetrics(this.#metrics, core, server, this.#audit, this.#health, root, () =>
          countFaults(this.#clientReports),
        ),
      );
    }
    const onReleased = (millis: number) => this.#logger.debug({ millis }, 'memory given back');
    this.#cleanups.push(releaseAtRest(onReleased));
    this.#watchDirectories(core);
    this.#every(STATUS_MILLIS, () => {
      core.reviewClients();
      this.#notify({ status: statusLine(core) });
    });
    const watchdog = watchdogMillis(this.#environment, process.pid);
    // From the event loop: when that hangs, systemd is right to restart us.
    if (watchdog !== null) this.#every(watchdog / 2, () => this.#notify({ watchdog: true }));
  }

  /** After events, and now and then: a directory that could not be looked at has no event. */
  #watchDirectories(core: Assembled): void {
    let reported: string | null = null;
    const look = () => {
      const reason = directoriesReason(core);
      if (reason === reported) return;
      reported = reason;
      this.#health.report('directories', reason, ['directories']);
    };
    look();
    this.#every(STATUS_MILLIS, look);
    const batches = core.log.durableBatches.subscribe(look);
    this.#cleanups.push(() => batches.unsubscribe());
  }

  #every(millis: number, action: () => void): void {
    const timer = setInterval(action, millis);
    timer.unref();
    this.#cleanups.push(() => clearInterval(timer));
  }

  async #serveHttp(core: Assembled): Promise<void> {
    const { metricsAddress, debugAddress } = this.#config;
    if (metricsAddress === null && debugAddress === null) return;
    const { startDebug, startMetrics } = await import('./debug.js');
    if (metricsAddress !== null && this.#metrics !== null) {
      await this.#bind('metrics_address', startMetrics(metricsAddress, this.#metrics));
    }
    if (debugAddress !== null) {
      const sources = {
        actors: () => core.snapshotter.actors(),
        vars: () => ({ position: core.log.durablePosition, ...core.snapshotter.counts() }),
      };
      await this.#bind('debug_address', startDebug(debugAddress, sources));
    }
  }

  async #bind(setting: string, starting: Promise<RunningHttp>): Promise<void> {
    let http: RunningHttp;
    try {
      http = await starting;
    } catch (cause) {
      throw new UsageError(
        `${setting} cannot be served: ${reasonOf(cause)}; choose another address, or end what listens there`,
        { cause },
      );
    }
    this.#cleanups.push(() => http.close());
    const { address } = http;
    const where = 'path' in address ? address.path : `${address.host}:${address.port}`;
    this.#logger.info({ address: where }, `serving ${setting}`);
  }

  async #recover(core: Assembled): Promise<void> {
    if (core.plan.findings.length > 0) {
      this.#notify({ status: `serving; settling ${core.plan.findings.length} finding(s)` });
    }
    try {
      await core.recover();
      this.#logger.info({ position: core.log.durablePosition }, 'recovered');
      this.#notify({ status: statusLine(core) });
    } catch (thrown) {
      // A stop, or a log that failed, in the middle of it: the next start finds the rest.
      if (thrown instanceof LogReadOnly) return;
      this.#broken(thrown);
    }
  }

  #listenToSignals(): void {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      const onSignal = () => this.#endings.next({ why: signal, code: 0 });
      process.once(signal, onSignal);
      this.#cleanups.push(() => void process.off(signal, onSignal));
    }
  }

  /** What is at work and since when, for whoever has a shell and no debug socket. */
  #tellActorsOn(signal: 'SIGUSR2', core: Assembled): void {
    const onSignal = () => this.#logger.info({ actors: core.snapshotter.actors() }, 'actors');
    process.on(signal, onSignal);
    this.#cleanups.push(() => void process.off(signal, onSignal));
  }

  /** Nothing is unmounted and nothing deleted: containers run on. */
  async #stop(core: Assembled, server: RunningServer, ending: Ending): Promise<number> {
    this.#logger.info({ why: ending.why }, 'stopping');
    this.#notify({ stopping: true, status: `stopping: ${ending.why}` });
    await server.stop(this.#config.drainTimeout);
    // After a broken invariant, what is queued rests on a false belief and must not be written.
    return this.#close(core, ending.code === EXIT_BROKEN ? null : ending.why);
  }

  /**
   * All that is open, whatever fails on the way. Answers how many threads hang.
   *
   * @param why null: nothing more may be written to the log
   */
  async #close(core: Assembled, why: string | null): Promise<number> {
    for (const cleanup of this.#cleanups) {
      try {
        await cleanup();
      } catch (thrown) {
        this.#logger.warn({ error: thrown }, 'something could not be closed');
      }
    }
    try {
      if (why !== null) await core.close(why);
    } catch (thrown) {
      this.#logger.error(
        { error: thrown },
        'no checkpoint at the end; the next start replays more',
      );
    }
    const hanging = await core.host.close();
    if (hanging > 0) this.#logger.warn({ hanging }, 'threads hang in system calls');
    return hanging;
  }

  #notify(notification: Parameters<typeof notify>[1]): void {
    const sent = notify(this.#environment['NOTIFY_SOCKET'], notification);
    if (typeof sent !== 'boolean') this.#logger.debug({ error: sent }, 'sd_notify failed');
  }
}

/** The name of the health service that says so. */
const affectedBy: Readonly<Record<ClientFault, HealthName>> = {
  'hidden mounts': 'mounts',
  'shared socket': 'clients',
};

function countFaults(reports: readonly ClientReport[]): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const fault of Object.keys(affectedBy)) {
    counts[fault] = reports.filter((report) => report.fault === fault).length;
  }
  return counts;
}

function callerOf(socket: Socket, core: Assembled): Caller | null {
  const caller = callerOn(socket, core.host.processes);
  if (caller !== null) core.clientConnected(caller);
  return caller;
}

function statusLine(core: Assembled): string {
  const { active, view, committed, unavailable } = core.snapshotter.counts();
  const total = active + view + committed;
  const lost = unavailable === 0 ? '' : `, ${unavailable} layer(s) unavailable`;
  const reason = directoriesReason(core);
  const troubles = reason === null ? '' : `, ${reason}`;
  return `serving ${total} snapshot(s)${lost}${troubles}; log at position ${core.log.durablePosition}`;
}

/** Null when all directories are as the log has them. */
function directoriesReason(core: Assembled): string | null {
  const { setAside, failing } = core.snapshotter.directoryTroubles();
  const parts = [
    ...(setAside === 0 ? [] : [`${counted(setAside, 'directory', 'directories')} set aside`]),
    ...(failing === 0
      ? []
      : [`${counted(failing, 'directory', 'directories')} that cannot be deleted`]),
  ];
  return parts.length === 0 ? null : parts.join(', ');
}
