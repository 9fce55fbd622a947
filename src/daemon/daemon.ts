/**
 * The daemon from startup to shutdown: lock the root, serve the socket, replay the log, record the
 * plan, answer calls, execute the plan. Shutdown leaves all mounts in place.
 *
 * The socket is served as soon as the root is locked, because containerd fails its calls if a
 * connection is not established within about a second (grpc-go's minimum connect timeout). This
 * file therefore imports only what serving the socket needs; slow modules are loaded after that.
 * Calls wait for the replay but not for recovery, because Stat, List and Remove need no mount.
 *
 * One file, because every step shares the state of a single startup and shutdown sequence.
 */
import { Subject, firstValueFrom } from 'rxjs';
import { setImmediate as nextTurn, setTimeout as delay } from 'node:timers/promises';
import { errnoHint } from '../base/errno-hints.js';
import { LogReadOnly, NotBegun, reasonOf, UsageError } from '../base/errors.js';
import type { Processes } from '../base/ports.js';
import { raiseDescriptorLimit } from '../host/process/limits.js';
import { notify, watchdogMillis } from '../host/process/notify.js';
import { preloadPrograms } from '../host/threads/thread-programs.js';
import type { SnapshotterObserver } from '../snapshotter/startup/open.js';
import { Advisories, recoveryStatus, statusLine } from './observe/advisories.js';
import {
  auditSubscriptions,
  isAuditStream,
  strictAuditService,
} from '../api/audit/audit-requests.js';
import { callerOn, ConnectedCallers } from '../api/grpc/callers.js';
import type { Config } from './config/config.js';
import type { DaemonCore } from './daemon-core.js';
import { auditServiceName, Health, snapshotsServiceName } from '../api/grpc/health.js';
import type { RunningHttp } from './observe/http.js';
import type { ListenTarget } from '../api/grpc/listener.js';
import { takeRoot, type LockedRoot } from '../api/root/locked-root.js';
import type { Logger } from './observe/logger.js';
import type { Metrics } from './observe/metrics.js';
import { feedMetrics } from './observe/metrics-feed.js';
import { passedSocket } from '../api/grpc/passed-socket.js';
import { RELEASE } from '../api/release.js';
import { releaseWhenIdle } from './idle-gc.js';
import { startServer, type RunningServer } from '../api/grpc/server.js';
import { checkSocketPath } from '../api/grpc/unix-socket.js';
import { budgetNames, strictSnapshotsService } from '../api/snapshots/snapshots-requests.js';
import { WaitingService } from '../api/grpc/waiting-service.js';
import { watchProcess } from './observe/watch.js';

export interface DaemonOptions {
  readonly config: Config;
  readonly logger: Logger;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/** Why the daemon ends, with its exit code. */
interface Ending {
  readonly why: string;
  readonly code: number;
}

/** How long reads are served after the log has failed, so that the state can be inspected. */
const READ_ONLY_MILLIS = 5_000;
/** The minimum time that an interrupted startup gets to release the root. */
const ABANDON_MILLIS = 1_000;
/** The exit code of a broken invariant (EX_SOFTWARE of sysexits.h). */
const EXIT_SOFTWARE = 70;
/** Interval of the status line in `systemctl status`. */
const STATUS_MILLIS = 10_000;

export interface DaemonEnd {
  readonly code: number;
  /** A thread hangs in a system call, so an ordinary exit would never complete. */
  readonly hangs: boolean;
}

interface Running {
  readonly core: DaemonCore;
  readonly server: RunningServer;
}

/**
 * Runs until a signal or a failure ends it.
 *
 * @throws if it cannot start. A root that is refused, locked or damaged is unchanged; later
 *   failures are recorded in the log.
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
  readonly #advisories: Advisories;
  readonly #snapshots: WaitingService;
  /** Null if it is disabled. */
  readonly #audit: WaitingService | null;
  /** Null if there is no metrics address. */
  #metrics: Metrics | null = null;
  readonly #callers = new ConnectedCallers();
  readonly #endings = new Subject<Ending>();
  /** Aborted when a signal arrives before startup is complete. */
  readonly #interruption = new AbortController();
  readonly #cleanups: (() => void | Promise<void>)[] = [];

