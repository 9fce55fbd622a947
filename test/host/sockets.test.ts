import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import * as net from 'node:net';
import { once } from 'node:events';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { passedSockets, peerCredentials } from '../../src/host/process/sockets.js';
import { temporaryDirectory } from './support.js';
import type { TemporaryDirectory } from './support.js';

let directory: TemporaryDirectory;
beforeEach(() => {
  directory = temporaryDirectory();
});
afterEach(() => {
  directory.remove();
});

async function accepted(server: net.Server): Promise<net.Socket> {
  const [socket] = (await once(server, 'connection')) as [net.Socket];
  return socket;
}

test('tells pid, uid and gid of the process that connected', async () => {
  const path = `${directory.path}/socket`;
  fs.chmodSync(directory.path, 0o755);
  const server = net.createServer().listen(path);
  await once(server, 'listening');
  fs.chmodSync(path, 0o666);
  const script = `require('net').connect(${JSON.stringify(path)}).resume()`;
  const child = spawn(process.execPath, ['-e', script], { uid: 65534, gid: 65533 });
  const socket = await accepted(server);
  expect(peerCredentials(socket)).toEqual({ pid: child.pid, uid: 65534, gid: 65533 });
  child.kill('SIGKILL');
  await once(child, 'exit');
  socket.destroy();
  expect(peerCredentials(socket)).toBeNull();
  server.close();
});

test('a TCP peer has no credentials', async () => {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address() as net.AddressInfo;
  const client = net.connect(address.port, '127.0.0.1');
  const socket = await accepted(server);
  expect(peerCredentials(socket)).toBeNull();
  socket.destroy();
  client.destroy();
  server.close();
});

test('no sockets are passed without the variables, or with those of another process', () => {
  expect(passedSockets({}, 10)).toEqual([]);
  expect(passedSockets({ LISTEN_FDS: '1', LISTEN_PID: '11' }, 10)).toEqual([]);
  expect(passedSockets({ LISTEN_FDS: '0', LISTEN_PID: '10' }, 10)).toEqual([]);
  expect(passedSockets({ LISTEN_FDS: 'x', LISTEN_PID: '10' }, 10)).toEqual([]);
});

test('takes over the sockets that a service manager passes', async () => {
  const path = `${directory.path}/passed`;
  const server = net.createServer().listen(path);
  await once(server, 'listening');
  // Node shows the descriptor of a server on its handle only.
  const { fd } = Reflect.get(server, '_handle') as { fd: number };
  const fixture = new URL('./fixtures/takes-passed-sockets.ts', import.meta.url).pathname;
  const child = spawn(process.execPath, ['--import', 'tsx', fixture], {
    stdio: ['ignore', 'pipe', 'inherit', fd],
  });
  let output = '';
  child.stdout?.on('data', (chunk: Buffer) => (output += chunk.toString()));
  await once(child, 'exit');
  server.close();
  expect(JSON.parse(output)).toEqual({
    passed: [{ fd: 3, name: 'stratalog.sock' }],
    flags: 'close-on-exec',
  });
});
