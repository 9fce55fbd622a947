/**
 * Goal: a client never gets a layer whose mount it cannot see, and the cause is reported. Method: the
 * built daemon and clients as real processes, in separate mount namespaces.
 */
import { share } from '../support/effort.js';
import { execFileSync } from 'node:child_process';
import { mkdirSync, realpathSync } from 'node:fs';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { Daemon } from '../../scripts/rig/daemon.js';
import { Workspace } from '../../scripts/rig/workspace.js';
import { TARGET_LABEL } from '../../src/base/target-label.js';
import { makeLayerStore } from '../faults/layers.js';
import type { RemoteTarget } from '../faults/load.js';
import { mountpointsBelow } from '../host/support.js';
import { ClientProcess, inWords, type ClientProcessOptions } from '../support/client-process.js';
import { builtCli, buildLimitMillis, cleanUp, jsonLines, stratalog } from './rig.js';

/** Each test starts several programs. */
vi.setConfig({ testTimeout: 120_000 });

beforeAll(builtCli, buildLimitMillis);

let workspace: Workspace;
const clients: ClientProcess[] = [];

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.kill()));
  await cleanUp();
  await workspace.close();
});

const unshared = (propagation: string) => ['unshare', '--mount', '--propagation', propagation];

interface Place {
  readonly daemon: Daemon;
  readonly layers: readonly RemoteTarget[];
}

/** A daemon that is not started, with a store of one image of two layers. */
async function aPlace(format: 'directory' | 'erofs' | 'squashfs' = 'directory'): Promise<Place> {
  workspace = await Workspace.create('stratalog-apart-');
  const layerStore = realpathSync(workspace.makeDirectory('store'));
  const layers = await makeLayerStore(layerStore, [2], format);
  return { daemon: Daemon.stratalog(workspace, { layerStore }), layers };
}

async function aClient(daemon: Daemon, options: ClientProcessOptions = {}): Promise<ClientProcess> {
  const client = await ClientProcess.start(daemon.address, options);
  clients.push(client);
  return client;
}

/** A Prepare as in a pull: with the chain ID of the layer. */
async function pulled(client: ClientProcess, key: string, layer: RemoteTarget | undefined) {
  const { chainId = '', parent = '' } = layer ?? {};
  const labels = { [TARGET_LABEL]: chainId };
  return inWords(await client.call({ method: 'prepare', words: [key, parent], labels }));
}

const READY = /already exists$/;
const NOT_VISIBLE =
  /process \d+( \(\w+\))? does not see what this daemon mounts; remove PrivateTmp=/;

/** Why each layer was not mounted: not asked for, or found to be hidden after the mount. */
async function failures({ root }: Daemon): Promise<readonly string[]> {
  const types = 'SnapshotPreparing,RemoteMountFailed';
  const { stdout } = await stratalog(['log', '--type', types, '--json', '--root', root]);
  return jsonLines(stdout).flatMap(({ data }) => {
    const { reason, remote } = data as { reason?: string; remote?: { declined?: string } };
    return reason ?? remote?.declined ?? [];
  });
}

/** Services that are not serving, and why. Only a query of such a service fails. */
async function notServing({ address }: Daemon) {
  const { code, stdout } = await stratalog(['health', '--json', '--address', address]);
  const rows = jsonLines(stdout).filter(({ status }) => status !== 'SERVING');
  expect(code).toBe(0);
  for (const { service } of rows) {
    const named = await stratalog(['health', '--service', String(service), '--address', address]);
    expect(named.code).toBe(1);
  }
  return rows.map(({ service, reasons }) => [service, ...(reasons as string[])]);
}

async function found({ root }: Daemon) {
  const { code, stdout } = await stratalog(['inspect', '--json', '--root', root]);
  const [report] = jsonLines(stdout);
  const findings = report?.['findings'] as {
    kind: string;
    subject: string;
    evidence: string;
    ordinary: boolean;
  }[];
  return { code, findings: findings.filter(({ ordinary }) => !ordinary) };
}

