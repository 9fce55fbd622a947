/**
 * Prometheus metrics, in base units. Gauges are read at each scrape, so they are never stale and
 * cost nothing in between.
 */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';

/** Sources of the gauges, read at each scrape. */
export interface MetricSources {
  /** The position of the next event. */
  readonly logPosition: () => number;
  /** Bytes of all files of the log on disk. */
  readonly logBytes: () => number;
  /** Seconds since the newest checkpoint was taken; null if there is none. */
  readonly checkpointAgeSeconds: () => number | null;
  readonly snapshots: () => Iterable<{
    readonly kind: string;
    readonly state: string;
    readonly count: number;
  }>;
  readonly layersUnavailable: () => number;
  readonly directoryProblems: () => { readonly setAside: number; readonly failing: number };
  readonly connections: () => number;
  readonly callsInFlight: () => number;
  /** Open streams of the audit service. */
  readonly auditStreams: () => number;
  /** Whether each name of the health service is serving. */
  readonly serving: () => Readonly<Record<string, boolean>>;
  /** The number of clients with each fault. */
  readonly clientFaults: () => Readonly<Record<string, number>>;
}

export interface MetricsOptions {
  readonly version: string;
  /** Adds process and runtime metrics under prom-client's names. */
  readonly processMetrics: boolean;
}

/** From half a millisecond (answered from memory) to the longest budget. */
const requestSeconds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 15, 60];
/** An fdatasync takes from 50 µs (a good disk) to seconds (a bad one). */
const appendSeconds = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2];
const groupEvents = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

export class Metrics {
  private readonly registry = new Registry();
  private readonly requests: Counter<'method' | 'code'>;
  private readonly durations: Histogram<'method'>;
  private readonly appends: Histogram;
  private readonly groups: Histogram;
  private readonly effectFailures: Counter<'effect'>;
  private readonly auditEvents: Counter;

  constructor(options: MetricsOptions) {
    const registers = [this.registry];
    this.requests = new Counter({
      name: 'stratalog_snapshot_requests_total',
      help: 'Completed calls of the snapshots service, by method and gRPC code.',
      labelNames: ['method', 'code'],
      registers,
    });
    this.durations = new Histogram({
      name: 'stratalog_snapshot_request_duration_seconds',
      help: 'Time from a call to its response.',
      labelNames: ['method'],
      buckets: requestSeconds,
      registers,
    });
    this.appends = new Histogram({
      name: 'stratalog_log_append_duration_seconds',
      help: 'Duration of one write and sync of the log.',
      buckets: appendSeconds,
      registers,
    });
    this.groups = new Histogram({
      name: 'stratalog_log_group_commit_events',
      help: 'Events that became durable with one sync.',
      buckets: groupEvents,
      registers,
    });
    this.effectFailures = new Counter({
      name: 'stratalog_effect_failures_total',
      help: 'Attempts of side effects that failed or timed out.',
      labelNames: ['effect'],
      registers,
    });
    this.auditEvents = new Counter({
      name: 'stratalog_audit_events_sent_total',
      help: 'Events sent to clients of the audit service.',
      registers,
    });
    new Gauge({
      name: 'stratalog_build_info',
      help: 'Always 1; labelled with the version.',
      labelNames: ['version'],
      registers,
    }).set({ version: options.version }, 1);
    if (options.processMetrics) collectDefaultMetrics({ register: this.registry });
  }

  /** A completed call: `method` as in the service's definition, `code` as Go prints it. */
  request(method: string, code: string, seconds: number): void {
    this.requests.labels(method, code).inc();
    this.durations.labels(method).observe(seconds);
  }

  /** A group of events has become durable with one sync. */
  appended(events: number, seconds: number): void {
    this.groups.observe(events);
    this.appends.observe(seconds);
  }

  effectFailed(effect: string): void {
    this.effectFailures.labels(effect).inc();
  }

  auditSent(events: number): void {
    this.auditEvents.inc(events);
  }

  /** Registers the gauges. Call it once, when the core is open. */
  readFrom(sources: MetricSources): void {
    this.gauge('log_position', 'The position of the next event.', sources.logPosition);
    this.gauge(
      'log_bytes',
      'Bytes of all files of the log on disk, checkpoints included.',
      sources.logBytes,
    );
    this.gauge(
      'checkpoint_age_seconds',
      'Time since the newest checkpoint; absent if there is none.',
      sources.checkpointAgeSeconds,
    );
    this.gauge(
      'layers_unavailable',
      'Committed layers that are currently unusable.',
      sources.layersUnavailable,
    );
    this.gauge(
      'directories_set_aside',
      'Directories that are garbage according to the log but in use; kept until deleted by name.',
      () => sources.directoryProblems().setAside,
    );
    this.gauge(
      'directories_failing',
      'Directories that cannot be deleted or read; retried.',
      () => sources.directoryProblems().failing,
    );
    this.gauge('connections', 'Open connections on the socket.', sources.connections);
    this.gauge('calls_in_flight', 'Calls in flight.', sources.callsInFlight);
    this.gauge('audit_streams', 'Open streams of the audit service.', sources.auditStreams);
    this.table('snapshots', 'Snapshots by kind and state.', ['kind', 'state'], (set) => {
      for (const { kind, state, count } of sources.snapshots()) set({ kind, state }, count);
    });
    this.table('client_faults', 'Clients with a fault, by fault.', ['fault'], (set) => {
      for (const [fault, count] of Object.entries(sources.clientFaults())) set({ fault }, count);
    });
    this.table('serving', 'Status of the health service, 1 for SERVING.', ['name'], (set) => {
      for (const [name, serving] of Object.entries(sources.serving())) {
        set({ name: name === '' ? 'server' : name }, serving ? 1 : 0);
      }
    });
  }

  /** In the exposition format; see `contentType`. */
  text(): Promise<string> {
    return this.registry.metrics();
  }

  get contentType(): string {
    return this.registry.contentType;
  }

  private gauge(name: string, help: string, read: () => number | null): void {
    new Gauge({
      name: `stratalog_${name}`,
      help,
      registers: [this.registry],
      collect() {
        const value = read();
        // remove() hides a gauge without labels; reset() would show 0.
        if (value === null) this.remove();
        else this.set(value);
      },
    });
  }

  private table<Label extends string>(
    name: string,
    help: string,
    labelNames: Label[],
    fill: (set: (labels: Record<Label, string>, value: number) => void) => void,
  ): void {
    new Gauge({
      name: `stratalog_${name}`,
      help,
      labelNames,
      registers: [this.registry],
      collect() {
        this.reset();
        fill((labels, value) => this.set(labels, value));
      },
    });
  }
}
