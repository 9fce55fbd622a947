/**
 * The service from startup to shutdown: root locked, socket served, log replayed, plan recorded,
 * calls answered, plan executed after that; watched while it runs; stopped without touching a mount.
 *
 * The socket is served as soon as the root is locked, whatever the length of the log: containerd
 * gives a connection about one second to show a sign of life (grpc-go's minimum connect timeout),
 * and then fails its calls. So what this file imports is loaded before the first connection is
 * accepted, and all that takes long is loaded after. Calls wait until the log is replayed, but not
 * for recovery: Stat, List and Remove need no mount.
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
import { Advisories, statusLine } from './observe/advisories.js';
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
import { releaseAtRest } from './idle-gc.js';
import { startServer, type RunningServer } from '../api/grpc/server.js';
import { examineSocketPath } from '../api/grpc/unix-socket.js';
import { budgetNames, strictSnapshotsService } from '../api/snapshots/snapshots-requests.js';
import { WaitingService } from '../api/grpc/waiting-service.js';
import { watchProcess } from './observe/watch.js';

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
/** How long a startup that was interrupted may take to leave the root, at least. */
const ABANDON_MILLIS = 1_000;
/** The exit code of a broken invariant (EX_SOFTWARE, sysexits.h). */
const EXIT_BROKEN = 70;
/** `systemctl status` shows this while all is well. */
const STATUS_MILLIS = 10_000;

/** How the daemon ended. */
export interface DaemonEnd {
  readonly code: number;
  /** Something hangs in a system call: an ordinary exit would wait for it for ever. */
  readonly hangs: boolean;
}

interface Running {
  readonly core: DaemonCore;
  readonly server: RunningServer;
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
  readonly #advisories: Advisories;
  readonly #snapshots: WaitingService;
  /** Null when it is switched off. */
  readonly #audit: WaitingService | null;
  /** Null while nobody can scrape them. */
  #metrics: Metrics | null = null;
  readonly #callers = new ConnectedCallers();
  readonly #endings = new Subject<Ending>();
  /** Aborted when the daemon is to end before it has started. */
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

  /** Fails with what was refused; everything is closed and given back then. */
  async #start(): Promise<Running> {
    await this.#examineAddresses();
    const { signal } = this.#interruption;
    signal.throwIfAborted();
    const locked = await takeRoot(this.#config, (reason) => this.#threadsChanged(reason));
    let server: RunningServer | null = null;
    try {
      server = await this.#listen(locked.host.processes);
      // Who waits already is accepted, and has the server's SETTINGS, before anything else.
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

  /** A signal came before the startup was complete. The root stays as a crash would leave it. */
  async #abandon(starting: Promise<Running>, ending: Ending): Promise<DaemonEnd> {
    this.#logger.info({ why: ending.why }, 'stopping before the startup is complete');
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

  async #openCore(locked: LockedRoot, signal: AbortSignal): Promise<DaemonCore> {
    // From here on, an upgrade may replace the files of this program.
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

  /** From here on calls are answered. */
  #answer(core: DaemonCore, server: RunningServer): void {
    this.#callers.handTo((caller) => core.clientConnected(caller));
    this.#watch(core, server);
    this.#tellActorsOn('SIGUSR2', core);
    this.#snapshots.answerWith(core.snapshots);
    if (core.audit !== null) this.#audit?.answerWith(core.audit.service);
    this.#health.setAll(true);
    this.#notify({ ready: true, status: 'serving' });
    this.#logger.info({ address: this.#address(), release: RELEASE }, 'serving');
    void this.#recover(core);
  }

  #threadsChanged(reason: string | null): void {
    this.#health.report('worker threads', reason);
    if (reason === null) this.#logger.info('worker threads start again');
    else this.#logger.error({ error: reason }, 'a worker thread failed');
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
      clientsChanged: (reports) => this.#advisories.clientsChanged(reports),
      fatal: (thrown) => this.#broken(thrown),
    };
  }

  #broken(thrown: unknown): void {
    this.#logger.panic({ error: thrown }, 'an invariant is broken; stopping before it is written');
    this.#health.report('invariant', reasonOf(thrown));
    this.#endings.next({ why: `broken invariant: ${reasonOf(thrown)}`, code: EXIT_BROKEN });
  }

  #logFailed(failure: Error): void {
    const advice = errnoHint(failure.cause).replace(/^; /, '');
    const fields = { error: failure, ...(advice === '' ? {} : { advice }) };
    this.#logger.fatal(fields, 'the log cannot be written; read-only from now on');
    this.#health.report('log', `the log is read-only: ${failure.message}`);
    const timer = setTimeout(
      () => this.#endings.next({ why: 'the log cannot be written', code: 1 }),
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

  /** systemd's socket when it passes one, else a path of our own. */
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
      if (reason === null) this.#logger.info({ source }, 'the process is well again');
      else this.#logger.warn({ source, reason }, 'the process is strained');
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
    const onReleased = (millis: number) => this.#logger.debug({ millis }, 'memory given back');
    this.#cleanups.push(releaseAtRest(onReleased));
    this.#cleanups.push(this.#advisories.watchDirectories(core, STATUS_MILLIS));
    this.#every(STATUS_MILLIS, () => {
      core.reviewClients();
      this.#notify({ status: statusLine(core) });
    });
    const watchdog = watchdogMillis(this.#environment, process.pid);
    // From the event loop: when that hangs, systemd is right to restart us.
    if (watchdog !== null) this.#every(watchdog / 2, () => this.#notify({ watchdog: true }));
  }

  #every(millis: number, action: () => void): void {
    const timer = setInterval(action, millis);
    timer.unref();
    this.#cleanups.push(() => clearInterval(timer));
  }

  /** When an address cannot be had, the core is closed again. */
  async #serveHttp(core: DaemonCore): Promise<void> {
    try {
      await this.#bindHttp(core);
    } catch (thrown) {
      await this.#close(core, `could not start: ${reasonOf(thrown)}`);
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
        `${setting} cannot be served: ${reasonOf(cause)}; choose another address, or end what listens there`,
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

  /** The first signal ends the daemon in order. A second one, of either kind, ends the process. */
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

  /** What is at work and since when, for whoever has a shell and no debug socket. */
  #tellActorsOn(signal: 'SIGUSR2', core: DaemonCore): void {
    const onSignal = () => this.#logger.info({ actors: core.snapshotter.actors() }, 'actors');
    process.on(signal, onSignal);
    this.#cleanups.push(() => void process.off(signal, onSignal));
  }

  /** Nothing is unmounted and nothing deleted: containers run on. Answers how many threads hang. */
  async #stop({ core, server }: Running, ending: Ending): Promise<number> {
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
  async #close(core: DaemonCore, why: string | null): Promise<number> {
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

/** Streams wait for as long as their clients do. */
function waitingAudit(budgetMillis: number): WaitingService {
  return new WaitingService({
    definition: strictAuditService,
    subscriptions: auditSubscriptions,
    budgetOf: (method) => (isAuditStream(method) ? null : budgetMillis),
  });
}
