/**
 * Debug endpoints, as Go daemons have under /debug: CPU profile, heap snapshot, event loop delay,
 * running actors, counters. A heap snapshot contains all memory of the daemon, so only the owner
 * of the unix socket may open it.
 */
import { Session, type Profiler } from 'node:inspector';
import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { pipeline } from 'node:stream/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { getHeapSnapshot } from 'node:v8';
import { openDescriptorCount } from '../../host/process/limits.js';
import { startHttp, type HttpReply, type HttpRoute, type RunningHttp } from './http.js';
import type { Metrics } from './metrics.js';

export interface DebugSources {
  /** The running actors with state and age, serializable as JSON. */
  readonly actors: () => unknown;
  /** Counters of the core, merged into those of the process. */
  readonly vars: () => Readonly<Record<string, unknown>>;
}

/** Serves the debug endpoints on a unix socket with mode 0600. */
export function startDebug(path: string, sources: DebugSources): Promise<RunningHttp> {
  const routes = new Map<string, HttpRoute>([
    ['/debug/profile', profileRoute()],
    ['/debug/heap', heapRoute()],
    ['/debug/loop', loopRoute],
    ['/debug/actors', (_query, reply) => reply.json(sources.actors())],
    ['/debug/vars', (_query, reply) => reply.json(processVars(sources.vars()))],
  ]);
  return startHttp({ address: { path }, socketMode: 0o600, routes });
}

/** Serves /metrics. A unix socket has mode 0660, so that a group can give the scraper access. */
export function startMetrics(
  address: Parameters<typeof startHttp>[0]['address'],
  metrics: Metrics,
): Promise<RunningHttp> {
  const route: HttpRoute = async (_query, reply) => {
    reply.text(await metrics.text(), metrics.contentType);
  };
  return startHttp({ address, socketMode: 0o660, routes: new Map([['/metrics', route]]) });
}

/** The `seconds` of the query; null if it is not above 0 and at most `most`. */
function secondsOf(query: URLSearchParams, fallback: number, most: number): number | null {
  const text = query.get('seconds');
  const seconds = text === null || text === '' ? fallback : Number(text);
  return seconds > 0 && seconds <= most ? seconds : null;
}

const refuseSeconds = (reply: HttpReply, most: number): void => {
  reply.text(`seconds must be greater than 0 and at most ${most}\n`, undefined, 400);
};

/** One profile at a time: concurrent sessions would profile each other. */
function profileRoute(): HttpRoute {
  let running = false;
  return async (query, reply) => {
    const seconds = secondsOf(query, 30, 300);
    if (seconds === null) {
      refuseSeconds(reply, 300);
      return;
    }
    if (running) {
      reply.text('a CPU profile is already running\n', undefined, 409);
      return;
    }
    running = true;
    try {
      const profile = await takeProfile(seconds * 1000, reply.signal);
      reply.text(JSON.stringify(profile), 'application/json');
    } finally {
      running = false;
    }
  };
}

async function takeProfile(millis: number, signal: AbortSignal): Promise<Profiler.Profile> {
  const session = new Session();
  session.connect();
  const post = (method: 'Profiler.enable' | 'Profiler.start'): Promise<void> =>
    new Promise((resolve, reject) => {
      session.post(method, (fault) => (fault === null ? resolve() : reject(fault)));
    });
  try {
    await post('Profiler.enable');
    await post('Profiler.start');
    await delay(millis, undefined, { signal });
    return await new Promise((resolve, reject) => {
      session.post('Profiler.stop', (fault, result) =>
        fault === null ? resolve(result.profile) : reject(fault),
      );
    });
  } finally {
    // Also stops the profile if the client has disconnected.
    session.disconnect();
  }
}

/** Blocks the event loop while the snapshot is taken, about a second for 100 MB. */
function heapRoute(): HttpRoute {
  let running = false;
  return async (_query, reply) => {
    if (running) {
      reply.text('a heap snapshot is already running\n', undefined, 409);
      return;
    }
    running = true;
    try {
      reply.response.writeHead(200, { 'content-type': 'application/json' });
      await pipeline(getHeapSnapshot(), reply.response);
    } finally {
      running = false;
    }
  };
}

/** The delay of the event loop over the next seconds, in milliseconds. */
const loopRoute: HttpRoute = async (query, reply) => {
  const seconds = secondsOf(query, 5, 300);
  if (seconds === null) {
    refuseSeconds(reply, 300);
    return;
  }
  const histogram = monitorEventLoopDelay({ resolution: 10 });
  const before = performance.eventLoopUtilization();
  histogram.enable();
  try {
    await delay(seconds * 1000, undefined, { signal: reply.signal });
  } finally {
    histogram.disable();
  }
  const millis = (nanos: number): number => Math.round(nanos / 1e4) / 100;
  reply.json({
    seconds,
    utilization: performance.eventLoopUtilization(before).utilization,
    samples: histogram.count,
    delayMillis: {
      min: millis(histogram.min),
      mean: millis(histogram.mean),
      p50: millis(histogram.percentile(50)),
      p99: millis(histogram.percentile(99)),
      max: millis(histogram.max),
    },
  });
};

function processVars(core: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const active = new Map<string, number>();
  for (const kind of process.getActiveResourcesInfo()) {
    active.set(kind, (active.get(kind) ?? 0) + 1);
  }
  return {
    pid: process.pid,
    uptimeSeconds: process.uptime(),
    node: process.version,
    memory: process.memoryUsage(),
    resources: process.resourceUsage(),
    descriptors: openDescriptorCount(),
    active: Object.fromEntries(active),
    ...core,
  };
}
