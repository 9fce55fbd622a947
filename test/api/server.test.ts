/**
 * Goal: calls reach their handlers with their caller, limits hold, and a stop is orderly.
 * Method: real gRPC clients on a real socket.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createConnection } from 'node:net';
import { lstat } from 'node:fs/promises';
import { connect as connectHttp2 } from 'node:http2';
import { setTimeout as delay } from 'node:timers/promises';
import { Metadata, status, type ServiceError } from '@grpc/grpc-js';
import { afterEach, expect, test } from 'vitest';
import { callerOf, type Caller } from '../../src/api/grpc/callers.js';
import { Kind } from '../../src/api/generated/containerd/services/snapshots/v1/snapshots.js';
import { HealthCheckResponse_ServingStatus as Serving } from '../../src/api/generated/grpc/health/v1/health.js';
import { snapshotsServiceName } from '../../src/api/grpc/health.js';
import { aServer, asked, cleanUp } from './rig.js';

afterEach(cleanUp);

const stat = { snapshotter: '', key: 'a' };

test('a call is answered, and counted with its method, code and duration', async () => {
  const rig = await aServer({
    usage: (_call, callback) => callback(null, { size: 2n ** 53n + 1n, inodes: 1n }),
    stat: (_call, callback) => callback({ code: status.NOT_FOUND, details: 'a: not found' }),
  });
  const client = rig.snapshots();
  const usage = await asked((done) => client.usage({ snapshotter: 'x', key: 'a' }, done));
  expect(usage).toEqual({ size: 2n ** 53n + 1n, inodes: 1n });
  await expect(asked((done) => client.stat(stat, done))).rejects.toMatchObject({
    code: status.NOT_FOUND,
    details: 'a: not found',
  });
  await expect(asked((done) => client.cleanup(stat, done))).rejects.toMatchObject({
    code: status.UNIMPLEMENTED,
  });
  expect(rig.ends.map((end) => [end.service, end.method, end.code])).toEqual([
    [snapshotsServiceName, 'Usage', 'OK'],
    [snapshotsServiceName, 'Stat', 'NotFound'],
    [snapshotsServiceName, 'Cleanup', 'Unimplemented'],
  ]);
  for (const end of rig.ends) expect(end.seconds).toBeGreaterThan(0);
  expect(rig.server.load()).toEqual({ connections: 1, calls: 0 });
});

test('a call knows its caller, also after the client has left', async () => {
  const seen: (Caller | null)[] = [];
  let pid = 41;
  const rig = await aServer(
    {
      stat: (call) => {
        setTimeout(() => seen.push(callerOf(call)), 100);
      },
    },
    { callerOf: () => ({ pid: ++pid, uid: 1000 }) },
  );
  const one = rig.snapshots();
  const two = rig.snapshots();
  one.stat(stat, () => undefined);
  await expect.poll(() => rig.server.load().calls).toBe(1);
  one.close();
  two.stat(stat, () => undefined);
  await expect.poll(() => seen.length).toBe(2);
  // Two clients of one process share a connection unless they say otherwise; both have a caller.
  for (const caller of seen) expect(caller?.uid).toBe(1000);
});

test('the caller is the process that connected', async () => {
  let seen: Caller | null = null;
  const rig = await aServer({
    stat: (call, callback) => {
      seen = callerOf(call);
      callback({ code: status.NOT_FOUND });
    },
  });
  await asked((done) => rig.snapshots().stat(stat, done)).catch(() => undefined);
  expect(seen).toMatchObject({ pid: process.pid, uid: process.getuid?.() });
  const program = `
    const { SnapshotsClient } = await import(
      './src/api/generated/containerd/services/snapshots/v1/snapshots.ts');
    const { credentials } = await import('@grpc/grpc-js');
    const client = new SnapshotsClient('unix:${rig.path}', credentials.createInsecure());
    client.stat({ snapshotter: '', key: 'a' }, () => client.close());`;
  const node = ['--import', 'tsx', '--input-type=module', '-e', program];
  const child = spawn(process.execPath, node, { stdio: 'inherit' });
  expect(await once(child, 'exit')).toEqual([0, null]);
  expect(seen).toMatchObject({ pid: child.pid, uid: process.getuid?.() });
});

test('nothing that a client sends changes who it is', async () => {
  let seen: Caller | null = null;
  const rig = await aServer({
    stat: (call, callback) => {
      seen = callerOf(call);
      callback({ code: status.NOT_FOUND });
    },
  });
  const session = connectHttp2('http://localhost', {
    createConnection: () => createConnection({ path: rig.path }),
  });
  const call = session.request({
    ':method': 'POST',
    ':path': `/${snapshotsServiceName}/Stat`,
    'content-type': 'application/grpc',
    te: 'trailers',
    ':authority': 'unix:connection-77',
    forwarded: 'for=unix:connection-77',
    'x-forwarded-for': 'unix:connection-77',
  });
  call.end(Buffer.from([0, 0, 0, 0, 0]));
  call.resume();
  await once(call, 'close');
  session.close();
  expect(seen).toMatchObject({ pid: process.pid });
});

test('List streams, and its end is counted once', async () => {
  const rig = await aServer({
    list: (call) => {
      for (let index = 0; index < 3; index += 1) {
        const info = {
          name: `n${index}`,
          parent: '',
          kind: Kind.COMMITTED,
          createdAt: { seconds: 1n, nanos: 999_999_999 },
          updatedAt: { seconds: 1n, nanos: 1 },
          labels: new Map([['__proto__', 'x']]),
        };
        call.write({ info: [info] });
      }
      call.end();
    },
  });
  const names: string[] = [];
  const stream = rig.snapshots().list({ snapshotter: '', filters: [] });
  stream.on('data', (message: { info: { name: string; labels: Map<string, string> }[] }) => {
    for (const info of message.info) {
      names.push(info.name);
      expect(info.labels.get('__proto__')).toBe('x');
    }
  });
  await once(stream, 'end');
  expect(names).toEqual(['n0', 'n1', 'n2']);
  await expect.poll(() => rig.ends.map((end) => [end.method, end.code])).toEqual([['List', 'OK']]);
});

test('a cancelled call and an expired deadline are counted as such', async () => {
  const rig = await aServer({ stat: () => undefined });
  const client = rig.snapshots();
  const cancelled = client.stat(stat, new Metadata(), { deadline: Date.now() + 60_000 }, () => {
    // Its outcome is the client's; counted is what the server saw.
  });
  await expect.poll(() => rig.server.load().calls).toBe(1);
  cancelled.cancel();
  await expect.poll(() => rig.ends.map((end) => end.code)).toEqual(['Canceled']);
  const late = asked((done) =>
    client.stat(stat, new Metadata(), { deadline: Date.now() + 300 }, done),
  );
  await expect(late).rejects.toMatchObject({ code: status.DEADLINE_EXCEEDED });
  await expect
    .poll(() => rig.ends.map((end) => end.code))
    .toEqual(['Canceled', 'DeadlineExceeded']);
});

test('half a character at the end of a message does not take the server down', async () => {
  const rig = await aServer({
    stat: (_call, callback) => callback({ code: status.NOT_FOUND, details: 'key \ud83d' }),
    usage: (_call, callback) => callback({ code: status.INTERNAL, details: 'x'.repeat(1 << 20) }),
  });
  const client = rig.snapshots();
  await expect(asked((done) => client.stat(stat, done))).rejects.toMatchObject({
    code: status.NOT_FOUND,
    details: 'key \ufffd',
  });
  const long = await asked((done) => client.usage(stat, done)).catch((e: unknown) => e);
  expect((long as ServiceError).code).toBe(status.INTERNAL);
  expect((long as ServiceError).details.length).toBe(4096);
});

test('a request of 16 MiB is refused, one just below is served', async () => {
  const rig = await aServer({ stat: (_call, callback) => callback(null, { info: undefined }) });
  const client = rig.snapshots();
  const ask = (bytes: number): Promise<unknown> =>
    asked((done) => client.stat({ snapshotter: '', key: 'k'.repeat(bytes) }, done));
  await ask(16 * 1024 * 1024 - 64);
  await expect(ask(16 * 1024 * 1024)).rejects.toMatchObject({ code: status.RESOURCE_EXHAUSTED });
});

test('calls above the limit of one connection wait, they do not fail', async () => {
  let running = 0;
  let most = 0;
  const rig = await aServer(
    {
      stat: (_call, callback) => {
        running += 1;
        most = Math.max(most, running);
        setTimeout(() => {
          running -= 1;
          callback(null, { info: undefined });
        }, 20);
      },
    },
    { limits: { concurrentCalls: 4 } },
  );
  const client = rig.snapshots();
  await asked((done) => client.stat(stat, done));
  await Promise.all(Array.from({ length: 20 }, () => asked((done) => client.stat(stat, done))));
  expect(most).toBe(4);
});

test('a connection that does not begin to speak HTTP/2 is closed, one that does stays', async () => {
  const rig = await aServer({}, { limits: { prefaceMillis: 150 } });
  const silent = createConnection({ path: rig.path });
  const magicOnly = createConnection({ path: rig.path });
  magicOnly.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  const speaking = connectHttp2('http://localhost', {
    createConnection: () => createConnection({ path: rig.path }),
  });
  silent.resume();
  magicOnly.resume();
  await Promise.all([once(silent, 'close'), once(magicOnly, 'close')]);
  expect(rig.warnings).toEqual(['connection closed: no HTTP/2 preface']);
  await delay(150);
  expect(speaking.closed).toBe(false);
  expect(rig.server.load().connections).toBe(1);
  speaking.destroy();
});

test('a flood of connections above the limit is one warning, and the number at the end', async () => {
  const rig = await aServer({}, { limits: { connections: 1 } });
  const first = connectHttp2('http://localhost', {
    createConnection: () => createConnection({ path: rig.path }),
  });
  // Its settings have been taken note of, so it is not silent.
  await once(first, 'localSettings');
  for (let count = 0; count < 200; count += 1) {
    const refused = createConnection({ path: rig.path });
    refused.on('error', () => undefined);
    refused.resume();
    await once(refused, 'close');
  }
  expect(rig.warnings).toEqual(['connection closed: too many connections']);
  first.destroy();
  await rig.server.stop(1_000);
  expect(rig.warnings).toEqual([
    'connection closed: too many connections',
    '199 more connections closed: too many connections',
  ]);
});

test('garbage in place of HTTP/2 closes that connection alone', async () => {
  const rig = await aServer({ stat: (_call, callback) => callback(null, { info: undefined }) });
  const garbage = createConnection({ path: rig.path });
  garbage.on('error', () => undefined);
  garbage.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
  garbage.resume();
  await once(garbage, 'close');
  await asked((done) => rig.snapshots().stat(stat, done));
});

test('a connection is let go of when its client has left after a fault of protocol', async () => {
  const rig = await aServer({}, { limits: { pingMillis: 200 } });
  const faulty = createConnection({ path: rig.path });
  faulty.on('error', () => undefined);
  // The magic, empty settings, and a frame that is longer than may be.
  faulty.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0');
  faulty.write(Buffer.alloc(9, 0xff));
  await once(faulty, 'data');
  expect(rig.server.load().connections).toBe(1);
  faulty.destroy();
  await expect.poll(() => rig.server.load().connections, { timeout: 10_000 }).toBe(0);
});

test('stop lets running calls finish, refuses new ones, and unlinks first', async () => {
  let finish: (() => void) | undefined;
  const rig = await aServer({
    stat: (_call, callback) => {
      finish = () => callback(null, { info: undefined });
    },
  });
  const running = asked((done) => rig.snapshots().stat(stat, done));
  await expect.poll(() => finish).toBeDefined();
  const stopped = rig.server.stop(10_000);
  await expect.poll(() => lstat(rig.path).catch(() => 'gone')).toBe('gone');
  await expect(
    asked((done) =>
      rig.snapshots().stat(stat, new Metadata(), { deadline: Date.now() + 2000 }, done),
    ),
  ).rejects.toMatchObject({ code: status.UNAVAILABLE });
  finish?.();
  await running;
  await stopped;
  expect(rig.server.load()).toEqual({ connections: 0, calls: 0 });
  expect(rig.warnings).toEqual([]);
});

test('stop ends what does not finish with Unavailable, and says so', async () => {
  const rig = await aServer({ stat: () => undefined });
  const stuck = asked((done) => rig.snapshots().stat(stat, done));
  const outcome = stuck.catch((thrown: unknown) => thrown as ServiceError);
  await expect.poll(() => rig.server.load().calls).toBe(1);
  await rig.server.stop(100);
  expect(await outcome).toMatchObject({
    code: status.UNAVAILABLE,
    details: 'the server is stopping',
  });
  expect(rig.warnings).toEqual([
    'ended 1 call on 1 connection still open 100 ms after the shutdown began',
  ]);
});

test('a health watcher is told of the stop and does not delay it', async () => {
  const rig = await aServer({});
  rig.health.setAll(true);
  const states: Serving[] = [];
  const watch = rig.healthClient().watch({ service: '' });
  watch.on('data', (message: { status: Serving }) => states.push(message.status));
  const failed = once(watch, 'error') as Promise<[ServiceError]>;
  await expect.poll(() => states).toEqual([Serving.SERVING]);
  // Longer than this test may take: a stop that waits for the watcher fails it.
  await rig.server.stop(600_000);
  expect((await failed)[0].code).toBe(status.UNAVAILABLE);
  expect(states).toEqual([Serving.SERVING, Serving.NOT_SERVING]);
});

test('connections on which nothing happens do not delay a stop', async () => {
  const rig = await aServer({ stat: (_call, callback) => callback(null, { info: undefined }) });
  await asked((done) => rig.snapshots().stat(stat, done));
  const silent = createConnection({ path: rig.path });
  silent.resume();
  await expect.poll(() => rig.server.load().connections).toBe(2);
  // Longer than this test may take: a stop that waits for them fails it.
  await Promise.all([rig.server.stop(600_000), once(silent, 'close')]);
  expect(rig.server.load()).toEqual({ connections: 0, calls: 0 });
});
