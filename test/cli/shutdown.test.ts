/**
 * Goal: a signal ends the process regardless of its clients. Method: the real daemon with a short
 * drain timeout, and misbehaving clients; the test waits for the exit of the process.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect as connectHttp2, type ClientHttp2Session } from 'node:http2';
import { connect, type Socket } from 'node:net';
import { afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { serves } from '../../scripts/rig/first-answer.js';
import { Workspace } from '../../scripts/rig/workspace.js';
import { buildLimitMillis, builtCli, cleanUp, cliPath, later } from './rig.js';

beforeAll(builtCli, buildLimitMillis);
afterEach(cleanUp);

const preface = Buffer.concat([
  Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]),
]);
const ping = Buffer.from([0, 0, 8, 6, 0, 0, 0, 0, 0, ...Buffer.alloc(8)]);

let workspace: Workspace;
let address: string;

beforeEach(async () => {
  workspace = await Workspace.create('stratalog-shutdown-');
  later(() => workspace.close());
  address = workspace.path('s.sock');
});

async function served(drain = '500ms'): Promise<ChildProcess> {
  const file = workspace.path('config.toml');
  const settings = [
    `drain_timeout = "${drain}"`,
    `metrics_address = "${workspace.path('metrics.sock')}"`,
    `debug_address = "${workspace.path('debug.sock')}"`,
  ];
  writeFileSync(file, `${settings.join('\n')}\n`);
  const paths = ['--root', workspace.path('root'), '--address', address];
  const child = spawn(process.execPath, [cliPath, 'serve', '--config', file, ...paths], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  workspace.onClose(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  });
  await expect.poll(() => serves(address), { timeout: 30_000 }).toBe(true);
  return child;
}

async function connected(path: string, allowHalfOpen = false): Promise<Socket> {
  const socket = connect({ path, allowHalfOpen });
  socket.on('error', () => undefined);
  later(() => socket.destroy());
  await once(socket, 'connect');
  return socket;
}

async function http2(): Promise<ClientHttp2Session> {
  const session = connectHttp2('http://localhost', { createConnection: () => connect(address) });
  session.on('error', () => undefined);
  later(() => session.destroy());
  await once(session, 'connect');
  return session;
}

function callOn(session: ClientHttp2Session, path: string) {
  const call = session.request({
    ':method': 'POST',
    ':path': path,
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  call.on('error', () => undefined);
  return call;
}

/** Resolves when the server has received everything sent before. */
const reached = (session: ClientHttp2Session): Promise<void> =>
  new Promise((resolve, reject) => {
    session.ping((fault) => (fault === null ? resolve() : reject(fault)));
  });

const subscribe = '/stratalog.audit.v1.Audit/Subscribe';
const stat = '/containerd.services.snapshots.v1.Snapshots/Stat';

const clients: Readonly<Record<string, () => Promise<unknown>>> = {
  'sends nothing': () => connected(address),
  'sends its preface, and neither reads nor closes': async () => {
    const socket = await connected(address);
    socket.write(preface);
    socket.pause();
  },
  'half-closes its connection': async () => {
    const socket = await connected(address, true);
    socket.end(preface);
    socket.resume();
  },
  'never closes its side': async () => {
    const socket = await connected(address, true);
    socket.write(preface);
    socket.resume();
  },
  'has an open call whose request never ends': async () => {
    const session = await http2();
    callOn(session, stat).write(Buffer.from([0, 0, 0, 1, 0]));
    await reached(session);
  },
  'subscribes to a stream and does not read it': async () => {
    const session = await http2();
    const call = callOn(session, subscribe);
    call.pause();
    call.end(Buffer.alloc(5));
    await reached(session);
  },
  'floods the server with pings and does not read': async () => {
    const socket = await connected(address);
    socket.write(preface);
    socket.pause();
    const flood = Buffer.concat(Array.from({ length: 1000 }, () => ping));
    const more = (): void => {
      while (!socket.destroyed && socket.write(flood));
      if (!socket.destroyed) socket.once('drain', () => setImmediate(more));
    };
    more();
  },
  'keeps calling and ignores GOAWAY': async () => {
    const session = await http2();
    const more = (): void => {
      if (session.destroyed) return;
      for (let number = 0; number < 20 && !session.closed; number += 1) {
        callOn(session, stat).end(Buffer.alloc(5));
      }
      setImmediate(more);
    };
    more();
    await reached(session);
  },
  'keeps reconnecting': async () => {
    let isOver = false;
    later(() => (isOver = true));
    const more = (): void => {
      if (isOver) return;
      const socket = connect(address);
      socket.on('error', () => undefined);
      socket.write(preface);
      later(() => socket.destroy());
      socket.once('close', more);
    };
    for (let number = 0; number < 20; number += 1) more();
    await connected(address);
  },
  'has sent half a request for metrics': async () => {
    const socket = await connected(workspace.path('metrics.sock'), true);
    socket.write('GET /metrics HTTP/1.1\r\n');
  },
  'keeps its connection to the metrics endpoint': async () => {
    const socket = await connected(workspace.path('metrics.sock'), true);
    socket.write('GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await once(socket, 'data');
    socket.pause();
  },
  'waits for a profile': () => {
    const path = '/debug/profile?seconds=300';
    const call = request({ socketPath: workspace.path('debug.sock'), path });
    call.on('error', () => undefined);
    later(() => call.destroy());
    call.end();
    return once(call, 'finish');
  },
};

it.each(Object.entries(clients))(
  'exits when a client %s',
  async (_what, client) => {
    const child = await served();
    await client();
    child.kill('SIGTERM');
    expect(await once(child, 'exit')).toEqual([0, null]);
  },
  60_000,
);

it('exits with all of them connected, on SIGINT', async () => {
  const child = await served();
  for (const client of Object.values(clients)) await client();
  child.kill('SIGINT');
  expect(await once(child, 'exit')).toEqual([0, null]);
}, 90_000);

it('exits when a client process is stopped with open calls', async () => {
  const child = await served();
  const program = `
    const session = require('node:http2').connect('http://localhost', {
      createConnection: () => require('node:net').connect(process.argv[1]),
    });
    for (const path of ['${subscribe}', '${stat}']) {
      const call = session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' });
      call.on('error', () => undefined);
      if (path === '${stat}') call.write(Buffer.from([0, 0, 0, 1, 0])); else call.end(Buffer.alloc(5));
    }
    session.ping(() => console.log('reached'));`;
  const client = spawn(process.execPath, ['-e', program, address]);
  workspace.onClose(async () => {
    client.kill('SIGKILL');
    await once(client, 'exit');
  });
  await once(client.stdout, 'data');
  client.kill('SIGSTOP');
  child.kill('SIGTERM');
  expect(await once(child, 'exit')).toEqual([0, null]);
}, 60_000);

it.each([
  ['SIGTERM', 'SIGTERM'],
  ['SIGTERM', 'SIGINT'],
  ['SIGINT', 'SIGTERM'],
] as const)(
  'exits at once on a second signal: %s, then %s',
  async (first, second) => {
    const child = await served('1h');
    const session = await http2();
    callOn(session, stat).write(Buffer.from([0, 0, 0, 1, 0]));
    await reached(session);
    let stderr = '';
    child.stderr?.on('data', (bytes: Buffer) => (stderr += bytes.toString()));
    child.kill(first);
    await expect.poll(() => stderr, { timeout: 30_000 }).toContain('"msg":"stopping"');
    child.kill(second);
    expect(await once(child, 'exit')).toEqual([null, second]);
  },
  60_000,
);
