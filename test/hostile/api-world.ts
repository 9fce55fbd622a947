/**
 * One snapshotter behind its real gRPC server, for many cases: a few snapshots that stay as they
 * are, calls as raw HTTP/2 so that anything can be sent, and a picture of all that a client could
 * have changed.
 */
import * as fs from 'node:fs';
import { connect, type ClientHttp2Session, type OutgoingHttpHeaders } from 'node:http2';
import { createConnection, type Socket } from 'node:net';
import { status } from '@grpc/grpc-js';
import type { CallEnd } from '../../src/api/grpc/calls.js';
import {
  type Info,
  SnapshotsService,
  type ListSnapshotsRequest,
} from '../../src/api/generated/containerd/services/snapshots/v1/snapshots.js';
import { Health } from '../../src/api/grpc/health.js';
import { callerOn } from '../../src/api/grpc/callers.js';
import { startServer, type RunningServer, type ServerOptions } from '../../src/api/grpc/server.js';
import { snapshotsService } from '../../src/api/snapshots/snapshots-service.js';
import { strictSnapshotsService } from '../../src/api/snapshots/snapshots-requests.js';
import { TestDaemon, testRoot, valueOf, type TestRoot } from '../support/daemon.js';
import type { Answer, Picture } from './case.js';

type Service = typeof SnapshotsService;
export type Method = keyof Service;
type RequestOf<Name extends Method> = Parameters<Service[Name]['requestSerialize']>[0];

/** A call as bytes. What is not given is as a good client sends it. */
export interface RawCall {
  readonly path: string;
  readonly headers?: OutgoingHttpHeaders;
  /** All data frames; a message begins with its five bytes, see `framed`. */
  readonly body: readonly Uint8Array[];
}

/** What came back, before anybody has judged it. */
export interface RawAnswer extends Answer {
  readonly httpStatus: number | undefined;
  readonly body: Buffer;
}

/** What this client would refuse to send itself. */
const patient = { maxSendHeaderBlockLength: 4 * 2 ** 20, maxSessionMemory: 200 };

const budgets = { prepare: 20_000, mounts: 20_000, commit: 20_000, read: 20_000 };

export class ApiWorld {
  readonly root: TestRoot;
  readonly daemon: TestDaemon;
  readonly server: RunningServer;
  readonly path: string;
  readonly ends: CallEnd[];
  readonly warnings: string[];
  readonly fatal: unknown[];
  #session: ClientHttp2Session | null = null;

  private constructor(
    parts: Pick<ApiWorld, 'root' | 'daemon' | 'server' | 'path' | 'ends' | 'warnings' | 'fatal'>,
  ) {
    this.root = parts.root;
    this.daemon = parts.daemon;
    this.server = parts.server;
    this.path = parts.path;
    this.ends = parts.ends;
    this.warnings = parts.warnings;
    this.fatal = parts.fatal;
  }

  static async open(limits: NonNullable<ServerOptions['limits']> = {}): Promise<ApiWorld> {
    const root = testRoot();
    const daemon = await TestDaemon.open(root, { remote: true });
    const { snapshotter } = daemon;
    const ends: CallEnd[] = [];
    const warnings: string[] = [];
    const fatal: unknown[] = [];
    const path = `${root.layers}/../s.sock`;
    const onFatal = (thrown: unknown) => fatal.push(thrown);
    const implementation = snapshotsService({ snapshotter, budgets, onFatal });
    const server = await startServer({
      target: { path },
      services: [{ definition: strictSnapshotsService, implementation }],
      health: new Health(),
      limits,
      callerOf: (socket) => callerOn(socket, daemon.host.processes),
      onCallEnd: (end) => ends.push(end),
      onWarning: (message) => warnings.push(message),
    });
    return new ApiWorld({ root, daemon, server, path, ends, warnings, fatal });
  }

  /** `base` and `child` on it are layers, `active` and `view` stand on `child`. */
  async furnish(): Promise<void> {
    await this.daemon.layer('base');
    await this.daemon.layer('child', 'base');
    valueOf(await this.daemon.prepare('active', 'child', new Map([['kept', 'so']])));
    valueOf(await this.daemon.view('view', 'child'));
  }

  /** Everything a client could have changed: the log's end, all snapshots, all directories. */
  picture(): Picture {
    return {
      position: this.daemon.snapshotter.durablePosition,
      snapshots: [...valueOf(this.daemon.snapshotter.list([]))],
      directories: this.daemon.directories(),
      beside: fs.readdirSync(this.root.path).sort(),
    };
  }

