/**
 * grpc.health.v1: whether this server should be sent work. A broken layer is no reason to be
 * restarted by a probe; a log that cannot append, or an event loop that does not turn, is.
 */
import { HealthImplementation } from 'grpc-health-check';
import { BehaviorSubject, type Observable } from 'rxjs';
import { HealthService } from './generated/grpc/health/v1/health.js';

export const snapshotsServiceName = 'containerd.services.snapshots.v1.Snapshots';

/** What can be asked about: `''` is the whole server, `log` is whether events can be appended. */
export type HealthName = '' | typeof snapshotsServiceName | 'log';

const allNames: readonly HealthName[] = ['', snapshotsServiceName, 'log'];

export interface HealthState {
  readonly serving: Readonly<Record<HealthName, boolean>>;
  /** Why something does not serve, by the source that said so. Empty while all is well. */
  readonly reasons: ReadonlyMap<string, string>;
}

/**
 * The states behind the health service. A name serves when it was set to, and while no source
 * has reported a fault that affects it: two watchers never overwrite each other's verdict.
 */
export class Health {
  private readonly implementation = new HealthImplementation();
  private readonly base: Record<HealthName, boolean> = {
    '': false,
    [snapshotsServiceName]: false,
    log: false,
  };
  private readonly faults = new Map<
    string,
    { readonly reason: string; readonly affects: readonly HealthName[] }
  >();
  private readonly subject: BehaviorSubject<HealthState>;

  constructor() {
    const state = this.compute();
    for (const name of allNames) this.tell(name, state.serving[name]);
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
    for (const name of allNames) this.base[name] = serving;
    this.publish();
  }

  /** A fault of one source (`log`, `event loop`), or null when that source is well again. */
  report(source: string, reason: string | null, affects: readonly HealthName[] = allNames): void {
    if (reason === null) {
      if (!this.faults.delete(source)) return;
    } else {
      this.faults.set(source, { reason, affects });
    }
    this.publish();
  }

  addToServer(server: Parameters<HealthImplementation['addToServer']>[0]): void {
    this.implementation.addToServer(server);
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
    for (const name of allNames) {
      if (before.serving[name] !== state.serving[name]) this.tell(name, state.serving[name]);
    }
    this.subject.next(state);
  }

  private tell(name: HealthName, serving: boolean): void {
    this.implementation.setStatus(name, serving ? 'SERVING' : 'NOT_SERVING');
  }
}

/** Health's watch streams end only when the client leaves: a draining server ends them itself. */
export const healthSubscriptions: readonly string[] = [HealthService.watch.path];
