/** Goal: health distinguishes a running, a stopped and a hung daemon, with specific messages. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeAll, expect, it } from 'vitest';
import { until } from '../../scripts/rig/wait.js';
import {
  aDaemon,
  aDirectory,
  builtCli,
  buildLimitMillis,
  cleanUp,
  jsonLines,
  started,
  stratalog,
} from './rig.js';

beforeAll(builtCli, buildLimitMillis);
afterEach(cleanUp);

const snapshots = 'containerd.services.snapshots.v1.Snapshots';
const audit = 'stratalog.audit.v1.Audit';

it('shows and watches the health of a running daemon, and detects its exit', async () => {
  const daemon = await aDaemon();
  const all = await stratalog(['health', '-a', daemon.address, '--json']);
  expect(all).toMatchObject({ code: 0, stderr: '' });
  expect(jsonLines(all.stdout)).toEqual(
    ['', 'clients', snapshots, 'directories', 'log', 'mounts', audit].map((service) => ({
      ...{ schema: 'stratalog.health/v1', service, status: 'SERVING', reasons: [] },
    })),
  );
  const one = await stratalog(['health', '--service', 'log'], {
    STRATALOG_ADDRESS: daemon.address,
  });
  expect(one).toMatchObject({ code: 0, stdout: 'SERVICE   STATUS\nlog       SERVING\n' });
  const unknown = await stratalog(['health', '-a', daemon.address, '--service', 'x']);
  expect(unknown).toMatchObject({ code: 1, stdout: '' });
  expect(unknown.stderr).toContain('omit --service to list all services');

  const watching = started(['health', '--watch', '-a', daemon.address, '--service', 'log']);
  await until('the first status is shown', () => watching.lines().length === 1);
  expect(watching.lines()[0]).toMatch(/^\d{4}-.*Z {2}log {2}SERVING$/);
  await daemon.crash();
  expect(await watching.ended).toBe(1);

  const dead = await stratalog(['health', '-a', daemon.address]);
  expect(dead).toMatchObject({ code: 1, stdout: '' });
  expect(dead.stderr).toContain(`cannot connect to ${daemon.address}: connection refused`);
}, 60_000);

it.each(['SIGINT', 'SIGTERM'] as const)('ends a watch at once on %s', async (signal) => {
  const daemon = await aDaemon();
  const watching = started(['health', '--watch', '-a', daemon.address]);
  await until('every status is shown', () => watching.lines().length === 7);
  watching.child.kill(signal);
  // Open streams would keep the process alive for a minute, longer than this waits.
  await until('the watch has ended', () => watching.child.exitCode !== null);
  expect(await watching.ended).toBe(0);
});

it('reports a missing socket', async () => {
  const address = join(await aDirectory(), 'none.sock');
  const { code, stdout, stderr } = await stratalog(['health', '-a', address]);
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  expect(stderr).toBe(
    `stratalog: cannot connect to ${address}: socket does not exist; start the daemon, or give its socket with --address\n`,
  );
});

it('times out on a server that never responds', async () => {
  const address = join(await aDirectory(), 'silent.sock');
  const server: Server = createServer((socket) => void socket.on('error', () => undefined));
  server.listen(address);
  await once(server, 'listening');
  try {
    const { code, stderr } = await stratalog(['health', '-a', address, '--timeout', '300ms']);
    expect(code).toBe(1);
    expect(stderr).toContain(`no response from ${address} within 300 ms`);
  } finally {
    server.close();
  }
});

it('refuses an invalid time limit', async () => {
  const { code, stderr } = await stratalog(['health', '--timeout', 'soon']);
  expect(code).toBe(2);
  expect(stderr).toContain('--timeout "soon": not a duration; use for example 5s or 500ms');
});
