/**
 * Goal: what users reported of snapshotters does not happen here, or happens as the documents say.
 * Method: the steps of their reports, which are named with each case (docs/reference/field-reports.md).
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { run } from '../../scripts/rig/command.js';
import { ctrBinary } from '../../scripts/rig/containerd.js';
import { stratalog } from '../../scripts/rig/daemon.js';
import { directoriesInUse } from '../../scripts/rig/directories.js';
import { type Image, imageOf, writeLayout } from '../../scripts/rig/image.js';
import { layerOf } from '../../scripts/rig/layer.js';
import { mountsWithin } from '../../scripts/rig/mounts.js';
import { pullByLayers } from '../../scripts/rig/pull-by-layers.js';
import type { Rig, RigOptions } from '../../scripts/rig/rig.js';
import { sampleImage, stackCheck } from '../../scripts/rig/sample-image.js';
import { until } from '../../scripts/rig/wait.js';
import { Workspace } from '../../scripts/rig/workspace.js';
import { againstPeer, connectedAgain, startLimitMillis, startRig } from './support.js';

let rig: Rig | undefined;
let store: Workspace | undefined;

afterEach(async () => {
  await rig?.close();
  await store?.close();
  rig = store = undefined;
});

async function started(options?: RigOptions): Promise<Rig> {
  rig = await startRig(options);
  return rig;
}

const rightly = 'stacked rightly\n';
const slow = { timeout: startLimitMillis };
const sample = { extraLayers: 4, bytesPerLayer: 200_000 };

describe('pulls that meet', () => {
  it('five pulls of one image at once (containerd #1041, #1240, #1639)', slow, async () => {
    const running = await started();
    const image = await sampleImage(sample);
    const reference = await running.publish(image, 'sample');
    await Promise.all(Array.from({ length: 5 }, () => pullByLayers(running, reference)));
    expect(await running.ctr.runOnce(reference, 'after', stackCheck(sample))).toBe(rightly);
    await running.ctr.collectGarbage();
    const keys = (await running.ctr.snapshots()).map(({ key }) => key);
    expect(keys.sort()).toEqual([...image.chainIds].sort());
    await until('only the layers have a directory', async () => {
      return (await directoriesInUse(running.daemon.root)).length === image.layers.length;
    });
  });

  it(
    'a pull that is cancelled and begun again while containerd collects (containerd #3787, #2382)',
    slow,
    async () => {
      const running = await started();
      const { ctr, daemon } = running;
      const reference = await running.publish(await sampleImage(sample), 'sample');
      for (let round = 0; round < 6; round += 1) {
        const before = (await directoriesInUse(daemon.root)).length;
        const cancelled = new AbortController();
        const pull = ctr.pull(reference, cancelled.signal).then(
          () => 'through',
          () => 'cancelled',
        );
        await until(
          'a layer is being unpacked, or all are',
          async () =>
            (await directoriesInUse(daemon.root)).length > before + (round % 3) ||
            (await Promise.race([pull, Promise.resolve('running')])) !== 'running',
          { pauseMillis: 1 },
        );
        cancelled.abort();
        const collected = ctr.collectGarbage();
        await ctr.pull(reference);
        expect(await ctr.runOnce(reference, `round-${round}`, stackCheck(sample))).toBe(rightly);
        await collected;
        await pull;
        await ctr.removeImage(reference);
      }
      // A client that is killed leaves its lease, which holds what it unpacked for a day.
      for (const lease of (await ctr.run('leases', 'ls', '-q')).trim().split('\n')) {
        await ctr.run('leases', 'delete', lease);
      }
      await ctr.collectGarbage();
      await until('no directory is left', async () => {
        return (await directoriesInUse(daemon.root)).length === 0;
      });
    },
  );
});

describe.skipIf(againstPeer)('a root that is not what it was', () => {
  it('snapshots/ is gone after a reboot (containerd #7834, #3369; rke2 #4961)', slow, async () => {
    const running = await started();
    const { ctr, daemon } = running;
    const reference = await running.publish(await sampleImage(sample), 'sample');
    await ctr.pull(reference);
    await daemon.stop();
    rmSync(join(daemon.root, 'snapshots'), { recursive: true });
    await daemon.start();
    await connectedAgain(() => ctr.snapshots());
    const refused = await ctr.finish(runOf(running, reference), mayFail);
    expect(refused.exitCode).not.toBe(0);
    expect(refused.stderr).toMatch(
      /layer ".*sha256:\w+" \(snapshot \d+\) cannot be used: .* is gone/,
    );
    // As docs/recovery.md says: remove the images that use it, and pull again.
    await ctr.removeImage(reference);
    expect(await ctr.snapshots()).toEqual([]);
    await ctr.pull(reference);
    expect(await ctr.runOnce(reference, 'again', stackCheck(sample))).toBe(rightly);
  });

  it('a new, empty root under an old containerd (containerd #5521)', slow, async () => {
    const running = await started();
    const { ctr, containerd, daemon } = running;
    const reference = await running.publish(await sampleImage(sample), 'sample');
    await ctr.pull(reference);
    await daemon.stop();
    rmSync(daemon.root, { recursive: true });
    await daemon.start();
    const args = ['inspect', '--root', daemon.root, '--containerd', containerd.address, '-q'];
    await connectedAgain(() => ctr.snapshots());
    const differing = await stratalog(...args);
    expect(differing.exitCode).toBe(3);
    const lines = differing.stdout.replaceAll(/^ctr /gm, `${ctrBinary()} `);
    await run('bash', ['--norc', '-c', lines], mayFail);
    expect(await stratalog(...args)).toMatchObject({ exitCode: 0, stdout: '' });
    await ctr.pull(reference);
    expect(await ctr.runOnce(reference, 'again', stackCheck(sample))).toBe(rightly);
  });
});

describe('an image that another snapshotter holds', () => {
  it('is unpacked again, but not fetched again (moby #45647, nydus #1725)', slow, async () => {
    const running = await started();
    const { ctr, registry } = running;
    const image = await sampleImage(sample);
    const reference = await running.publish(image, 'sample');
    const pull = ['images', 'pull', '--plain-http', '--snapshotter'];
    await ctr.run(...pull, 'overlayfs', reference);
    expect(await registry.newBlobsServed()).not.toEqual([]);
    await ctr.run(...pull, 'stratalog', reference);
    expect(await registry.newBlobsServed()).toEqual([]);
    expect((await ctr.snapshots()).length).toBe(image.layers.length);
    expect(await ctr.runOnce(reference, 'unpacked', stackCheck(sample))).toBe(rightly);
  });
});

describe.skipIf(againstPeer)('an image whose layers were never fetched', () => {
  it('has its blobs fetched before it is exported or converted (nerdctl #3764)', slow, async () => {
    const { running, reference } = await withLayersInStore(await sampleImage(sample));
    const { ctr, registry } = running;
    await pullByLayers(running, reference);
    const exported = () => ctr.finish(['images', 'export', '/dev/null', reference], mayFail);
    const convert = ['images', 'convert', '--uncompress', reference, 'converted:v1'];
    for (const refused of [await exported(), await ctr.finish(convert, mayFail)]) {
      expect(refused.exitCode).toBe(1);
      expect(refused.stderr).toMatch(/content digest sha256:\S+ not found/);
    }
    await registry.newRequests();
    await ctr.run('content', 'fetch', '--plain-http', reference);
    expect(await registry.newBlobsServed()).not.toEqual([]);
    expect(await exported()).toMatchObject({ exitCode: 0 });
    expect(await ctr.finish(convert, mayFail)).toMatchObject({ exitCode: 0 });
    expect(await ctr.runOnce(reference, 'as-before', stackCheck(sample))).toBe(rightly);
  });

  it('is mounted from the store by ctr of 2.x, and fetched by that of 1.x', slow, async () => {
    const image = await sampleImage(sample);
    const { running, reference } = await withLayersInStore(image);
    await running.ctr.pull(reference);
    const mounts = mountsWithin(join(running.daemon.root, 'snapshots'));
    const fetched = (await running.registry.newBlobsServed()).filter((digest) =>
      image.layers.some((layer) => layer.digest === digest),
    );
    const expected =
      running.containerd.major === 1 ? [0, image.layers.length] : [image.layers.length, 0];
    expect([mounts.length, fetched.length]).toEqual(expected);
  });

  it('has 100 layers, each an EROFS image (containerd #12662, #2497)', slow, async () => {
    const base = await sampleImage();
    const levels = Array.from({ length: 97 }, (_, index) =>
      layerOf([{ kind: 'file', path: `level-${index}`, content: `${index}\n` }]),
    );
    const { running, reference } = await withLayersInStore(imageOf([...base.layers, ...levels]));
    await pullByLayers(running, reference);
    expect(mountsWithin(join(running.daemon.root, 'snapshots'))).toHaveLength(100);
    const script = `${stackCheck()}\nls / | grep -c level-; cat /level-0 /level-96`;
    expect(await running.ctr.runOnce(reference, 'tall', script)).toBe(`${rightly}97\n0\n96\n`);
  });
});

const mayFail = { mayFail: true };

const runOf = (running: Rig, reference: string): string[] => [
  ...['run', '--rm', '--snapshotter', 'stratalog', '--runc-root', running.workspace.path('runc')],
  ...['--cgroup', `/${running.workspace.name}/refused`, reference, 'refused', '/bin/true'],
];

/** A layer store that has all layers of the image, as EROFS images, and a rig that uses it. */
async function withLayersInStore(image: Image): Promise<{ running: Rig; reference: string }> {
  store = await Workspace.create('strata-store-');
  const layerStore = store.makeDirectory('layers');
  const layout = store.makeDirectory('layout');
  await writeLayout(image, layout, 'v1');
  const args = ['layer', 'import', '--layer-store', layerStore, '--format', 'erofs'];
  const imported = await stratalog(...args, `oci:${layout}:v1`);
  expect(imported, imported.stderr).toMatchObject({ exitCode: 0 });
  const running = await started({ layerStore });
  const reference = await running.publish(image, 'sample');
  await running.registry.newRequests();
  return { running, reference };
}
