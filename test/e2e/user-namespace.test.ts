/**
 * Containers in a user namespace: whoever maps the ids, every file of every layer belongs to whom
 * it should, and can be written by its owner. With the capability "remap-ids" and without it, over
 * layers that containerd has unpacked and over layers of a layer store.
 */
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { mountsWithin, unmountWithin } from '../../scripts/rig/mounts.js';
import { pullByLayers } from '../../scripts/rig/pull-by-layers.js';
import type { Rig } from '../../scripts/rig/rig.js';
import { sampleImage, stackCheck } from '../../scripts/rig/sample-image.js';
import { until } from '../../scripts/rig/wait.js';
import { Workspace } from '../../scripts/rig/workspace.js';
import {
  againstPeer,
  connectedAgain,
  layerStoreOf,
  startLimitMillis,
  startRig,
} from './support.js';

const mapping = ['--uidmap', '0:100000:65536', '--gidmap', '0:100000:65536'];
/** The client hands the maps to the snapshotter as labels. */
const byLabels = [...mapping, '--remap-labels'];

const files = ['/', '/bin/busybox', '/old/kept.txt', '/app/hello.txt', '/settings/new.conf'];
const looksAtOwners = [
  `stat -c %u:%g ${files.join(' ')} | sort -u`,
  'echo changed > /app/hello.txt && rm /old/kept.txt && touch /app/new && stat -c %u:%g /app/new',
].join('\n');
const ownsAll = '0:0\n0:0\n';

let rig: Rig | undefined;
let store: Workspace | undefined;

afterEach(async () => {
  await rig?.close();
  await store?.close();
  rig = store = undefined;
});

async function pulled(capabilities?: readonly string[]): Promise<{ rig: Rig; reference: string }> {
  const running = await startRig(capabilities === undefined ? {} : { capabilities });
  rig = running;
  const reference = await running.publish(await sampleImage(), 'sample');
  await running.ctr.pull(reference);
  return { rig: running, reference };
}

describe('a container in a user namespace', () => {
  // Without the capability containerd 1.6 knows no other way; 2.x makes a chowned copy, and sends
  // the labels all the same. The overlayfs snapshotter of containerd 1.6 does not know them.
  it.skipIf(againstPeer).each([
    ['with the capability', ['remap-ids']],
    ['without the capability', []],
  ])('owns its files, %s', { timeout: startLimitMillis }, async (_how, capabilities) => {
    const { rig: running, reference } = await pulled(capabilities);
    const plain = await running.ctr.runOnce(reference, 'plain', looksAtOwners);
    expect(plain).toBe(ownsAll);
    const mapped = await running.ctr.runOnce(reference, 'labels', looksAtOwners, {
      flags: byLabels,
    });
    expect(mapped).toBe(ownsAll);
    // Another one with the same maps, and one with others.
    const again = await running.ctr.runOnce(reference, 'again', stackCheck(), { flags: byLabels });
    expect(again).toBe('stacked rightly\n');
    const other = ['--uidmap', '0:300000:1000', '--gidmap', '0:400000:1000', '--remap-labels'];
    const shifted = await running.ctr.runOnce(reference, 'other', looksAtOwners, { flags: other });
    expect(shifted).toBe(ownsAll);
  });

  it(
    'owns its files when containerd has chowned a copy',
    { timeout: startLimitMillis },
    async () => {
      const { rig: running, reference } = await pulled();
      expect(await running.ctr.runOnce(reference, 'copy', looksAtOwners, { flags: mapping })).toBe(
        ownsAll,
      );
    },
  );

  // With root mapped to itself, the owner of a copy's root does not tell that it was chowned.
  it.skipIf(againstPeer).each([
    ['with the capability', ['remap-ids']],
    ['without the capability', []],
  ])('may have several ranges, %s', { timeout: startLimitMillis }, async (_how, capabilities) => {
    const { rig: running, reference } = await pulled(capabilities);
    // ctr 1.6 takes one.
    const ranges = running.containerd.major === 1 ? ['0:5000:100'] : ['0:0:1', '1:100000:65535'];
    const flags = ranges.flatMap((range) => ['--uidmap', range, '--gidmap', range]);
    const output = await running.ctr.runOnce(reference, 'ranges', looksAtOwners, {
      flags: [...flags, '--remap-labels'],
    });
    expect(output).toBe(ownsAll);
  });
});

