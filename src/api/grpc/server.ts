/**
 * The gRPC server: services of ours, health and reflection behind the listener, and an orderly
 * end. Knows no service in particular.
 */
import { setTimeout as delay } from 'node:timers/promises';
import {
  Server,
  ServerCredentials,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import type { Socket } from 'node:net';
import { peerCredentials } from '../../host/process/sockets.js';
import type { Caller } from './callers.js';
import { Calls, type CallEnd } from './calls.js';
import { DropReports } from './drop-reports.js';
import { type Health, healthSubscriptions } from './health.js';
import { listen, type Listener, type ListenTarget } from './listener.js';
import { addReflection, reflectionSubscriptions } from './reflection.js';

/** One gRPC service and what answers it. */
export interface ServiceRegistration {
  readonly definition: ServiceDefinition;
  readonly implementation: UntypedServiceImplementation;
  /** Paths of methods whose calls end only when the client leaves: a drain ends them at once. */
  readonly subscriptions?: readonly string[];
}

interface ServerLimits {
  /** Connections at one time; containerd needs one for each plugin address. */
  readonly connections: number;
  /** Calls at one time on one connection; further ones wait in the client. */
  readonly concurrentCalls: number;
  /** Bytes of one request. containerd's own limit is 16 MiB. */
  readonly messageBytes: number;
  /** Milliseconds until a connection must have begun to speak HTTP/2. */
  readonly prefaceMillis: number;
  /** Milliseconds between two pings of a connection, and for how long its answer is waited for. */
  readonly pingMillis: number;
}

const defaultServerLimits: ServerLimits = {
  connections: 256,
  concurrentCalls: 1024,
  messageBytes: 16 * 1024 * 1024,
  prefaceMillis: 10_000,
  pingMillis: 60_000,
};

export interface ServerOptions {
  readonly target: ListenTarget;
  readonly services: readonly ServiceRegistration[];
  readonly health: Health;
  readonly limits?: Partial<ServerLimits>;
  /** Reads who is behind a connection; by SO_PEERCRED when not given. */
  readonly callerOf?: (socket: Socket) => Caller | null;
  readonly onCallEnd?: (end: CallEnd) => void;
  /** Something worth a warning in the log happened to a connection. */
  readonly onWarning?: (message: string, error?: Error) => void;
}

export interface RunningServer {
  /** Open connections and calls. */
  readonly load: () => { readonly connections: number; readonly calls: number };
  /**
   * Stops: health says NOT_SERVING, the socket is unlinked, calls that run may finish for
   * `graceMillis`, then the rest end with UNAVAILABLE. Resolves when all connections are closed.
   * Calling it again waits for the same end.
   */
  readonly stop: (graceMillis: number) => Promise<void>;
}

/** Time for the last statuses to reach their clients before connections are cut. */
const farewellMillis = 200;

/** Starts to serve. As `listen`, it is called once the data lock is held. */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const limits = { ...defaultServerLimits, ...options.limits };
  let listener: Listener | null = null;
  const calls = new Calls(
    (peer) => listener?.callerByPeer(peer) ?? null,
    (end) => options.onCallEnd?.(end),
  );
  const server = new Server({
    'grpc.max_receive_message_length': limits.messageBytes,
    'grpc.max_send_message_length': limits.messageBytes,
    'grpc.max_concurrent_streams': limits.concurrentCalls,
    // After a fault of protocol nobody reads the connection any more, and only a ping tells that
    // its client has left: without it, the place would be taken for ever.
    'grpc.keepalive_time_ms': limits.pingMillis,
    'grpc.keepalive_timeout_ms': limits.pingMillis,
    // Its bookkeeping costs time on each call, and nothing here shows it.
    'grpc.enable_channelz': 0,
    interceptors: [calls.interceptor],
  });
  for (const service of options.services) {
    server.addService(service.definition, service.implementation);
  }
  options.health.addToServer(server);
  addReflection(server, [...options.services.map(serviceName), 'grpc.health.v1.Health']);

  const drops = new DropReports((message) => options.onWarning?.(message));
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  const opened = await listen({
    target: options.target,
    connectionsMax: limits.connections,
    prefaceMillis: limits.prefaceMillis,
    callerOf: options.callerOf ?? peerCredentials,
    onConnection: (socket) => injector.injectConnection(socket),
    onDropped: (reason) => drops.add(reason),
    onFault: (fault) => options.onWarning?.('the listening socket failed', fault),
  });
  listener = opened;

  const subscriptions = new Set([
    ...healthSubscriptions,
    ...reflectionSubscriptions,
    ...options.services.flatMap((service) => service.subscriptions ?? []),
  ]);
  let stopping: Promise<void> | null = null;
  return {
    load: () => ({ connections: opened.connections(), calls: calls.size }),
    stop: (graceMillis) => {
      const parts = { server, calls, listener: opened, subscriptions, graceMillis, options };
      stopping ??= stop(parts).finally(() => drops.close());
      return stopping;
    },
  };
}

async function stop(parts: {
  readonly server: Server;
  readonly calls: Calls;
  readonly listener: Listener;
  readonly subscriptions: ReadonlySet<string>;
  readonly graceMillis: number;
  readonly options: ServerOptions;
}): Promise<void> {
  const { server, calls, listener } = parts;
  parts.options.health.setAll(false);
  await listener.close();
  // Watchers have just been told NOT_SERVING; now their streams may end.
  calls.endAll(parts.subscriptions);
  const drained = new Promise<'drained'>((resolve) => {
    server.tryShutdown(() => resolve('drained'));
  });
  const waited = new AbortController();
  const late = (millis: number): Promise<'late'> =>
    delay(millis, 'late' as const, { signal: waited.signal }).catch(() => 'late' as const);
  if ((await Promise.race([drained, late(parts.graceMillis)])) === 'late') {
    const isExpected = parts.graceMillis === 0 && calls.size === 0;
    if (!isExpected)
      parts.options.onWarning?.(
        `${calls.size} calls on ${listener.connections()} connections were still open ` +
          `${parts.graceMillis} ms after the shutdown began; they were ended`,
      );
    calls.endAll();
    await Promise.race([drained, late(farewellMillis)]);
    server.forceShutdown();
    // Of a session that is half closed, `forceShutdown` leaves the socket open (grpc-js).
    listener.destroyConnections();
  }
  waited.abort();
}

/** The service's full name, from the path `/package.Service/Method` of any method. */
function serviceName(service: ServiceRegistration): string {
  const [first] = Object.values(service.definition);
  return first?.path.split('/')[1] ?? '';
}
