/**
 * Goal: no client can harm another one, however it behaves. Method: raw sockets and raw HTTP/2
 * against one server; each time an ordinary client is asked whether it notices.
 */
import { once } from 'node:events';
import { constants } from 'node:http2';
import type { Socket } from 'node:net';
import { setImmediate as breathe } from 'node:timers/promises';
import { credentials, Metadata, type ClientReadableStream } from '@grpc/grpc-js';
import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  SnapshotsClient,
  SnapshotsService,
  type ListSnapshotsResponse,
} from '../../src/api/generated/containerd/services/snapshots/v1/snapshots.js';
import { until } from '../support/daemon.js';
import { ApiWorld, field, framed, send } from './api-world.js';

let world: ApiWorld;
const connections = 64;
/** What List answers in many messages: more than any window or buffer on the way holds. */
const crowd = 1_000;

beforeAll(async () => {
  world = await ApiWorld.open({ connections, prefaceMillis: 60_000 });
  await world.furnish();
  const labels = new Map(Array.from({ length: 9 }, (_, index) => [`l${index}`, 'v'.repeat(3_000)]));
  for (let index = 0; index < crowd; index += 100) {
    await Promise.all(
      Array.from({ length: 100 }, (_, offset) =>
        world.daemon.prepare(`crowd-${index + offset}`, null, labels),
      ),
    );
  }
});
afterAll(() => world.close());

const statBase = { path: SnapshotsService.stat.path, body: [framed(field(2, 'base'))] };

/** An ordinary client, on a connection of its own. */
async function isServed(): Promise<void> {
  const session = world.connect();
  expect((await send(session, statBase)).code).toBe('OK');
  session.destroy();
}

const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const settings = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);

/** A frame with any length written into it. */
function frame(type: number, flags: number, stream: number, payload: Uint8Array): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

const [data, headers, reset, goAway, continuation] = [0, 1, 3, 7, 9];
const many = (count: number, make: (index: number) => Uint8Array): Buffer =>
  Buffer.concat(Array.from({ length: count }, (_, index) => make(index)));

/** Whether GOAWAY is among the frames. */
function isGoodbye(bytes: Buffer): boolean {
  for (let at = 0; at + 9 <= bytes.length; at += 9 + bytes.readUIntBE(at, 3)) {
    if (bytes.readUInt8(at + 3) === goAway) return true;
  }
  return false;
}

it.each([
  ['HTTP/1.1', Buffer.from('POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nabcd')],
  ['a TLS hello', Buffer.from('16030100c8010000c40303'.padEnd(400, '0'), 'hex')],
  ['garbage', Buffer.alloc(100_000, 0xa7)],
  ['zeros', Buffer.alloc(100_000)],
  ['the magic, then garbage', Buffer.concat([preface, Buffer.alloc(100_000, 0xa7)])],
  ['a frame of 16 MiB', Buffer.concat([preface, settings, Buffer.alloc(9, 0xff)])],
  ['a frame on stream 0', Buffer.concat([preface, settings, frame(data, 0, 0, Buffer.alloc(9))])],
  [
    'headers that never end',
    Buffer.concat([
      preface,
      settings,
      frame(headers, 0, 1, Buffer.alloc(0)),
      many(2_000, () =>
        frame(continuation, 0, 1, Buffer.from('\0\x01a\x7f\x80\x01'.padEnd(200, 'a'), 'latin1')),
      ),
    ]),
  ],
  [
    'a header of 1 MB',
    Buffer.concat([
      preface,
      settings,
      // A literal: a name of one byte, a value of 1,000,000, which is not complete yet.
      frame(headers, 0, 1, Buffer.from([0, 1, 0x61, 0x7f, 0xc1, 0x83, 0x3d])),
      many(60, () => frame(continuation, 0, 1, Buffer.alloc(16_384, 0x61))),
      frame(continuation, 4, 1, Buffer.alloc(16_960, 0x61).subarray(0, 16_384)),
    ]),
  ],
  [
    'streams that are reset at once',
    Buffer.concat([
      preface,
      settings,
      many(5_000, (index) =>
        Buffer.concat([
          // :method POST, :scheme http, :path /
          frame(headers, 4, 2 * index + 1, Buffer.from([0x83, 0x86, 0x84])),
          frame(reset, 0, 2 * index + 1, Buffer.alloc(4)),
        ]),
      ),
    ]),
  ],
])('closes the connection alone that sends %s', async (_, bytes) => {
  const socket = world.socket();
  const heard: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => heard.push(chunk));
  socket.write(bytes);
  // Told to go away, or cut off; HTTP/2 leaves it to the client to hang up then.
  await until('it ends', () => socket.closed || isGoodbye(Buffer.concat(heard)));
  socket.destroy();
  await isServed();
});

