/**
 * Prometheus metrics, in base units. Counters are told; gauges are read at each scrape from what
 * the core offers, so that they are never stale and cost nothing in between.
 */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';

/** What is read at each scrape: fields, and for the counts one walk over the snapshots. */
export interface MetricSources {
  /** The position that the next event gets. */
  readonly logPosition: () => number;
  /** Bytes of all segments on disk. */
  readonly logBytes: () => number;
  /** Seconds since the newest checkpoint was taken; null while there is none. */
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
  /** Streams of the audit service that are open. */
  readonly auditStreams: () => number;
  /** Whether each name of the health service serves. */
  readonly serving: () => Readonly<Record<string, boolean>>;
  /** How often each fault between the daemon and its clients is so now. */
  readonly clientFaults: () => Readonly<Record<string, number>>;
}

export interface MetricsOptions {
  readonly version: string;
  /** Process and runtime metrics too (prom-client's own names). */
  readonly processMetrics: boolean;
}

/** From half a millisecond (a call answered from memory) to the longest budget. */
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
      help: 'Answered calls of the snapshots service, by method and gRPC code.',
      labelNames: ['method', 'code'],
      registers,
    });
    this.durations = new Histogram({
      name: 'stratalog_snapshot_request_duration_seconds',
      help: 'Time from a call to its answer.',
      labelNames: ['method'],
      buckets: requestSeconds,
      registers,
    });
    this.appends = new Histogram({
      name: 'stratalog_log_append_duration_seconds',
      help: 'Time of one write and sync of the log.',
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
      help: 'Side effects that failed or passed their time limit, each attempt pluralize.',
      labelNames: ['effect'],
      registers,
    });
    this.auditEvents = new Counter({
      name: 'stratalog_audit_events_sent_total',
      help: 'Events that have left for readers of the audit service.',
      registers,
    });
    new Gauge({
      name: 'stratalog_build_info',
      help: 'Always 1; the label says what runs.',
      labelNames: ['version'],
      registers,
    }).set({ version: options.version }, 1);
    if (options.processMetrics) collectDefaultMetrics({ register: this.registry });
  }

  /** An answered call: `method` as in the service's definition, `code` as Go prints it. */
  request(method: string, code: string, seconds: number): void {
    this.requests.labels(method, code).inc();
    this.durations.labels(method).observe(seconds);
  }

  /** A sync group has become durable. */
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

  /** Says where gauges are read from. Called once, when the core stands. */
  readFrom(sources: MetricSources): void {
    this.gauge('log_position', 'The position of the next event.', sources.logPosition);
    this.gauge(
      'log_bytes',
      'Bytes of all files of the log on disk, checkpoints included.',
      sources.logBytes,
    );
    this.gauge(
      'checkpoint_age_seconds',
      'Time since the newest checkpoint; absent while there is none.',
      sources.checkpointAgeSeconds,
    );
    this.gauge(
      'layers_unavailable',
      'Committed layers that cannot be used now.',
      sources.layersUnavailable,
    );
    this.gauge(
      'directories_set_aside',
      'Directories in use that the log knows only as garbage: kept until a person names them.',
      () => sources.directoryProblems().setAside,
    );
    this.gauge(
      'directories_failing',
      'Directories that cannot be deleted, or looked at; tried again.',
      () => sources.directoryProblems().failing,
    );
    this.gauge('connections', 'Open connections on the socket.', sources.connections);
    this.gauge('calls_in_flight', 'Calls that are not answered yet.', sources.callsInFlight);
    this.gauge('audit_streams', 'Open streams of the audit service.', sources.auditStreams);
    this.table('snapshots', 'Snapshots by kind and state.', ['kind', 'state'], (set) => {
      for (const { kind, state, count } of sources.snapshots()) set({ kind, state }, count);
    });
    this.table('client_faults', 'What is wrong with clients now, by fault.', ['fault'], (set) => {
      for (const [fault, count] of Object.entries(sources.clientFaults())) set({ fault }, count);
    });
    this.table('serving', 'What the health service says, 1 for SERVING.', ['name'], (set) => {
      for (const [name, serving] of Object.entries(sources.serving())) {
        set({ name: name === '' ? 'server' : name }, serving ? 1 : 0);
      }
    });
  }

  /** The exposition format; see `contentType`. */
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
        // A gauge without labels shows 0 after reset(); one that was removed shows nothing.
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
