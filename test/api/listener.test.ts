/**
 * Goal: the socket file is right from the first moment, nobody's clients are stolen, and nobody
 * can wear the daemon out with connections. Method: real unix sockets and processes.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { lstat, readdir, symlink, writeFile, rm } from 'node:fs/promises';
import { createConnection, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { listen, type Listener, type ListenerOptions } from '../../src/api/grpc/listener.js';
import { UsageError, HostFault } from '../../src/base/errors.js';
import { aDirectory, cleanUp, later } from './rig.js';

afterEach(cleanUp);

async function aListener(
  options: Partial<ListenerOptions> & Pick<ListenerOptions, 'target'>,
): Promise<Listener & { readonly sockets: Socket[]; readonly dropped: string[] }> {
  const sockets: Socket[] = [];
  const dropped: string[] = [];
  const listener = await listen({
    connectionsMax: 8,
    prefaceMillis: 60_000,
    callerOf: () => ({ pid: 7, uid: 8 }),
    onConnection: (socket) => {
      sockets.push(socket);
      socket.resume();
    },
    onDropped: (reason) => dropped.push(reason),
    ...options,
  });
  later(async () => {
    await listener.close();
    for (const socket of sockets) socket.destroy();
  });
  return { ...listener, sockets, dropped };
}

async function connected(path: string): Promise<Socket> {
  const socket = createConnection({ path });
  later(() => {
    socket.destroy();
  });
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  return socket;
}

/** A socket file whose process was killed, as a crash leaves it. */
async function aStaleSocket(path: string): Promise<void> {
  const child = spawn(process.execPath, [
    '-e',
    `require('net').createServer().listen(${JSON.stringify(path)}, () => process.stdout.write('up'))`,
  ]);
  await once(child.stdout, 'data');
  child.kill('SIGKILL');
  await once(child, 'exit');
}

test('the socket is 0600, and nothing else is left beside it', async () => {
  const directory = await aDirectory();
  const path = join(directory, 'deep', 'er', 's.sock');
  await aListener({ target: { path } });
  const found = await lstat(path);
  expect(found.isSocket()).toBe(true);
  expect(found.mode & 0o777).toBe(0o600);
  expect(await readdir(join(directory, 'deep', 'er'))).toEqual(['s.sock']);
  await connected(path);
});

test('mode and owner are as configured, under any umask', async () => {
  const path = join(await aDirectory(), 's.sock');
  const umask = process.umask(0o077);
  try {
    await aListener({ target: { path, mode: 0o660, uid: 1234, gid: 2345 } });
  } finally {
    process.umask(umask);
  }
  const found = await lstat(path);
  expect([found.mode & 0o777, found.uid, found.gid]).toEqual([0o660, 1234, 2345]);
});

test('the socket file is never visible with another mode, nor before it answers', async () => {
  const path = join(await aDirectory(), 's.sock');
  const seen = new Set<string>();
  const watcher = new AbortController();
  const watching = (async () => {
    while (!watcher.signal.aborted) {
      const found = await lstat(path).catch(() => null);
      if (found === null) continue;
      seen.add((found.mode & 0o777).toString(8));
      const socket = createConnection({ path });
      const [outcome] = await Promise.race([
        once(socket, 'connect').then(() => ['connected']),
        once(socket, 'error') as Promise<[Error]>,
      ]);
      // It may be gone or closed again by now, but it must not be there and refuse.
      if (outcome instanceof Error) expect(outcome.message).toMatch(/ENOENT|ECONNRESET/);
      socket.on('error', () => undefined).destroy();
    }
  })();
  for (let round = 0; round < 30; round += 1) {
    const listener = await aListener({ target: { path, mode: 0o640 }, connectionsMax: 10_000 });
    await delay(2);
    await listener.close();
  }
  watcher.abort();
  await watching;
  expect([...seen]).toEqual(['640']);
});

test('a stale socket file is replaced', async () => {
  const path = join(await aDirectory(), 's.sock');
  await aStaleSocket(path);
  const before = await lstat(path);
  await aListener({ target: { path } });
  expect((await lstat(path)).ino).not.toBe(before.ino);
  await connected(path);
});

test('a socket that answers is refused by name, and goes on answering', async () => {
  const path = join(await aDirectory(), 's.sock');
  const other = createServer((socket) => socket.on('error', () => undefined).end('other'));
  later(() => {
    other.close();
  });

  other.listen(path);
  await once(other, 'listening');
  const refused = aListener({ target: { path } });
  await expect(refused).rejects.toThrow(UsageError);
  await expect(refused).rejects.toThrow(`another process serves ${path}`);
  const socket = createConnection({ path });
  const [data] = (await once(socket, 'data')) as [Buffer];
  expect(data.toString()).toBe('other');
});

test('a file or a symbolic link in the way is named and left alone', async () => {
  const directory = await aDirectory();
  const file = join(directory, 'file');
  await writeFile(file, 'precious');
  await symlink(file, join(directory, 'link'));
  for (const name of ['file', 'link']) {
    const refused = aListener({ target: { path: join(directory, name) } });
    await expect(refused).rejects.toThrow(`${join(directory, name)} exists and is not a socket`);
  }
  expect((await readdir(directory)).sort()).toEqual(['file', 'link']);
});