it('refuses 100 MB while it comes, without keeping it', async () => {
  const session = world.connect();
  const before = process.memoryUsage.rss();
  const piece = Buffer.alloc(2 ** 20);
  const stream = session.request({
    ':method': 'POST',
    ':path': SnapshotsService.stat.path,
    'content-type': 'application/grpc',
  });
  stream.on('error', () => undefined);
  const answered = once(stream, 'response') as Promise<[Record<string, unknown>]>;
  stream.write(framed(Buffer.alloc(0), { length: 100 * 2 ** 20 }));
  for (let sent = 0; sent < 100 && !stream.destroyed; sent += 1) {
    if (!stream.write(piece)) await Promise.race([once(stream, 'drain'), once(stream, 'close')]);
  }
  const [head] = await answered;
  expect(head['grpc-status']).toBe('8');
  expect(process.memoryUsage.rss() - before).toBeLessThan(80 * 2 ** 20);
  session.destroy();
  await isServed();
});

it('serves a new client behind thousands of connections that never speak', async () => {
  const silent: Socket[] = [];
  for (let count = 0; count < 4_000; count += 1) {
    const socket = world.socket();
    socket.resume();
    silent.push(socket);
    const first = silent[count - connections - 100];
    // More at a time than the kernel's queue holds would be refused there.
    if (first !== undefined) await until('it has made room', () => first.closed);
  }
  await isServed();
  await until('places are kept to', () => world.server.load().connections <= connections);
  for (const socket of silent) socket.destroy();
  // Those that broke the protocol are found out by a ping, once a minute.
  await until('they are gone', () => world.server.load().connections < 10);
});

it('keeps little for clients that never read their List, and serves the others', async () => {
  const sessions = Array.from({ length: 20 }, () => world.connect());
  const before = process.memoryUsage.rss();
  const streams = sessions.map((session) => {
    const stream = session.request({
      ':method': 'POST',
      ':path': SnapshotsService.list.path,
      'content-type': 'application/grpc',
    });
    stream.on('error', () => undefined);
    stream.end(framed(Buffer.alloc(0)));
    stream.pause();
    return stream;
  });
  await Promise.all(streams.map((stream) => once(stream, 'response')));
  for (let count = 0; count < 20; count += 1) await isServed();
  expect(world.server.load().calls).toBe(20);
  // Each List is 27 MB, and there are twenty of them.
  expect(process.memoryUsage.rss() - before).toBeLessThan(200 * 2 ** 20);
  for (const stream of streams) stream.close(constants.NGHTTP2_CANCEL);
  await until('their calls have ended', () => world.server.load().calls === 0);
  for (const session of sessions) session.destroy();
});

it('answers others while a filter is held against everything', async () => {
  const expensive = `${Array<string>(4_000).fill('parent==""').join()},name~=/^${'(a|b|c)*r?'.repeat(100)}z$/`;
  const order: string[] = [];
  const listed = world.list({ filters: [expensive] }).then((infos) => {
    order.push('list');
    return infos;
  });
  const other = world.connect();
  // Asked again and again while the list is made: each answer is a turn that others had.
  for (let count = 0; count < 5; count += 1) {
    expect((await send(other, statBase)).code).toBe('OK');
    order.push('stat');
  }
  expect(await listed).toEqual([]);
  expect(order.indexOf('list')).toBeGreaterThan(2);
  other.destroy();
});

it('forgets calls that are cancelled in the middle', async () => {
  const client = new SnapshotsClient(`unix:${world.path}`, credentials.createInsecure());
  const names = ['base', 'child', 'view', 'crowd-1'];
  const streams: ClientReadableStream<ListSnapshotsResponse>[] = [];
  const labels = new Map<string, string>();
  for (let round = 0; round < 25; round += 1) {
    const calls = names.flatMap((key, index) => {
      const at = { snapshotter: '', key };
      const again = { ...at, key: `cancelled-${round}-${index}`, parent: 'child', labels };
      const ignore = (): void => undefined;
      return [client.stat(at, ignore), client.prepare(again, ignore), client.usage(at, ignore)];
    });
    const stream = client.list({ snapshotter: '', filters: [] });
    stream.on('error', () => undefined);
    streams.push(stream);
    for (let turn = 0; turn < round % 5; turn += 1) await breathe();
    for (const call of [...calls, stream]) call.cancel();
  }
  await until('their calls have ended', () => world.server.load().calls === 0);
  client.close();
  const late = (name: string): boolean => name.startsWith('cancelled-');
  const left = async () => (await world.list()).map(({ name }) => name).filter(late);
  // What was already promised may stay; what stays can be removed, and nothing is half there.
  for (const key of await left()) {
    expect((await world.call('remove', { snapshotter: '', key })).code).toBe('OK');
  }
  expect(await left()).toEqual([]);
  await isServed();
});

it.each([
  ['past', new Date(0)],
  ['now', 0],
  ['far', Infinity],
])('takes a deadline in the %s', async (_, deadline) => {
  const client = new SnapshotsClient(`unix:${world.path}`, credentials.createInsecure());
  const at = { snapshotter: '', key: 'base' };
  const code = await new Promise((resolve) => {
    client.stat(at, new Metadata(), { deadline }, (error) => resolve(error?.code ?? 0));
  });
  client.close();
  expect(code).toBe(deadline === Infinity ? 0 : 4);
});

it('has lost nothing', async () => {
  await isServed();
  expect(world.fatal).toEqual([]);
  expect(await world.list({ filters: ['name~=/^crowd-/'] })).toHaveLength(crowd);
});
