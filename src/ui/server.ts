/**
 * The HTTP server of the page: reads an archive and writes nothing. Every response has a strict
 * content security policy; `access.ts` decides who has access.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { isIP, type AddressInfo } from 'node:net';
import { promisify } from 'node:util';
import { constants, gzip } from 'node:zlib';
import { errnoOf, HostFault } from '../base/errors.js';
import { refusalFor, securityHeaders, type AccessRules } from './access.js';
import { Answers, type PageSource } from './answers.js';
import type { Asset } from './assets.js';
import { Connections } from './connections.js';
import { codeOf, failureOf } from './failure.js';

export interface PageOptions extends PageSource {
  readonly assets: ReadonlyMap<string, Asset>;
  readonly host: string;
  /** 0 for any free port. */
  readonly port: number;
  /** Must be long enough to be unguessable. */
  readonly token: string;
}

export interface RunningPage {
  /** Includes the token. */
  readonly url: string;
  readonly close: () => Promise<void>;
}

/** Concurrent connections: a browser opens six, plus one per live stream. */
const connectionsMax = 64;

/** Fails with HostFault if it cannot listen on the address, for example EADDRINUSE. */
export async function startPage(options: PageOptions): Promise<RunningPage> {
  const answers = new Answers(options);
  const server = createServer();
  const connections = new Connections(connectionsMax);
  server.on('connection', (socket) => connections.accept(socket));
  server.headersTimeout = 10_000;
  server.requestTimeout = 30_000;
  const port = await listen(server, options);
  const rules = rulesFor(options, port);
  server.on('request', (request, response) => {
    void answer({ options, answers, rules, connections }, request, response);
  });
  return {
    url: `http://${urlHost(options.host)}:${port}/?token=${options.token}`,
    close: async () => {
      answers.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const urlHost = (host: string): string => (isIP(host) === 6 ? `[${host}]` : host);

function rulesFor({ host, token }: PageOptions, port: number): AccessRules {
  const isAnyAddress = host === '0.0.0.0' || host === '::';
  const names = isLoopback(host) ? [urlHost(host), 'localhost'] : [urlHost(host)];
  return {
    token,
    hosts: new Set(names.map((name) => `${name.toLowerCase()}:${port}`)),
    anyAddressWithPort: isAnyAddress ? port : null,
    // Cookies are shared between the ports of a host, so each server needs its own name.
    cookieName: `stratalog-${port}`,
  };
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

function listen(server: Server, { host, port }: PageOptions): Promise<number> {
  return new Promise((resolve, reject) => {
    const fail = (fault: Error): void => {
      const what = `${urlHost(host)}:${port}`;
      reject(new HostFault('listen', what, errnoOf(fault) ?? 'EIO', { cause: fault }));
    };
    server.once('error', fail);
    server.listen(port, host, () => {
      server.off('error', fail);
      // Ignore failed accepts: a browser retries.
      server.on('error', () => undefined);
      const bound: AddressInfo | string | null = server.address();
      resolve(typeof bound === 'object' && bound !== null ? bound.port : port);
    });
  });
}

interface Serving {
  readonly options: PageOptions;
  readonly answers: Answers;
  readonly rules: AccessRules;
  readonly connections: Connections;
}

async function answer(
  { options, answers, rules, connections }: Serving,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const disconnected = new AbortController();
  response.on('close', () => {
    disconnected.abort();
  });
  const reply = (code: number, type: string, body: string | Buffer): Promise<void> =>
    send({ request, response }, { code, type, body });
  const [path = '/', search = ''] = (request.url ?? '/').split('?', 2);
  const query = new URLSearchParams(search);
  const { host, origin, cookie } = request.headers;
  const site = request.headers['sec-fetch-site'];
  const refusal = refusalFor(
    {
      method: request.method ?? '',
      host,
      origin,
      site: typeof site === 'string' ? site : undefined,
      cookie,
      tokenInUrl: path === '/' ? query.get('token') : null,
      isPage: path === '/',
    },
    rules,
  );
  for (const [name, value] of Object.entries(securityHeaders)) response.setHeader(name, value);
  try {
    if (refusal !== null) {
      await reply(refusal.code, json, JSON.stringify({ error: refusal.error, position: null }));
      return;
    }
    connections.authenticated(request.socket);
    const asset = options.assets.get(path);
    if (asset !== undefined) {
      // The page removes the token from the address bar and uses the cookie from then on.
      const attributes = 'HttpOnly; SameSite=Strict; Path=/';
      response.setHeader('set-cookie', `${rules.cookieName}=${rules.token}; ${attributes}`);
      await reply(200, asset.type, asset.body);
    } else if (path === '/api/live') {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      await answers.live(query, response, disconnected.signal);
      response.end();
    } else {
      const { type, body } = await answers.to(path, query, disconnected.signal);
      await reply(body === null ? 404 : 200, type, body ?? notFound);
    }
  } catch (thrown) {
    if (disconnected.signal.aborted) return;
    if (response.headersSent) response.destroy();
    else await reply(codeOf(thrown), json, JSON.stringify(failureOf(thrown)));
  }
}

const json = 'application/json; charset=utf-8';
const notFound = JSON.stringify({ error: 'not found', position: null });

const gzipped = promisify(gzip);

async function send(
  { request, response }: { readonly request: IncomingMessage; readonly response: ServerResponse },
  {
    code,
    type,
    body,
  }: { readonly code: number; readonly type: string; readonly body: string | Buffer },
): Promise<void> {
  const headers: Record<string, string> = { 'content-type': type };
  let bytes = Buffer.from(body);
  if (
    bytes.length > 2_000 &&
    /\bgzip\b/.test(request.headers['accept-encoding']?.toString() ?? '')
  ) {
    bytes = await gzipped(bytes, { level: constants.Z_BEST_SPEED });
    headers['content-encoding'] = 'gzip';
  }
  response.writeHead(code, { ...headers, 'content-length': bytes.length }).end(bytes);
}