const sample = { extraLayers: 2, bytesPerLayer: 30_000 };
const longer = { ...sample, extraLayers: 3 };

/**
 * An image whose lowest layer and whose topmost one are not in the store: containerd unpacks them,
 * one below the layers of the store and one above.
 */
async function mixedChain(format: string): Promise<{ rig: Rig; reference: string }> {
  store = await Workspace.create('strata-store-');
  const image = await sampleImage(sample);
  const layerStore = await layerStoreOf(image, format, store);
  const [lowest] = image.layers;
  if (lowest === undefined) throw new Error('the image has no layers');
  rmSync(join(layerStore, 'sha256', lowest.diffId.replace('sha256:', '')), { recursive: true });
  const running = await startRig({ layerStore });
  rig = running;
  const reference = await running.publish(await sampleImage(longer), 'sample');
  await pullByLayers(running, reference);
  expect(mountsWithin(join(running.daemon.root, 'snapshots'))).toHaveLength(
    image.layers.length - 1,
  );
  return { rig: running, reference };
}

const idmapped = ({ daemon }: Rig) => mountsWithin(join(daemon.root, 'idmapped'));

describe.skipIf(againstPeer).each(['directory', 'erofs', 'squashfs'])(
  'a container in a user namespace over layers of a layer store, as %s',
  (format) => {
    it('sees all of them, and owns its files', { timeout: startLimitMillis }, async () => {
      const { rig: running, reference } = await mixedChain(format);
      const run = (id: string, script: string) =>
        running.ctr.runOnce(reference, id, script, { flags: byLabels });
      expect(await run('stack', stackCheck(longer))).toBe('stacked rightly\n');
      expect(await run('owners', looksAtOwners)).toBe(ownsAll);
      // The copy that containerd chowns is of the same layers.
      const copy = await running.ctr.runOnce(reference, 'copy', looksAtOwners, { flags: mapping });
      expect(copy).toBe(ownsAll);
      await running.ctr.collectGarbage();
      await until('the mounts are gone with the last container', () => {
        return idmapped(running).length === 0;
      });
      expect(readdirSync(join(running.daemon.root, 'idmapped'))).toEqual([]);
    });

    it('goes on across a kill of the daemon', { timeout: startLimitMillis }, async () => {
      const { rig: running, reference } = await mixedChain(format);
      const { ctr, daemon } = running;
      const output = running.workspace.path('holder.out');
      await ctr.start(reference, 'holder', 'sleep 600', output, { flags: byLabels });
      const before = idmapped(running);
      await daemon.crash();
      await daemon.start();
      await connectedAgain(() => ctr.snapshots());
      expect(idmapped(running)).toEqual(before);
      expect(await ctr.exec('holder', stackCheck(longer))).toBe('stacked rightly\n');
      const fresh = await ctr.runOnce(reference, 'fresh', looksAtOwners, { flags: byLabels });
      expect(fresh).toBe(ownsAll);
      await ctr.removeContainer('holder');
      await ctr.collectGarbage();
      await until('nothing is mounted with mapped ids', () => idmapped(running).length === 0);
    });
  },
);

describe.skipIf(againstPeer)('a container in a user namespace that was stopped', () => {
  it('is started again after a reboot', { timeout: startLimitMillis }, async () => {
    const { rig: running, reference } = await mixedChain('erofs');
    const { ctr, daemon } = running;
    const output = running.workspace.path('holder.out');
    await ctr.start(reference, 'holder', 'sleep 600', output, { flags: byLabels });
    await ctr.finish(['tasks', 'kill', '--signal', 'SIGKILL', 'holder']);
    await until('it has ended', async () => (await ctr.task('holder'))?.status === 'STOPPED');
    await ctr.finish(['tasks', 'rm', 'holder']);
    await daemon.crash();
    await unmountWithin(daemon.root);
    await daemon.start();
    await connectedAgain(() => ctr.snapshots());
    await ctr.finish(['tasks', 'start', '--detach', '--log-uri', `file://${output}`, 'holder']);
    expect(await ctr.exec('holder', stackCheck(longer))).toBe('stacked rightly\n');
    expect(await ctr.exec('holder', looksAtOwners)).toBe(ownsAll);
    await ctr.removeContainer('holder');
  });
});
