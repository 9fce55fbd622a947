/**
 * Goal: snapshots of a running client are protected from other clients on the same socket, and can be
 * taken over after it exits. Method: the built daemon and clients as real processes.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { status } from '@grpc/grpc-js';
import { afterEach, beforeAll, expect, it, vi } from 'vitest';
import { Daemon, type DaemonOptions } from '../../scripts/rig/daemon.js';
import { Workspace } from '../../scripts/rig/workspace.js';
import { TARGET_LABEL } from '../../src/base/target-label.js';
import { makeLayerStore } from '../faults/layers.js';
import { ClientProcess } from '../support/client-process.js';
import { builtCli, buildLimitMillis, jsonLines, stratalog } from './rig.js';

/** Each test starts several programs. */
vi.setConfig({ testTimeout: 120_000 });

beforeAll(builtCli, buildLimitMillis);

let workspace: Workspace | undefined;
const clients: ClientProcess[] = [];

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.kill()));
  await workspace?.close();
  workspace = undefined;
});

async function aDaemon(options: DaemonOptions = {}): Promise<Daemon> {
  workspace ??= await Workspace.create('stratalog-clients-');
  const daemon = Daemon.stratalog(workspace, options);
  await daemon.start();
  return daemon;
}

async function aClient({ address }: Daemon, word: string): Promise<ClientProcess> {
  const client = await ClientProcess.start(address, { word });
  clients.push(client);
  return client;
}

async function clientsServe({ address }: Daemon) {
  const { stdout } = await stratalog(['health', '--json', '--address', address]);
  const row = jsonLines(stdout).find(({ service }) => service === 'clients');
  return [row?.['status'], ...((row?.['reasons'] ?? []) as string[])];
}

const warnings = (daemon: Daemon): number =>
  daemon.log().match(/two clients use this Stratalog/g)?.length ?? 0;

it('protects the snapshots of a client until it exits', async () => {
  const daemon = await aDaemon();
  const [first, second] = [await aClient(daemon, 'first'), await aClient(daemon, 'second')];
  for (const [method, ...words] of [
    ['prepare', 'layer key'],
    ['commit', 'layer key', 'layer'],
    ['prepare', 'container', 'layer'],
    ['view', 'view', 'layer'],
  ] as const) {
    expect(await first.outcome(method, ...words)).toBe('ok');
  }
  const kept = await second.call({ method: 'remove', words: ['container'], labels: {} });
  expect(kept).toMatchObject({ kind: 'refused', code: status.FAILED_PRECONDITION });
  const message = await second.outcome('remove', 'container');
  // The message names both processes, the refused call, and what to do.
  expect(message).toContain(`process ${second.pid} (`);
  expect(message).toContain('cannot remove snapshot "container"');
  expect(message).toMatch(
    new RegExp(`process ${first.pid} \\(.*\\) made it and still runs; give each containerd`),
  );
  expect(message).toMatch(/: failed precondition$/);
  expect(await second.outcome('remove', 'layer')).toContain('made it and still runs');
  expect(await second.outcome('remove', 'view')).toContain('made it and still runs');
  expect(await second.outcome('commit', 'container', 'other')).toContain('cannot commit snapshot');
  expect(await second.outcome('update', 'layer')).toContain('cannot update snapshot');
  // Using a layer as parent is allowed, and so is Cleanup, which only concerns removed snapshots.
  expect(await second.outcome('prepare', 'on it', 'layer')).toBe('ok');
  expect(await second.outcome('mounts', 'container')).toBe('ok');
  expect(await second.outcome('cleanup')).toBe('ok');
  expect(await first.outcome('mounts', 'container')).toBe('ok');
  expect(await first.outcome('remove', 'view')).toBe('ok');

  expect(warnings(daemon)).toBe(1);
  expect(await clientsServe(daemon)).toEqual([
    'NOT_SERVING',
    expect.stringMatching(
      new RegExp(`process ${first.pid} .* and process ${second.pid} .* use this Stratalog; give`),
    ),
  ]);

  await first.kill();
  expect(await second.outcome('remove', 'container')).toBe('ok');
  expect(await second.outcome('remove', 'on it')).toBe('ok');
  expect(await second.outcome('update', 'layer')).toBe('ok');
  expect(await second.outcome('remove', 'layer')).toBe('ok');
  await expect.poll(() => clientsServe(daemon), { timeout: 25_000 }).toEqual(['SERVING']);
});