describe('a daemon in a mount namespace of its own', () => {
  const places = [
    ['slave', 'directory'],
    ['slave', 'erofs'],
    ['slave', 'squashfs'],
    ['private', 'directory'],
  ] as const;
  it.each(share(places, 2))(
    'gives no layer to clients outside, as %s, from a %s',
    async (propagation, format) => {
      const { daemon, layers } = await aPlace(format);
      await daemon.start(unshared(propagation));
      const client = await aClient(daemon);
      expect(await pulled(client, 'lower', layers[0])).toBe('ok');
      expect(await pulled(client, 'again', layers[0])).toBe('ok');
      const [first, second] = await failures(daemon);
      expect(first).toMatch(NOT_VISIBLE);
      expect(second).toBe(first);
      expect(await notServing(daemon)).toEqual([['mounts', first]]);
      const warnings = daemon.log().match(/a client does not see what this daemon mounts/g);
      expect(warnings).toHaveLength(1);

      const { code, findings } = await found(daemon);
      expect(code).toBe(3);
      expect(findings).toMatchObject([{ kind: 'HiddenMounts', subject: `process ${daemon.pid}` }]);
      expect(findings[0]?.evidence).toMatch(
        /visible only there; remove PrivateTmp=.*Bidirectional/,
      );
      // Plain snapshots work.
      expect(await client.outcome('commit', 'lower', 'layer')).toBe('ok');
      expect(await client.outcome('prepare', 'container', 'layer')).toBe('ok');

      // Without the mount namespace.
      await daemon.stop();
      await daemon.start();
      const after = await aClient(daemon);
      expect(await pulled(after, 'once more', layers[0])).toMatch(READY);
      expect(
        await pulled(after, 'upper', {
          ...layers[1],
          parent: layers[0]?.chainId ?? '',
        } as RemoteTarget),
      ).toMatch(READY);
      expect(await notServing(daemon)).toEqual([]);
      expect(await found(daemon)).toEqual({ code: 0, findings: [] });
    },
  );

  it('refuses snapshots on a layer that it has remounted, and adopts visible mounts', async () => {
    const { daemon, layers } = await aPlace();
    await daemon.start();
    const before = await aClient(daemon);
    expect(await pulled(before, 'lower', layers[0])).toMatch(READY);
    const chainId = layers[0]?.chainId ?? '';
    expect(await before.outcome('prepare', 'container', chainId)).toBe('ok');
    expect(await before.outcome('view', 'view', chainId)).toBe('ok');
    await before.kill();

    // The new namespace starts with the existing mounts, which are also visible outside.
    await daemon.stop();
    await daemon.start(unshared('slave'));
    const between = await aClient(daemon);
    expect(await between.outcome('mounts', 'container')).toBe('ok');
    expect(await pulled(between, 'lower 2', layers[0])).toMatch(READY);
    expect(await notServing(daemon)).toEqual([]);
    await between.kill();

    // As after a reboot: the mount is made again, and is not visible outside.
    await daemon.stop();
    for (const mountpoint of mountpointsBelow(daemon.root)) execFileSync('umount', [mountpoint]);
    await daemon.start(unshared('slave'));
    const client = await aClient(daemon);
    for (const key of ['container', 'view']) {
      const answer = await client.call({ method: 'mounts', words: [key], labels: {} });
      // Unavailable, as for a lost connection.
      expect(answer).toMatchObject({ kind: 'unanswered' });
      expect(inWords(answer)).toMatch(NOT_VISIBLE);
    }
    expect(await client.outcome('prepare', 'another', chainId)).toMatch(NOT_VISIBLE);
    expect(await client.outcome('view', 'another', chainId)).toMatch(NOT_VISIBLE);
    // containerd pulls it again.
    expect(await pulled(client, 'lower 3', layers[0])).toBe('ok');
    expect((await notServing(daemon)).map(([name]) => name)).toEqual(['mounts']);
    const { findings } = await found(daemon);
    expect(findings.map(({ kind }) => kind)).toEqual(['HiddenMounts']);
    expect(findings[0]?.evidence).toContain('visible only there (now: snapshots 1)');
    const { stdout: who } = await stratalog(['who', '1', '--root', daemon.root]);
    expect(who).toContain(`${daemon.root}/snapshots/1/fs`);

    await daemon.stop();
    await daemon.start();
    const after = await aClient(daemon);
    expect(await after.outcome('mounts', 'container')).toBe('ok');
    expect(await after.outcome('mounts', 'view')).toBe('ok');
    expect(await notServing(daemon)).toEqual([]);
  });

  it('serves its layers if its mounts propagate outside', async () => {
    const { daemon, layers } = await aPlace();
    // As a volume with mountPropagation: Bidirectional.
    mkdirSync(daemon.root);
    execFileSync('mount', ['--bind', daemon.root, daemon.root]);
    execFileSync('mount', ['--make-shared', daemon.root]);
    await daemon.start(unshared('unchanged'));
    const client = await aClient(daemon);
    expect(await pulled(client, 'lower', layers[0])).toMatch(READY);
    expect(mountpointsBelow(daemon.root)).toEqual([`${daemon.root}/snapshots/1/fs`]);
    expect(await client.outcome('prepare', 'container', layers[0]?.chainId ?? '')).toBe('ok');
    expect(await notServing(daemon)).toEqual([]);
    expect(await found(daemon)).toEqual({ code: 0, findings: [] });
  });

  it.each([
    ['declines if its mounts do not propagate', false],
    ['serves if its mounts propagate', true],
  ])('and a pid namespace, in which clients are unknown, %s', async (_what, isShared) => {
    const { daemon, layers } = await aPlace();
    mkdirSync(daemon.root);
    execFileSync('mount', ['--bind', daemon.root, daemon.root]);
    execFileSync('mount', [isShared ? '--make-shared' : '--make-private', daemon.root]);
    // unshare forks the daemon, and kills it when it exits.
    await daemon.start([...unshared('unchanged'), '--pid', '--fork', '--kill-child']);
    const client = await aClient(daemon);
    const answer = await pulled(client, 'lower', layers[0]);
    if (isShared) {
      expect(answer).toMatch(READY);
    } else {
      expect(answer).toBe('ok');
      expect((await failures(daemon))[0]).toMatch(
        /^a process of another pid namespace does not see/,
      );
    }
    const { stdout } = await stratalog([
      'log',
      '--type',
      'SnapshotPreparing',
      '--json',
      '--root',
      daemon.root,
    ]);
    expect(jsonLines(stdout)[0]?.['data']).toMatchObject({ caller: { pid: 0, uid: 0 } });
    // Clients that cannot be distinguished are not protected from each other.
    expect(await (await aClient(daemon)).outcome('prepare', 'key')).toBe('ok');
    expect(await client.outcome('remove', 'key')).toBe('ok');
    await daemon.crash();
  });
});

