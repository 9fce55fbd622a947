/** The gRPC server: services, health and reflection on one listener, with graceful shutdown. */
import { setTimeout as delay } from 'node:timers/promises';
import {
  Server,
  ServerCredentials,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import type { Socket } from 'node:net';
import { pluralize } from '../../base/pluralize.js';
import { peerCredentials } from '../../host/process/sockets.js';
import type { Caller } from './callers.js';
import { Calls, type CallEnd } from './calls.js';
import { DropReports } from './drop-reports.js';
import { type Health, healthSubscriptions } from './health.js';
import { listen, type Listener, type ListenTarget } from './listener.js';
import { addReflection, reflectionSubscriptions } from './reflection.js';

/** A gRPC service and its implementation. */
export interface ServiceRegistration {
  readonly definition: ServiceDefinition;
  readonly implementation: UntypedServiceImplementation;
  /** Paths of methods whose calls only the client ends: a drain ends them at once. */
  readonly subscriptions?: readonly string[];
}

interface ServerLimits {
  /** Concurrent connections; containerd needs one for each plugin address. */
  readonly connections: number;
  /** Concurrent calls on one connection; further calls wait in the client. */
  readonly concurrentCalls: number;
  /** Bytes of one request. containerd's own limit is 16 MiB. */
  readonly messageBytes: number;
  /** Milliseconds within which a connection must send the HTTP/2 preface. */
  readonly prefaceMillis: number;
  /** Milliseconds between two keepalive pings, and the timeout of each. */
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
  /** Identifies the peer of a connection; by default from SO_PEERCRED. */
  readonly callerOf?: (socket: Socket) => Caller | null;
  readonly onCallEnd?: (end: CallEnd) => void;
  readonly onWarning?: (message: string, error?: Error) => void;
}

export interface RunningServer {
  /** The number of open connections and calls. */
  readonly load: () => { readonly connections: number; readonly calls: number };
  /**
   * Sets health to NOT_SERVING, unlinks the socket and gives open calls `graceMillis` to finish;
   * the rest end with UNAVAILABLE. Resolves when all connections are closed. Idempotent.
   */
  readonly stop: (graceMillis: number) => Promise<void>;
}

/** Time for the last statuses to reach their clients before connections are closed. */
const statusFlushMillis = 200;

/** The caller must hold the data lock; see `listen`. */
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
    // After a protocol error the connection is no longer read, so only a ping detects that the
    // client has disconnected. Without it the connection would keep its slot forever.
    'grpc.keepalive_time_ms': limits.pingMillis,
    'grpc.keepalive_timeout_ms': limits.pingMillis,
    // Channelz costs time on each call and is not exposed here.
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
  // Watchers have received NOT_SERVING; their streams can end now.
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
        `ended ${pluralize(calls.size, 'call')} on ` +
          `${pluralize(listener.connections(), 'connection')} still open ` +
          `${parts.graceMillis} ms after the shutdown began`,
      );
    calls.endAll();
    await Promise.race([drained, late(statusFlushMillis)]);
    server.forceShutdown();
    // `forceShutdown` of grpc-js leaves the socket of a half-closed session open.
    listener.destroyConnections();
  }
  waited.abort();
}

/** The service's full name, from the path `/package.Service/Method` of any method. */
function serviceName(service: ServiceRegistration): string {
  const [first] = Object.values(service.definition);
  return first?.path.split('/')[1] ?? '';
}
