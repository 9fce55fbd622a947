/**
 * Goal: no client can harm another one, however it behaves. Method: raw sockets and raw HTTP/2
 * against one server; each time an ordinary client is asked whether it notices.
 */
import { once } from 'node:events';
import { constants } from 'node:http2';
import { setImmediate as breathe, setTimeout as delay } from 'node:timers/promises';
import { credentials, Metadata, type ClientReadableStream } from '@grpc/grpc-js';
import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  SnapshotsClient,
  SnapshotsService,
  type ListSnapshotsResponse,
} from '../../src/api/generated/containerd/services/snapshots/v1/snapshots.js';
import type { SnapshotInfo } from '../../src/machines/snapshots/info.js';
import { until } from '../support/daemon.js';
import { ApiWorld, field, framed, send } from './api-world.js';
import { HalfOpen } from './half-open.js';

let world: ApiWorld;
const connections = 64;
/** What List answers in many messages: 24 MB, more than any window or buffer on the way holds. */
const crowd = 50;
/** Each as large as a call may make it without being extraordinary; the limit is for one label. */
const labelled = { labels: 120, bytes: 4_000 };
/** Messages of a List that may have been made for a client that reads nothing. */
const readAhead = 25;

beforeAll(async () => {
  world = await ApiWorld.open({ connections, prefaceMillis: 60_000 });
  await world.furnish();
  const value = 'v'.repeat(labelled.bytes);
  const labels = new Map(Array.from({ length: labelled.labels }, (_, at) => [`l${at}`, value]));
  const names = Array.from({ length: crowd }, (_, at) => `crowd-${at}`);
  await Promise.all(names.map((name) => world.daemon.prepare(name, null, labels)));
});
afterAll(() => world.close());

/** For a busy machine. */
const slow = { timeout: 120_000 };

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

it('serves old clients and new ones beside 10,000 half-open connections', slow, async () => {
  const old = world.connect();
  expect((await send(old, statBase)).code).toBe('OK');
  const before = process.memoryUsage.rss();
  const halfOpen = new HalfOpen(world.path, 10_000);
  const client = new SnapshotsClient(`unix:${world.path}`, credentials.createInsecure());
  try {
    // A client that comes in the middle may lose its place, and tries again as gRPC clients do.
    const came = statPatiently(client);
    do {
      expect((await send(old, statBase)).code).toBe('OK');
      expect(world.server.load().connections).toBeLessThanOrEqual(connections);
      await delay(5);
    } while (!halfOpen.settled);
    expect(await came).toBeNull();
    // They are held to the end, but for those that wrote to where nobody was any more.
    expect(await halfOpen.all).toBeGreaterThan(8_000);
    for (let count = 0; count < 5; count += 1) await isServed();
    expect((await send(old, statBase)).code).toBe('OK');
    expect(world.server.load().connections).toBeLessThanOrEqual(connections);
    expect(process.memoryUsage.rss() - before).toBeLessThan(100 * 2 ** 20);
  } finally {
    client.close();
    old.destroy();
    await halfOpen.end();
  }
  // Those that broke the protocol are found out by a ping, once a minute.
  await until('they are gone', () => world.server.load().connections < 10);
});

function statPatiently(client: SnapshotsClient): Promise<Error | null> {
  const at = { snapshotter: '', key: 'base' };
  const options = { deadline: Date.now() + slow.timeout };
  return new Promise((resolve) => {
    client.stat(at, new Metadata({ waitForReady: true }), options, resolve);
  });
}

/** From now on, how many snapshots lists have taken from what they send: one a message. */
function countTaken(): { readonly count: () => number; readonly stop: () => void } {
  const { snapshotter } = world.daemon;
  const listInSlices = snapshotter.listInSlices.bind(snapshotter);
  let taken = 0;
  function* oneByOne(slices: Iterable<readonly SnapshotInfo[]>): Generator<SnapshotInfo[]> {
    for (const slice of slices) {
      for (const info of slice) {
        taken += 1;
        yield [info];
      }
    }
  }
  snapshotter.listInSlices = (filters) => {
    const listed = listInSlices(filters);
    return listed.ok ? { ok: true, value: oneByOne(listed.value) } : listed;
  };
  return { count: () => taken, stop: () => (snapshotter.listInSlices = listInSlices) };
}

it('makes no more of a List than its client reads, and serves the others', async () => {
  const taken = countTaken();
  const readers = 20;
  const sessions = Array.from({ length: readers }, () => world.connect());
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
  // More turns than a List that waits for nobody would need to be at its end.
  for (let turn = 0; turn < crowd * 4; turn += 1) await breathe();
  for (let count = 0; count < 20; count += 1) await isServed();
  expect(world.server.load().calls).toBe(readers);
  // Sixteen wait in gRPC's stream, not yet as bytes, and a few more are on their way.
  expect(taken.count()).toBeLessThanOrEqual(readers * readAhead);
  expect(process.memoryUsage.rss() - before).toBeLessThan(200 * 2 ** 20);
  for (const stream of streams.slice(1)) stream.close(constants.NGHTTP2_CANCEL);
  await until('their calls have ended', () => world.server.load().calls === 1);
  const untilNow = taken.count();
  // One changes its mind and reads: it gets all.
  const [changed] = streams;
  if (changed !== undefined) await once(changed.resume(), 'end');
  expect(taken.count() - untilNow).toBeGreaterThanOrEqual(crowd - readAhead);
  taken.stop();
  await until('all calls have ended', () => world.server.load().calls === 0);
  for (const session of sessions) session.destroy();
});

it('answers others while a filter is held against everything', async () => {
  // As long as filters may be, and as hard.
  const pattern = '(a|b|c)*r?'.repeat(100);
  const expensive = `${Array<string>(16_000).fill('parent==""').join()},name~=/^${pattern}z$/`;
  const order: string[] = [];
  // Connected before: how long that takes is another matter.
  const other = world.connect();
  await send(other, statBase);
  const listed = world.list({ filters: [expensive] }).then((infos) => {
    order.push('list');
    return infos;
  });
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
    const stream = client.list({ snapshotter: '', filters: ['name~=/^crowd-[0-4]$/'] });
    stream.on('error', () => undefined);
    streams.push(stream);
    for (let turn = 0; turn < round % 5; turn += 1) await breathe();
    for (const call of [...calls, stream]) call.cancel();
  }
  await until('their calls have ended', () => world.server.load().calls === 0);
  client.close();
  const late = (name: string): boolean => name.startsWith('cancelled-');
  const left = async () => (await world.list()).map(({ name }) => name).filter(late);
  // What was already promised may stay; what stays can be removed, and nothing is half there. What
  // nobody waited for any more goes by itself, perhaps in this moment.
  for (const key of await left()) {
    const { code } = await world.call('remove', { snapshotter: '', key });
    expect(['OK', 'NOT_FOUND']).toContain(code);
  }
  await until('none is left', async () => (await left()).length === 0);
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
