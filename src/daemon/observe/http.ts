/** A small read-only HTTP server, for /metrics and for the debug endpoints. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { errnoOf, HostFault, reasonOf } from '../../base/errors.js';
import type { HttpAddress } from '../config/config-values.js';
import { bindSocket } from '../../api/grpc/unix-socket.js';

/** Handles one path. A thrown error becomes a 500 response with its message. */
export type HttpRoute = (query: URLSearchParams, reply: HttpReply) => void | Promise<void>;

export interface HttpReply {
  readonly text: (body: string, contentType?: string, code?: number) => void;
  readonly json: (value: unknown) => void;
  /** For streaming responses. */
  readonly response: ServerResponse;
  /** Aborted when the client disconnects. */
  readonly signal: AbortSignal;
}

export interface HttpOptions {
  readonly address: HttpAddress;
  /** Permission bits of a unix socket. */
  readonly socketMode: number;
  readonly routes: ReadonlyMap<string, HttpRoute>;
}

export interface RunningHttp {
  /** The bound address, with the actual port if port 0 was requested. */
  readonly address: HttpAddress;
  readonly close: () => Promise<void>;
}

/** A scraper needs one. */
const connectionsMax = 32;

/** @throws UsageError if another process serves the socket; HostFault, for example EADDRINUSE */
export async function startHttp(options: HttpOptions): Promise<RunningHttp> {
  const server = createServer((request, response) => {
    void answer(options.routes, request, response);
  });
  server.maxConnections = connectionsMax;
  server.headersTimeout = 10_000;
  server.requestTimeout = 30_000;
  let unlink = (): Promise<void> => Promise.resolve();
  const { address } = options;
  if ('path' in address) {
    unlink = await bindSocket(server, { path: address.path, mode: options.socketMode });
  } else {
    await bindPort(server, address);
  }
  return {
    address: boundAddress(server, address),
    close: async () => {
      await unlink();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function answer(
  routes: HttpOptions['routes'],
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const closed = new AbortController();
  response.on('close', () => closed.abort(new Error('the client disconnected')));
  const reply: HttpReply = {
    text: (body, contentType = 'text/plain; charset=utf-8', code = 200) => {
      response.writeHead(code, { 'content-type': contentType }).end(body);
    },
    json: (value) => {
      response.writeHead(200, { 'content-type': 'application/json' }).end(`${toJson(value)}\n`);
    },
    response,
    signal: closed.signal,
  };
  const [path = '', query = ''] = (request.url ?? '').split('?', 2);
  const route = routes.get(path);
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    reply.text('method not allowed; use GET\n', undefined, 405);
  } else if (route === undefined) {
    reply.text(`not found; available: ${[...routes.keys()].join(' ')}\n`, undefined, 404);
  } else {
    try {
      await route(new URLSearchParams(query), reply);
    } catch (thrown) {
      if (response.headersSent) response.destroy();
      else reply.text(`${reasonOf(thrown)}\n`, undefined, 500);
    }
  }
}

/** BigInts as strings, as in all our JSON. */
function toJson(value: unknown): string {
  const plain = (_key: string, member: unknown): unknown =>
    typeof member === 'bigint' ? member.toString() : member;
  return JSON.stringify(value, plain, 2);
}

function bindPort(server: Server, address: Extract<HttpAddress, { host: string }>): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (fault: Error): void => {
      const named = `${address.host}:${address.port}`;
      reject(new HostFault('listen', named, errnoOf(fault) ?? 'EIO', { cause: fault }));
    };
    server.once('error', fail);
    server.listen(address.port, address.host, () => {
      server.off('error', fail);
      // A failed accept is ignored: a scraper retries.
      server.on('error', () => undefined);
      resolve();
    });
  });
}

function boundAddress(server: Server, requested: HttpAddress): HttpAddress {
  const bound: AddressInfo | string | null = server.address();
  if ('path' in requested || bound === null || typeof bound === 'string') return requested;
  return { host: requested.host, port: bound.port };
}