describe('a client in a mount namespace of its own', () => {
  it('gets plain snapshots while another client gets the layer', async () => {
    const { daemon, layers } = await aPlace();
    await daemon.start();
    const [seeing, blind] = await Promise.all([
      aClient(daemon, { word: 'seeing' }),
      aClient(daemon, { word: 'blind', within: unshared('private') }),
    ]);
    const answers = await Promise.all([
      pulled(blind, 'blind 1', layers[0]),
      pulled(seeing, 'seeing 1', layers[0]),
      pulled(blind, 'blind 2', layers[1]),
    ]);
    expect(answers[0]).toBe('ok');
    expect(answers[1]).toMatch(READY);
    // The parent layer of the other client may or may not exist by now.
    expect(await pulled(blind, 'blind 3', layers[0])).toBe('ok');
    expect(await blind.outcome('view', 'view', layers[0]?.chainId ?? '')).toMatch(NOT_VISIBLE);
    expect(await seeing.outcome('view', 'view', layers[0]?.chainId ?? '')).toBe('ok');
    expect((await notServing(daemon)).map(([name]) => name)).toContain('mounts');
    await blind.kill();
    // All remaining clients see the mounts.
    await expect.poll(() => notServing(daemon), { timeout: 25_000 }).toEqual([]);
  });
});
