/**
 * grpc.health.v1: whether this server can take requests. A probe should restart the daemon when
 * the log cannot append or the event loop is stuck, but not because of one broken layer.
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
 * `''` is the whole server. `log`: events can be appended. `directories`: all match the log.
 * `mounts`: clients see the mounted layers. `clients`: each is the only client on its socket.
 */
export type HealthName =
  | ''
  | typeof snapshotsServiceName
  | typeof auditServiceName
  | 'log'
  | 'directories'
  | 'mounts'
  | 'clients';

/** Faults that a restart does not fix. They must not fail a probe of the whole server. */
export const advisoryNames: readonly HealthName[] = ['directories', 'mounts', 'clients'];

/** Names that every server has. */
const usualNames: readonly HealthName[] = ['', snapshotsServiceName, 'log', ...advisoryNames];

export interface HealthState {
  readonly serving: Readonly<Partial<Record<HealthName, boolean>>>;
  /** Why a name is not serving, by the source that reported the fault. Empty when healthy. */
  readonly reasons: ReadonlyMap<string, string>;
}

/**
 * A name is serving when it is set to serving and no source reports a fault that affects it.
 * Faults are kept by source, so one source never overwrites the fault of another.
 */
export class Health {
  private readonly statuses = new Map<string, HealthCheckResponse>();
  /** Watchers by name; clients may watch unknown names. */
  private readonly watchers = new Map<string, Set<(now: HealthCheckResponse) => void>>();
  private readonly names: readonly HealthName[];
  private readonly base: Partial<Record<HealthName, boolean>> = {};
  private readonly faults = new Map<
    string,
    HealthReason & { readonly affects: readonly HealthName[] }
  >();
  private readonly subject: BehaviorSubject<HealthState>;

  /** @param more names of optional services */
  constructor(more: readonly HealthName[] = []) {
    this.names = [...usualNames, ...more];
    for (const name of this.names) this.base[name] = false;
    const state = this.compute();
    for (const name of this.names) this.setStatus(name, false);
    this.subject = new BehaviorSubject(state);
  }

  /** The current state, then each change. */
  get changes(): Observable<HealthState> {
    return this.subject;
  }

  get state(): HealthState {
    return this.subject.value;
  }

  /** Sets whether a name is serving. Initially none is. */
  set(name: HealthName, serving: boolean): void {
    if (this.base[name] === serving) return;
    this.base[name] = serving;
    this.publish();
  }

  setAll(serving: boolean): void {
    for (const name of this.names) this.base[name] = serving;
    this.publish();
  }

  /** Reports a fault of one source (`log`, `event loop`); null clears it. */
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

  /** The service's messages have no field for a reason, so reasons are sent as metadata. */
  private sendReasons(call: { sendMetadata(metadata: Metadata): void }): void {
    if (this.faults.size > 0) call.sendMetadata(withReasons([...this.faults.values()]));
  }

  private forget(name: string, watcher: (now: HealthCheckResponse) => void): void {
    const watching = this.watchers.get(name);
    watching?.delete(watcher);
    // Clients choose the names, so unused entries must not accumulate.
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
      if (before.serving[name] !== serving) this.setStatus(name, serving);
    }
    this.subject.next(state);
  }

  private setStatus(name: HealthName, serving: boolean): void {
    const now = { status: serving ? Serving.SERVING : Serving.NOT_SERVING };
    this.statuses.set(name, now);
    for (const watcher of this.watchers.get(name) ?? []) watcher(now);
  }
}

const unknownService = (name: string): string => `Health status unknown for service ${name}`;

/** Only the client ends a Watch stream; a draining server does not wait for it. */
export const healthSubscriptions: readonly string[] = [HealthService.watch.path];