  /** A whole request of a method, as a good client encodes it. */
  call<Name extends Method>(method: Name, request: RequestOf<Name>): Promise<RawAnswer> {
    const { path } = SnapshotsService[method];
    return this.raw({ path, body: [framed(encode(method, request))] });
  }

  /** The bytes of a message, whatever they are. */
  bytes(method: Method, message: Uint8Array): Promise<RawAnswer> {
    return this.raw({ path: SnapshotsService[method].path, body: [framed(message)] });
  }

  async raw(call: RawCall): Promise<RawAnswer> {
    return send(this.session(), call);
  }

  /** All that List answers. */
  async list(request: Partial<ListSnapshotsRequest> = {}): Promise<readonly Info[]> {
    const answer = await this.call('list', { snapshotter: '', filters: [], ...request });
    if (answer.code !== 'OK') throw new Error(answer.message);
    return messagesIn(answer.body).flatMap(
      (bytes) => SnapshotsService.list.responseDeserialize(bytes).info,
    );
  }

  /** The connection that well-behaved calls share; a new one when the last has been closed. */
  session(): ClientHttp2Session {
    if (this.#session === null || this.#session.closed || this.#session.destroyed) {
      this.#session = this.connect();
    }
    return this.#session;
  }

  /** A connection of its own, for cases that may break it. */
  connect(): ClientHttp2Session {
    const session = connect('http://localhost', {
      createConnection: () => this.socket(),
      ...patient,
    });
    session.on('error', () => undefined);
    return session;
  }

  /** Nothing but a connected, or connecting, socket. */
  socket(): Socket {
    const socket = createConnection({ path: this.path });
    socket.on('error', () => undefined);
    return socket;
  }

  async close(): Promise<void> {
    this.#session?.destroy();
    await this.server.stop(0);
    await this.daemon.close();
    this.root.remove();
  }
}

function encode<Name extends Method>(method: Name, request: RequestOf<Name>): Buffer {
  // Method and request belong together by their types; the compiler cannot follow it in here.
  const serialize = SnapshotsService[method].requestSerialize as (value: typeof request) => Buffer;
  return serialize(request);
}

/** A message as gRPC puts it into data frames: a flag, its length, itself. */
export function framed(
  message: Uint8Array,
  { compressed = 0, length = message.length }: { compressed?: number; length?: number } = {},
): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(compressed, 0);
  head.writeUInt32BE(length, 1);
  return Buffer.concat([head, message]);
}

function messagesIn(body: Buffer): Buffer[] {
  const messages: Buffer[] = [];
  for (let at = 0; at < body.length;) {
    const end = at + 5 + body.readUInt32BE(at + 1);
    messages.push(body.subarray(at + 5, end));
    at = end;
  }
  return messages;
}

/** Sends one call and takes all of its answer. Code `HTTP <n>` or `closed` when there is no status. */
export function send(session: ClientHttp2Session, call: RawCall): Promise<RawAnswer> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let httpStatus: number | undefined;
    let ending: { readonly code: number | string; readonly message: string } | undefined;
    let fault = '';
    const read = (headers: Readonly<Record<string, unknown>>): void => {
      const { 'grpc-status': code, 'grpc-message': details } = headers;
      if (code === undefined) return;
      const message = typeof details === 'string' ? decodeURIComponent(details) : '';
      ending = { code: status[Number(code)] ?? 'unknown', message };
    };
    const stream = session.request({
      ':method': 'POST',
      ':path': call.path,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...call.headers,
    });
    stream.on('response', (headers) => {
      httpStatus = headers[':status'];
      read(headers);
    });
    stream.on('trailers', read);
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('error', (thrown: Error) => (fault = thrown.message));
    stream.on('close', () => {
      const none = { code: httpStatus === undefined ? 'closed' : `HTTP ${httpStatus}` };
      resolve({
        ...(ending ?? { ...none, message: fault }),
        httpStatus,
        body: Buffer.concat(chunks),
      });
    });
    for (const chunk of call.body) stream.write(chunk);
    stream.end();
  });
}

/** A field of a message whose value has a length: strings, bytes and messages alike. */
export function field(number: number, value: Uint8Array | string): Buffer {
  const bytes = typeof value === 'string' ? Buffer.from(value) : value;
  return Buffer.concat([varint((number << 3) | 2), varint(bytes.length), bytes]);
}

export function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (let left = value; ; left = Math.floor(left / 128)) {
    if (left < 128) return Buffer.from([...bytes, left]);
    bytes.push((left % 128) | 128);
  }
}
