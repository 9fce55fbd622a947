/**
 * Goal: clients are accepted before the log is replayed and answered afterwards, and all limits apply
 * from the start. Method: the real daemon, blocked where it opens its log for writing; clients on real
 * sockets.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, truncateSync, writeFileSync } from 'node:fs';
import { connect as connectHttp2 } from 'node:http2';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { ActivatedDaemon } from '../../scripts/rig/activated-daemon.js';
import { answerOf, firstFrame, serves } from '../../scripts/rig/first-answer.js';
import { Workspace } from '../../scripts/rig/workspace.js';
import { systemClock } from '../../src/host/process/clock.js';
import { systemDisk } from '../../src/host/files/disk.js';
import { takeLock } from '../../src/log/root/lock.js';
import { holdStartup, type StartupHold } from '../support/startup-hold.js';
import {
  aRoot,
  buildLimitMillis,
  builtCli,
  cleanUp,
  cliPath,
  daemonStarted,
  jsonLines,
  later,
  stratalog,
} from './rig.js';

const code = { ok: 0, deadlineExceeded: 4, notFound: 5, unavailable: 14 };
const stat = '/containerd.services.snapshots.v1.Snapshots/Stat';
const list = '/containerd.services.snapshots.v1.Snapshots/List';
const getLog = '/stratalog.audit.v1.Audit/GetLog';
const check = '/grpc.health.v1.Health/Check';
const notServing = Buffer.from([8, 2]);

beforeAll(builtCli, buildLimitMillis);
afterEach(cleanUp);

let workspace: Workspace;
let root: string;

beforeEach(async () => {
  root = await aRoot([daemonStarted()]);
  workspace = await Workspace.create('stratalog-startup-');
  // Cleanups run in reverse order: the daemon exits before its root is removed.
  later(() => workspace.close());
});

interface Starting {
  readonly child: ChildProcess;
  readonly address: string;
  readonly messages: () => readonly string[];
}

function started(config = ''): Starting {
  const address = workspace.path('s.sock');
  const file = workspace.path('config.toml');
  writeFileSync(file, config);
  const flags = ['--config', file, '--root', root, '--address', address];
  const child = spawn(process.execPath, [cliPath, 'serve', ...flags], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, NOTIFY_SOCKET: workspace.path('notify.sock') },
  });
  let stderr = '';
  child.stderr.on('data', (bytes: Buffer) => (stderr += bytes.toString()));
  workspace.onClose(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  });
  const messages = () =>
    stderr
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => String(jsonLines(line)[0]?.['msg']));
  return { child, address, messages };
}

/** Receives sd_notify(3) messages. Uses Python because Node.js has no unix datagrams. */
async function aServiceManager(): Promise<{ readonly received: () => string }> {
  const program = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print('bound', flush=True)
while True: print(s.recv(4096).decode(), flush=True)`;
  const child = spawn('python3', ['-c', program, workspace.path('notify.sock')]);
  let text = '';
  child.stdout.on('data', (bytes: Buffer) => (text += bytes.toString()));
  workspace.onClose(async () => {
    child.kill('SIGKILL');
    await once(child, 'exit');
  });
  await expect.poll(() => text, { timeout: 30_000 }).toContain('bound');
  return { received: () => text };
}

/** A daemon that listens but whose startup is blocked. */
async function held(config?: string): Promise<Starting & { readonly hold: StartupHold }> {
  const hold = holdStartup(root);
  later(() => hold.release());
  const starting = started(config);
  await expect.poll(starting.messages, { timeout: 30_000 }).toContain('listening');
  return { ...starting, hold };
}

it('accepts calls before the log is open, reports NOT_SERVING, and answers them later', async () => {
  const manager = await aServiceManager();
  const { address, messages, hold, child } = await held();
  await firstFrame(address);
  expect((await answerOf(address, check)).message).toEqual(notServing);
  expect(await stratalog(['health', '--address', address])).toMatchObject({ code: 1 });
  const waiting = [stat, list, getLog].map((path) => answerOf(address, path));
  // This response would arrive after theirs.
  expect((await answerOf(address, check)).message).toEqual(notServing);
  expect(messages()).not.toContain('serving');
  await expect.poll(manager.received).toContain('STATUS=replaying the log');
  expect(manager.received()).not.toContain('READY=1');
  hold.release();
  const statuses = (await Promise.all(waiting)).map(({ status }) => status);
  // Stat of an empty key.
  expect(statuses).toEqual([code.notFound, code.ok, code.ok]);
  expect(await serves(address)).toBe(true);
  await expect.poll(manager.received).toContain('READY=1');
  await expect.poll(messages, { timeout: 30_000 }).toContain('recovered');
  child.kill('SIGTERM');
  expect(await once(child, 'exit')).toEqual([0, null]);
  expect(messages()).toEqual([
    'listening',
    'log replayed',
    'serving',
    'recovered',
    'stopping',
    'stopped',
  ]);
}, 60_000);

it('counts the wait against the budget of a call', async () => {
  const { address } = await held('[limits.budgets]\nread = "100ms"\n');
  expect((await answerOf(address, stat)).status).toBe(code.deadlineExceeded);
  expect((await answerOf(address, list)).status).toBe(code.deadlineExceeded);
}, 60_000);

it('serves after a waiting client has disconnected', async () => {
  const { address, hold } = await held();
  const session = connectHttp2('http://localhost', { createConnection: () => connect(address) });
  await once(session, 'connect');
  const call = session.request({
    ':method': 'POST',
    ':path': stat,
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  call.end(Buffer.alloc(5));
  // Same connection: the call has arrived when the ping is answered.
  await new Promise<void>((resolve, reject) =>
    session.ping((fault) => (fault === null ? resolve() : reject(fault))),
  );
  call.on('error', () => undefined);
  session.destroy();
  hold.release();
  await expect.poll(() => serves(address), { timeout: 30_000 }).toBe(true);
}, 60_000);

it('limits connections from the start: an active client replaces a silent one', async () => {
  const { address } = await held('[limits]\nconnections = 4\n');
  const silent: Socket[] = [];
  for (let number = 0; number < 4; number += 1) {
    const socket = connect(address);
    socket.on('error', () => undefined);
    later(() => socket.destroy());
    await once(socket, 'connect');
    silent.push(socket);
  }
  const closed = once(silent[0] as Socket, 'close');
  expect((await answerOf(address, check)).message).toEqual(notServing);
  silent[0]?.resume();
  await closed;
}, 60_000);

it.each(['SIGTERM', 'SIGINT'] as const)(
  '%s ends a hung startup and unlocks the root',
  async (signal) => {
    const { child, address, messages, hold } = await held('drain_timeout = "100ms"\n');
    const waiting = answerOf(address, stat).catch(() => null);
    child.kill(signal);
    expect(await once(child, 'exit')).toEqual([0, null]);
    await waiting;
    expect(messages()).toContain('stopping before startup is complete');
    expect(messages()).not.toContain('serving');
    hold.release();
    const next = started();
    await expect.poll(() => serves(next.address), { timeout: 30_000 }).toBe(true);
  },
  60_000,
);

it('SIGTERM ends a replay', async () => {
  // Many small records.
  root = await aRoot(Array.from({ length: 1_000 }, () => daemonStarted()));
  const { child, address, messages } = started();
  await expect.poll(messages, { timeout: 30_000 }).toContain('listening');
  child.kill('SIGTERM');
  expect(await once(child, 'exit')).toEqual([0, null]);
  // The root is unlocked and sound.
  expect(messages().at(-1)).toBe('stopped');
  const verified = await stratalog(['verify', '--root', root]);
  expect(verified).toMatchObject({ code: 0 });
  expect(await serves(address)).toBe(false);
}, 60_000);

it('a refused startup fails the calls waiting on the socket, with the reason', async () => {
  const [segment = ''] = readdirSync(join(root, 'log')).filter((name) => name.endsWith('.seg'));
  truncateSync(join(root, 'log', segment), 100);
  const command = [process.execPath, cliPath, 'serve', '--config', '/dev/null'] as const;
  const daemon = new ActivatedDaemon({ workspace, command, root });
  const call = answerOf(daemon.address, stat);
  daemon.start();
  const { status, details } = await call;
  expect(status).toBe(code.unavailable);
  expect(details).toMatch(/^the daemon cannot start: the log is damaged/);
  await expect
    .poll(() => daemon.log(), { timeout: 30_000 })
    .toContain('stratalog: the log is damaged');
}, 60_000);

it('a startup on a locked root leaves the waiting calls to the next one', async () => {
  const lock = await takeLock(systemDisk(), systemClock(), root, {
    pid: process.pid,
    host: 'here',
    command: 'test',
  });
  later(() => lock.release());
  const command = [process.execPath, cliPath, 'serve', '--config', '/dev/null'] as const;
  const daemon = new ActivatedDaemon({ workspace, command, root });
  const call = answerOf(daemon.address, stat);
  daemon.start();
  await expect.poll(() => daemon.log(), { timeout: 30_000 }).toContain('is in use');
  await lock.release();
  expect((await call).status).toBe(code.notFound);
}, 60_000);
