/**
 * grpc.health.v1: whether this server should be sent work. A broken layer is no reason to be
 * restarted by a probe; a log that cannot append, or an event loop that does not turn, is.
 */
import { status, type Metadata, type Server } from '@grpc/grpc-js';
import { BehaviorSubject, type Observable } from 'rxjs';
import {
  HealthCheckResponse_ServingStatus as Serving,
  HealthService,
  type HealthCheckResponse,
  type HealthServer,
} from '../generated/grpc/health/v1/health.js';
import { withReasons, type HealthReason } from './health-reasons.js';

export const snapshotsServiceName = 'containerd.services.snapshots.v1.Snapshots';
export const auditServiceName = 'stratalog.audit.v1.Audit';

/**
 * What can be asked about: `''` is the whole server, `log` is whether events can be appended,
 * `directories` whether all of them are as the log has them, `mounts` whether clients see the layers
 * that are mounted, `clients` whether each is the only one.
 */
export type HealthName =
  | ''
  | typeof snapshotsServiceName
  | typeof auditServiceName
  | 'log'
  | 'directories'
  | 'mounts'
  | 'clients';

/** Faults that need a person and that no restart mends: no reason for a probe to fail. */
export const advisoryNames: readonly HealthName[] = ['directories', 'mounts', 'clients'];

/** What each server has. */
const usualNames: readonly HealthName[] = ['', snapshotsServiceName, 'log', ...advisoryNames];

export interface HealthState {
  readonly serving: Readonly<Partial<Record<HealthName, boolean>>>;
  /** Why something does not serve, by the source that said so. Empty while all is well. */
  readonly reasons: ReadonlyMap<string, string>;
}

/**
 * The states behind the health service. A name serves when it was set to, and while no source
 * has reported a fault that affects it: two watchers never overwrite each other's verdict.
 */
export class Health {
  private readonly statuses = new Map<string, HealthCheckResponse>();
  /** Who watches a name, known or not. */
  private readonly watchers = new Map<string, Set<(now: HealthCheckResponse) => void>>();
  private readonly names: readonly HealthName[];
  private readonly base: Partial<Record<HealthName, boolean>> = {};
  private readonly faults = new Map<
    string,
    HealthReason & { readonly affects: readonly HealthName[] }
  >();
  private readonly subject: BehaviorSubject<HealthState>;

  /** `more` are names of services that not every server has. */
  constructor(more: readonly HealthName[] = []) {
    this.names = [...usualNames, ...more];
    for (const name of this.names) this.base[name] = false;
    const state = this.compute();
    for (const name of this.names) this.tell(name, false);
    this.subject = new BehaviorSubject(state);
  }

  /** The state now, then each change. */
  get changes(): Observable<HealthState> {
    return this.subject;
  }

  get state(): HealthState {
    return this.subject.value;
  }

  /** Says that a name is ready to serve, or is not any more. All begin as not serving. */
  set(name: HealthName, serving: boolean): void {
    if (this.base[name] === serving) return;
    this.base[name] = serving;
    this.publish();
  }

  setAll(serving: boolean): void {
    for (const name of this.names) this.base[name] = serving;
    this.publish();
  }

  /** A fault of one source (`log`, `event loop`), or null when that source is well again. */
  report(source: string, reason: string | null, affects = this.names): void {
    if (reason === null) {
      if (!this.faults.delete(source)) return;
    } else {
      this.faults.set(source, { reason, affects });
    }
    this.publish();
  }

  addToServer(server: Server): void {
    const service: HealthServer = {
      check: (call, callback) => {
        const { request } = call;
        const now = this.statuses.get(request.service);
        this.sendReasons(call);
        if (now !== undefined) callback(null, now);
        else callback({ code: status.NOT_FOUND, details: unknownService(request.service) });
      },
      watch: (call) => {
        const { service: name } = call.request;
        const watcher = (now: HealthCheckResponse): void => void call.write(now);
        const others = this.watchers.get(name);
        if (others === undefined) this.watchers.set(name, new Set([watcher]));
        else others.add(watcher);
        call.on('cancelled', () => this.forget(name, watcher));
        watcher(this.statuses.get(name) ?? { status: Serving.SERVICE_UNKNOWN });
      },
      list: (call, callback) => {
        this.sendReasons(call);
        callback(null, { statuses: new Map(this.statuses) });
      },
    };
    server.addService(HealthService, service);
  }

  /** The service's messages have no room for a reason, so reasons travel as metadata. */
  private sendReasons(call: { sendMetadata(metadata: Metadata): void }): void {
    if (this.faults.size > 0) call.sendMetadata(withReasons([...this.faults.values()]));
  }

  private forget(name: string, watcher: (now: HealthCheckResponse) => void): void {
    const watching = this.watchers.get(name);
    watching?.delete(watcher);
    // Names are the clients' choice: they must not pile up.
    if (watching?.size === 0) this.watchers.delete(name);
  }

  private compute(): HealthState {
    const serving = { ...this.base };
    for (const fault of this.faults.values()) {
      for (const name of fault.affects) serving[name] = false;
    }
    const reasons = new Map([...this.faults].map(([source, { reason }]) => [source, reason]));
    return { serving, reasons };
  }

  private publish(): void {
    const before = this.subject.value;
    const state = this.compute();
    for (const name of this.names) {
      const serving = state.serving[name] === true;
      if (before.serving[name] !== serving) this.tell(name, serving);
    }
    this.subject.next(state);
  }

  private tell(name: HealthName, serving: boolean): void {
    const now = { status: serving ? Serving.SERVING : Serving.NOT_SERVING };
    this.statuses.set(name, now);
    for (const watcher of this.watchers.get(name) ?? []) watcher(now);
  }
}

const unknownService = (name: string): string => `Health status unknown for service ${name}`;

/** Health's watch streams end only when the client leaves: a draining server ends them itself. */
export const healthSubscriptions: readonly string[] = [HealthService.watch.path];