  constructor({ config, logger, environment }: DaemonOptions) {
    this.#config = config;
    this.#logger = logger;
    this.#environment = environment;
    this.#health = new Health(config.audit ? [auditServiceName] : []);
    this.#advisories = new Advisories(this.#health);
    const { budgets } = config.limits;
    this.#snapshots = new WaitingService({
      definition: strictSnapshotsService,
      budgetOf: (method) => budgets[budgetNames[method as keyof typeof budgetNames]],
    });
    this.#audit = config.audit ? waitingAudit(budgets.audit) : null;
  }

  async run(): Promise<DaemonEnd> {
    const limits = raiseDescriptorLimit();
    this.#logger.debug({ descriptors: limits.soft }, 'descriptor limit raised');
    const ended = firstValueFrom(this.#endings);
    const stopListening = this.#listenToSignals();
    try {
      const starting = this.#start();
      const first = await Promise.race([starting, ended]);
      if (!('core' in first)) return await this.#abandon(starting, first);
      const ending = await ended;
      return this.#ended(ending, await this.#stop(first, ending));
    } finally {
      stopListening();
    }
  }

  /** Closes and releases everything if it fails. */
  async #start(): Promise<Running> {
    await this.#checkAddresses();
    const { signal } = this.#interruption;
    signal.throwIfAborted();
    const locked = await takeRoot(this.#config, (reason) => this.#threadsChanged(reason));
    let server: RunningServer | null = null;
    try {
      server = await this.#listen(locked.host.processes);
      // Lets waiting connections be accepted and receive SETTINGS before the slow work begins.
      for (let turn = 0; turn < 3; turn += 1) await nextTurn();
      this.#notify({ status: 'replaying the log' });
      const core = await this.#openCore(locked, signal);
      await this.#serveHttp(core);
      this.#answer(core, server);
      return { core, server };
    } catch (thrown) {
      const refusal = new NotBegun(`the daemon cannot start: ${reasonOf(thrown)}`);
      this.#snapshots.refuse(refusal);
      this.#audit?.refuse(refusal);
      await server?.stop(0);
      await locked.lock.release();
      await locked.host.close();
      throw thrown;
    }
  }

  /** Handles a signal during startup. Leaves the root in the same state as a crash. */
  async #abandon(starting: Promise<Running>, ending: Ending): Promise<DaemonEnd> {
    this.#logger.info({ why: ending.why }, 'stopping before startup is complete');
    this.#notify({ stopping: true, status: `stopping: ${ending.why}` });
    const settled = starting.then(
      (running) => this.#stop(running, ending),
      () => 0,
    );
    const limitMillis = Math.max(this.#config.drainTimeout, ABANDON_MILLIS);
    const late = delay(limitMillis, 1, { ref: false });
    return this.#ended(ending, await Promise.race([settled, late]));
  }

  #ended({ why, code }: Ending, hangingThreads: number): DaemonEnd {
    this.#logger.info({ why, code, hangingThreads }, 'stopped');
    return { code, hangs: hangingThreads > 0 };
  }

  /** Checked before the log is opened, so that a crash loop does not fill it with startups. */
  async #checkAddresses(): Promise<void> {
    const target = this.#target();
    const { metricsAddress, debugAddress } = this.#config;
    const paths = new Map<string, string>();
    const check = async (setting: string, path: string): Promise<void> => {
      const other = paths.get(path);
      if (other !== undefined) {
        throw new UsageError(`${setting} and ${other} are both ${path}; change one of them`);
      }
      paths.set(path, setting);
      await checkSocketPath(path);
    };
    if ('path' in target) await check('address', target.path);
    if (metricsAddress !== null && 'path' in metricsAddress) {
      await check('metrics_address', metricsAddress.path);
    }
    if (debugAddress !== null) await check('debug_address', debugAddress);
  }

  async #openCore(locked: LockedRoot, signal: AbortSignal): Promise<DaemonCore> {
    // An upgrade may replace the program's files while the daemon runs.
    preloadPrograms();
    await this.#loadMetrics();
    const { openCore } = await import('./daemon-core.js');
    const core = await openCore({
      config: this.#config,
      logger: this.#logger,
      locked,
      signal,
      observer: this.#observer(),
      onAuditSent: (events) => this.#metrics?.auditSent(events),
    });
    core.failures.subscribe((failure) => this.#logFailed(failure));
    return core;
  }

  async #loadMetrics(): Promise<void> {
    if (this.#config.metricsAddress === null) return;
    const loaded = await import('./observe/metrics.js');
    this.#metrics = new loaded.Metrics({ version: RELEASE, processMetrics: true });
  }

  /** Starts to answer calls. */
  #answer(core: DaemonCore, server: RunningServer): void {
    this.#callers.forwardTo((caller) => core.clientConnected(caller));
    this.#watch(core, server);
    this.#logActorsOn('SIGUSR2', core);
    this.#snapshots.answerWith(core.snapshots);
    if (core.audit !== null) this.#audit?.answerWith(core.audit.service);
    this.#health.setAll(true);
    this.#notify({ ready: true, status: 'serving' });
    this.#logger.info({ address: this.#address(), release: RELEASE }, 'serving');
    void this.#recover(core);
  }

  #threadsChanged(reason: string | null): void {
    this.#health.report('worker threads', reason);
    if (reason === null) this.#logger.info('worker threads recovered');
    else this.#logger.error({ error: reason }, 'worker thread failed');
  }

  #observer(): SnapshotterObserver {
    return {
      warning: (message, fields) => this.#logger.warn(fields, message),
      effectFailed: (effect, snapshot, reason) => {
        this.#metrics?.effectFailed(effect);
        this.#logger.debug({ effect, snapshot, error: reason }, 'effect failed');
      },
      healthChanged: (health) => {
        if (health === 'degraded') this.#logger.warn('effects degraded: too many failures');
        else this.#logger.info('effects recovered');
      },
      clientsChanged: (reports) => this.#advisories.clientsChanged(reports),
      fatal: (thrown) => this.#invariantBroken(thrown),
    };
  }

  #invariantBroken(thrown: unknown): void {
    this.#logger.panic({ error: thrown }, 'invariant broken; stopping without writing to the log');
    this.#health.report('invariant', reasonOf(thrown));
    this.#endings.next({ why: `broken invariant: ${reasonOf(thrown)}`, code: EXIT_SOFTWARE });
  }

  #logFailed(failure: Error): void {
    const advice = errnoHint(failure.cause).replace(/^; /, '');
    const fields = { error: failure, ...(advice === '' ? {} : { advice }) };
    this.#logger.fatal(fields, 'cannot write to the log; read-only from now on');
    this.#health.report('log', `the log is read-only: ${failure.message}`);
    const timer = setTimeout(
      () => this.#endings.next({ why: 'cannot write to the log', code: 1 }),
      READ_ONLY_MILLIS,
    );
    this.#cleanups.push(() => clearTimeout(timer));
  }

  async #listen(processes: Processes): Promise<RunningServer> {
    const { limits } = this.#config;
    const server = await startServer({
      target: this.#target(),
      services: this.#audit === null ? [this.#snapshots] : [this.#snapshots, this.#audit],
      health: this.#health,
      limits: { connections: limits.connections, concurrentCalls: limits.concurrentCalls },
      callerOf: (socket) => this.#callers.connected(callerOn(socket, processes)),
      onCallEnd: (end) => {
        if (end.service !== snapshotsServiceName) return;
        this.#metrics?.request(end.method, end.code, end.seconds);
        this.#logger.debug({ method: end.method, code: end.code, seconds: end.seconds }, 'call');
      },
      onWarning: (message, error) => this.#logger.warn({ error }, message),
    });
    this.#logger.info({ address: this.#address() }, 'listening');
    return server;
  }

  #address(): string {
    const target = this.#target();
    return 'fd' in target ? `descriptor ${target.fd}` : target.path;
  }

  /** The socket passed by systemd, otherwise the configured path. */
  #target(): ListenTarget {
    const passed = passedSocket(this.#environment, process.pid);
    if (passed !== null) return { fd: passed.fd };
    const { address, socket } = this.#config;
    return {
      path: address,
      mode: socket.mode,
      ...(socket.uid === undefined ? {} : { uid: socket.uid }),
      ...(socket.gid === undefined ? {} : { gid: socket.gid }),
    };
  }

  #watch(core: DaemonCore, server: RunningServer): void {
    const { limits } = this.#config;
    const reports = watchProcess({
      loopDelayMillis: limits.loopDelay,
      descriptorsReserve: limits.descriptorsReserve,
    }).subscribe(({ source, reason }) => {
      if (reason === null) this.#logger.info({ source }, 'process healthy again');
      else this.#logger.warn({ source, reason }, 'process unhealthy');
      this.#health.report(source, reason);
    });
    this.#cleanups.push(() => reports.unsubscribe());
    if (this.#metrics !== null) {
      const { root } = this.#config;
      this.#cleanups.push(
        feedMetrics(this.#metrics, core, server, core.audit, this.#health, root, () =>
          this.#advisories.clientFaults(),
        ),
      );
    }
    const onReleased = (millis: number) => this.#logger.debug({ millis }, 'memory released');
    this.#cleanups.push(releaseWhenIdle(onReleased));
    this.#cleanups.push(this.#advisories.watchDirectories(core, STATUS_MILLIS));
    this.#every(STATUS_MILLIS, () => {
      core.reviewClients();
      this.#notify({ status: statusLine(core) });
    });
    const watchdog = watchdogMillis(this.#environment, process.pid);
    // Sent from the event loop, so that systemd restarts the daemon when it hangs.
    if (watchdog !== null) this.#every(watchdog / 2, () => this.#notify({ watchdog: true }));
  }

  #every(millis: number, action: () => void): void {
    const timer = setInterval(action, millis);
    timer.unref();
    this.#cleanups.push(() => clearInterval(timer));
  }

  /** Closes the core if an address cannot be bound. */
  async #serveHttp(core: DaemonCore): Promise<void> {
    try {
      await this.#bindHttp(core);
    } catch (thrown) {
      await this.#close(core, `failed to start: ${reasonOf(thrown)}`);
      throw thrown;
    }
  }

  async #bindHttp(core: DaemonCore): Promise<void> {
    const { metricsAddress, debugAddress } = this.#config;
    if (metricsAddress === null && debugAddress === null) return;
    const { startDebug, startMetrics } = await import('./observe/debug.js');
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
        `cannot serve ${setting}: ${reasonOf(cause)}; choose another address, or stop the process that uses it`,
        { cause },
      );
    }
    this.#cleanups.push(() => http.close());
    const { address } = http;
    const where = 'path' in address ? address.path : `${address.host}:${address.port}`;
    this.#logger.info({ address: where }, `serving ${setting}`);
  }

  async #recover(core: DaemonCore): Promise<void> {
    if (core.plan.findings.length > 0) {
      this.#notify({ status: recoveryStatus(core) });
    }
    try {
      await core.recover();
      this.#logger.info({ position: core.log.durablePosition }, 'recovered');
      this.#notify({ status: statusLine(core) });
    } catch (thrown) {
      // Shutdown, or a failed log, during recovery: the next startup completes it.
      if (thrown instanceof LogReadOnly) return;
      this.#invariantBroken(thrown);
    }
  }

  /** The first signal shuts the daemon down. A second one, of either kind, kills the process. */
  #listenToSignals(): () => void {
    const signals = ['SIGTERM', 'SIGINT'] as const;
    const stopListening = (): void => {
      for (const signal of signals) process.off(signal, onSignal);
    };
    const onSignal = (signal: NodeJS.Signals): void => {
      stopListening();
      this.#endings.next({ why: signal, code: 0 });
      this.#interruption.abort(new Error(`ended by ${signal}`));
    };
    for (const signal of signals) process.on(signal, onSignal);
    return stopListening;
  }

  /** Logs the running actors, for hosts without a debug socket. */
  #logActorsOn(signal: 'SIGUSR2', core: DaemonCore): void {
    const onSignal = () => this.#logger.info({ actors: core.snapshotter.actors() }, 'actors');
    process.on(signal, onSignal);
    this.#cleanups.push(() => void process.off(signal, onSignal));
  }

  /** Unmounts and deletes nothing: containers keep running. Returns how many threads hang. */
  async #stop({ core, server }: Running, ending: Ending): Promise<number> {
    this.#logger.info({ why: ending.why }, 'stopping');
    this.#notify({ stopping: true, status: `stopping: ${ending.why}` });
    await server.stop(this.#config.drainTimeout);
    // After a broken invariant the queued events may be wrong and must not be written.
    return this.#close(core, ending.code === EXIT_SOFTWARE ? null : ending.why);
  }

  /**
   * Closes everything, despite failures. Returns the number of hanging threads.
   *
   * @param why null: do not write to the log any more
   */
  async #close(core: DaemonCore, why: string | null): Promise<number> {
    for (const cleanup of this.#cleanups) {
      try {
        await cleanup();
      } catch (thrown) {
        this.#logger.warn({ error: thrown }, 'cleanup failed');
      }
    }
    try {
      if (why !== null) await core.close(why);
    } catch (thrown) {
      this.#logger.error(
        { error: thrown },
        'cannot write a checkpoint at shutdown; the next startup replays more',
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

/** Streams have no budget. */
function waitingAudit(budgetMillis: number): WaitingService {
  return new WaitingService({
    definition: strictAuditService,
    subscriptions: auditSubscriptions,
    budgetOf: (method) => (isAuditStream(method) ? null : budgetMillis),
  });
}