test('a path that a unix socket cannot have is refused before anything is made', async () => {
  const directory = await aDirectory();
  const path = join(directory, 'x'.repeat(108 - directory.length));
  await expect(aListener({ target: { path } })).rejects.toThrow(/too long.*107 bytes/);
  const fits = join(directory, 'y'.repeat(106 - directory.length));
  expect(Buffer.byteLength(fits)).toBe(107);
  await aListener({ target: { path: fits } });
  await connected(fits);
});

test('a directory that cannot be made is a host fault with its errno', async () => {
  const directory = await aDirectory();
  await writeFile(join(directory, 'file'), '');
  const refused = aListener({ target: { path: join(directory, 'file', 's.sock') } });
  await expect(refused).rejects.toThrow(HostFault);
  await expect(refused).rejects.toThrow(/ENOTDIR|EEXIST/);
});

test('close unlinks the socket', async () => {
  const path = join(await aDirectory(), 's.sock');
  const listener = await aListener({ target: { path } });
  await listener.close();
  await expect(lstat(path)).rejects.toThrow('ENOENT');
});

test("close leaves a successor's socket alone", async () => {
  const path = join(await aDirectory(), 's.sock');
  const first = await aListener({ target: { path } });
  await rm(path);
  await aListener({ target: { path } });
  await first.close();
  await connected(path);
});

/** As much as a client says before its first call. */
async function speaking(path: string, listener: { readonly sockets: Socket[] }): Promise<Socket> {
  const socket = await connected(path);
  socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'.padEnd(33, '\0'));
  await expect.poll(() => listener.sockets.at(-1)?.bytesRead).toBe(33);
  return socket;
}

test('connections above the limit are closed, and there is room again when one leaves', async () => {
  const path = join(await aDirectory(), 's.sock');
  const listener = await aListener({ target: { path }, connectionsMax: 2 });
  const first = await speaking(path, listener);
  await speaking(path, listener);
  const third = await connected(path);
  await once(third, 'close');
  expect(listener.dropped).toEqual(['too many connections']);
  expect(listener.connections()).toBe(2);
  first.destroy();
  await expect.poll(() => listener.connections()).toBe(1);
  const fourth = await connected(path);
  await delay(50);
  expect(fourth.closed).toBe(false);
  expect(listener.connections()).toBe(2);
});

test('above the limit, the one that has been silent for longest makes room', async () => {
  const path = join(await aDirectory(), 's.sock');
  const listener = await aListener({ target: { path }, connectionsMax: 3 });
  const first = await speaking(path, listener);
  const second = await connected(path);
  const third = await connected(path);
  await expect.poll(() => listener.connections()).toBe(3);
  const fourth = await speaking(path, listener);
  await expect.poll(() => second.closed).toBe(true);
  expect(listener.dropped).toEqual(['no HTTP/2 preface']);
  const fifth = await speaking(path, listener);
  await expect.poll(() => third.closed).toBe(true);
  const sixth = await connected(path);
  await expect.poll(() => sixth.closed).toBe(true);
  expect(listener.dropped.at(-1)).toBe('too many connections');
  expect([first, fourth, fifth].map((socket) => socket.closed)).toEqual([false, false, false]);
  expect(listener.connections()).toBe(3);
});

test('each connection leads to its caller while it is open', async () => {
  const path = join(await aDirectory(), 's.sock');
  let pid = 100;
  const listener = await aListener({ target: { path }, callerOf: () => ({ pid: pid++, uid: 0 }) });
  const one = await connected(path);
  await connected(path);
  await expect.poll(() => listener.sockets.length).toBe(2);
  const peers = listener.sockets.map((socket) => socket.remoteAddress ?? '');
  expect(peers.map((peer) => listener.callerByPeer(peer)?.pid)).toEqual([100, 101]);
  one.destroy();
  await expect.poll(() => listener.callerByPeer(peers[0] ?? '')).toBeNull();
});

test('a socket passed by systemd is served and its file is not unlinked', async () => {
  const path = join(await aDirectory(), 's.sock');
  const program = `
    const { listen } = await import('./src/api/grpc/listener.ts');
    const listener = await listen({ target: { fd: 3 }, connectionsMax: 4, prefaceMillis: 1000,
      callerOf: () => null, onConnection: (socket) => socket.end('by descriptor') });
    process.once('SIGTERM', () => void listener.close().then(() => process.exit(0)));`;
  const node = [process.execPath, '--import', 'tsx', '--input-type=module', '-e', program];
  const child = spawn('systemd-socket-activate', ['--listen', path, ...node], { stdio: 'pipe' });
  later(() => {
    child.kill('SIGKILL');
  });
  const complaints: string[] = [];
  child.stderr.on('data', (data: Buffer) => complaints.push(data.toString()));
  await expect.poll(() => lstat(path).catch(() => null)).not.toBeNull();
  for (let round = 0; round < 2; round += 1) {
    const socket = createConnection({ path });
    const [data] = (await once(socket, 'data')) as [Buffer];
    expect(data.toString(), complaints.join('')).toBe('by descriptor');
  }
  child.kill('SIGTERM');
  expect(await once(child, 'exit')).toEqual([0, null]);
  expect((await lstat(path)).isSocket()).toBe(true);
});