it('protects them for a restarted client, also from a checkpoint', async () => {
  const daemon = await aDaemon();
  const first = await aClient(daemon, 'first');
  expect(await first.outcome('prepare', 'one')).toBe('ok');
  expect(await first.outcome('prepare', 'two')).toBe('ok');
  await daemon.stop();
  await daemon.start();
  const second = await aClient(daemon, 'second');
  expect(await second.outcome('remove', 'one')).toContain('made it and still runs');
  await first.kill();
  const again = await aClient(daemon, 'first');
  const message = await second.outcome('remove', 'one');
  expect(message).toContain(`made it, and runs again as process ${again.pid};`);
  expect(await again.outcome('remove', 'one')).toBe('ok');
  await again.kill();
  expect(await second.outcome('remove', 'two')).toBe('ok');
});

it('does not allow a takeover of a mounted snapshot', async () => {
  const daemon = await aDaemon();
  const first = await aClient(daemon, 'first');
  expect(await first.outcome('prepare', 'layer key')).toBe('ok');
  expect(await first.outcome('commit', 'layer key', 'layer')).toBe('ok');
  expect(await first.outcome('prepare', 'container', 'layer')).toBe('ok');
  const mounts = await first.call({ method: 'mounts', words: ['container'], labels: {} });
  const [type = '', source = '', ...options] = String(
    mounts.kind === 'answered' && mounts.value,
  ).split(' ');
  await first.kill();
  const rootfs = workspace?.makeDirectory('rootfs') ?? '';
  execFileSync('mount', ['-t', type, source, '-o', options.join(','), rootfs]);
  mkdirSync(`${rootfs}/written`);
  const second = await aClient(daemon, 'second');
  const message = await second.outcome('remove', 'container');
  expect(message).toMatch(/has ended, but it is mounted on .*rootfs.*; unmount it first: failed/);
  expect(await second.outcome('remove', 'layer')).toContain('other(s) stand on it');
  execFileSync('umount', [rootfs]);
  expect(await second.outcome('remove', 'container')).toBe('ok');
});

it('gives a remote layer only to the client that it was mounted for', async () => {
  workspace = await Workspace.create('stratalog-clients-');
  const layerStore = workspace.makeDirectory('store');
  const layers = await makeLayerStore(layerStore, [1]);
  const daemon = await aDaemon({ layerStore });
  const [first, second] = [await aClient(daemon, 'first'), await aClient(daemon, 'second')];
  const labels = { [TARGET_LABEL]: layers[0]?.chainId ?? '' };
  const pull = (client: ClientProcess, key: string) =>
    client.call({ method: 'prepare', words: [key], labels });
  const ready = { kind: 'refused', code: status.ALREADY_EXISTS };
  expect(await pull(first, 'first 1')).toMatchObject(ready);
  // The first client could remove it while containers of the second use it.
  expect(await pull(second, 'second 1')).toMatchObject({ kind: 'answered' });
  expect(await pull(first, 'first 2')).toMatchObject(ready);
  const { stdout } = await stratalog(['log', '--json', '--root', daemon.root]);
  expect(stdout).not.toContain('RemoteMountFailed');
  const preparing = jsonLines(stdout).filter(({ type }) => type === 'SnapshotPreparing');
  const ref = labels[TARGET_LABEL];
  expect(preparing.map(({ data }) => (data as { remote: unknown }).remote)).toEqual([
    { ref, fileSystems: ['layer-store'] },
    { ref, declined: expect.stringContaining(`process ${first.pid} (`) as unknown },
  ]);
  expect(warnings(daemon)).toBe(1);
  await first.kill();
  expect(await pull(second, 'second 2')).toMatchObject(ready);
});

it('shows which client made a snapshot', async () => {
  const daemon = await aDaemon();
  const client = await aClient(daemon, 'first');
  expect(await client.outcome('prepare', 'key')).toBe('ok');
  const about = async (command: string): Promise<string> =>
    (await stratalog([command, '1', '--root', daemon.root])).stdout;
  expect(await about('who')).toMatch(new RegExp(`^caller    \\S+, pid ${client.pid}, uid 0$`, 'm'));
  expect(await about('history')).toContain(`pid ${client.pid}`);
  const { stdout } = await stratalog(['who', '1', '--json', '--root', daemon.root]);
  expect(jsonLines(stdout)[0]?.['firstCaller']).toMatchObject({
    pid: client.pid,
    startedAt: expect.stringMatching(/^[0-9a-f]{8}-\d+$/) as unknown,
    program: expect.stringMatching(/^.+-[0-9a-f]{8}$/) as unknown,
  });
  const { stdout: log } = await stratalog(['log', '--stream', '1', '--root', daemon.root]);
  expect(log).toMatch(new RegExp(`by \\S+, pid ${client.pid}`));
});
