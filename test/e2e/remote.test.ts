/**
 * Remote layers: what the layer store has is never fetched. The registry's access log is the
 * witness. Each format of the store is tried from two namespaces and across a restart.
 */
import { pullByLayers } from '../../scripts/rig/pull-by-layers.js';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { directoriesInUse } from '../../scripts/rig/directories.js';
import { type Image, imageOf } from '../../scripts/rig/image.js';
import { layerOf } from '../../scripts/rig/layer.js';
import { mountsWithin, unmountWithin } from '../../scripts/rig/mounts.js';
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

const sample = { extraLayers: 2, bytesPerLayer: 300_000 };

let rig: Rig | undefined;
let store: Workspace | undefined;

afterEach(async () => {
  await rig?.close();
  await store?.close();
  rig = store = undefined;
});

describe.skipIf(againstPeer).each(['directory', 'erofs', 'squashfs'])(
  'layers in a layer store, as %s',
  (format) => {
    it(
      'are used by pulls from two namespaces; no layer is fetched',
      { timeout: startLimitMillis },
      async () => {
        const { running, image, reference } = await rigWithLayers(format);
        for (const namespace of ['default', 'other']) {
          await pullByLayers(running, reference, namespace);
          expect(await layersServed(running, image)).toEqual([]);
          const ctr = running.ctr.inNamespace(namespace);
          expect(await ctr.runOnce(reference, 'sees', stackCheck(sample))).toBe(
            'stacked rightly\n',
          );
        }
        // One snapshot for each layer serves both namespaces; those of the containers go.
        await running.ctr.collectGarbage();
        const snapshots = join(running.daemon.root, 'snapshots');
        await until(
          'only the layers have a directory',
          async () => (await directoriesInUse(running.daemon.root)).length === image.layers.length,
        );
        expect(mountsWithin(snapshots)).toHaveLength(image.layers.length);

        await running.ctr.inNamespace('other').removeImage(reference);
        expect(await running.ctr.runOnce(reference, 'still', stackCheck(sample))).toBe(
          'stacked rightly\n',
        );
        await running.ctr.removeImage(reference);
        await until('mounts and directories are gone', () => nothingLeft(running));
      },
    );

    it(
      'serve a running container across a kill of the daemon',
      { timeout: startLimitMillis },
      async () => {
        const { running, image, reference } = await rigWithLayers(format);
        await pullByLayers(running, reference);
        const output = running.workspace.path('holder.out');
        await running.ctr.start(reference, 'holder', 'sleep 600', output);
        await running.daemon.crash();
        await running.daemon.start();
        await connectedAgain(() => running.ctr.snapshots());
        expect(await running.ctr.exec('holder', stackCheck(sample))).toBe('stacked rightly\n');
        expect(await running.ctr.runOnce(reference, 'fresh', stackCheck(sample))).toBe(
          'stacked rightly\n',
        );
        await pullByLayers(running, reference, 'third');
        expect(await layersServed(running, image)).toEqual([]);
      },
    );
  },
);

describe.skipIf(againstPeer)('a layer store that lacks some layers', () => {
  it('gives what it has; the rest is fetched as usual', { timeout: startLimitMillis }, async () => {
    const { running, image } = await rigWithLayers('directory');
    // Shares all layers of the imported image and has two more.
    const longer = { ...sample, extraLayers: sample.extraLayers + 2 };
    const longerImage = await sampleImage(longer);
    const reference = await running.publish(longerImage, 'longer');
    await running.registry.newRequests();
    await pullByLayers(running, reference);
    const fetched = longerImage.layers.slice(image.layers.length).map((layer) => layer.digest);
    expect((await layersServed(running, longerImage)).sort()).toEqual(fetched.sort());
    expect(await running.ctr.runOnce(reference, 'mixed', stackCheck(longer))).toBe(
      'stacked rightly\n',
    );
  });
});

describe.skipIf(againstPeer)('a layer store that is gone when the daemon starts', () => {
  it(
    'stops only what stands on it, and serves again when it is back',
    { timeout: startLimitMillis },
    async () => {
      const { running, reference, layerStore } = await rigWithLayers('directory');
      const { ctr, daemon } = running;
      await pullByLayers(running, reference);
      // Another lowest layer, so that no chain id of it is in the store.
      const lowest = layerOf([{ kind: 'file', path: 'lowest', content: 'plain\n' }]);
      const { layers } = await sampleImage({ seed: 'plain' });
      const plain = await running.publish(imageOf([lowest, ...layers]), 'plain');
      await ctr.inNamespace('plain').pull(plain);
      const before = await ctr.snapshots();

      await daemon.crash();
      await unmountWithin(daemon.root);
      await rename(layerStore, `${layerStore}.away`);
      await daemon.start();
      expect(await connectedAgain(() => ctr.snapshots())).toEqual(before);
      const plainCheck = stackCheck({ seed: 'plain' });
      const plainCtr = ctr.inNamespace('plain');
      expect(await plainCtr.runOnce(plain, 'plain', plainCheck)).toBe('stacked rightly\n');
      await expect(ctr.runOnce(reference, 'stuck', stackCheck(sample))).rejects.toThrow(
        /unavailable/i,
      );

      await rename(`${layerStore}.away`, layerStore);
      const answer = await until(
        'the layers are back',
        () => ctr.runOnce(reference, 'back', stackCheck(sample)),
        { timeoutMillis: 60_000, pauseMillis: 500 },
      );
      expect(answer).toBe('stacked rightly\n');
    },
  );
});

describe('an image that claims its layers are remote', () => {
  it('is unpacked, run and kept as any other', { timeout: startLimitMillis }, async () => {
    const running = await startRig();
    rig = running;
    const forged = await sampleImage({
      layerAnnotations: {
        'containerd.io/snapshot/remote': 'remote snapshot',
        'containerd.io/snapshot.ref': 'sha256:forged',
      },
    });
    const reference = await running.publish(forged, 'forged');
    await pullByLayers(running, reference);
    await running.daemon.crash();
    await running.daemon.start();
    await connectedAgain(() => running.ctr.snapshots());
    expect(await running.ctr.runOnce(reference, 'forged', stackCheck())).toBe('stacked rightly\n');
  });
});

interface LayersInStore {
  readonly running: Rig;
  readonly image: Image;
  readonly reference: string;
  readonly layerStore: string;
}

async function rigWithLayers(format: string): Promise<LayersInStore> {
  store = await Workspace.create('strata-store-');
  const image = await sampleImage(sample);
  const layerStore = await layerStoreOf(image, format, store);
  const running = await startRig({ layerStore });
  rig = running;
  const reference = await running.publish(image, 'sample');
  await running.registry.newRequests();
  return { running, image, reference, layerStore };
}

/** The image's layers among the blobs that the registry has handed out since the last look. */
async function layersServed(running: Rig, image: Image): Promise<string[]> {
  const served = await running.registry.newBlobsServed();
  return served.filter((digest) => image.layers.some((layer) => layer.digest === digest));
}

async function nothingLeft({ daemon }: Rig): Promise<boolean> {
  const mounts = mountsWithin(join(daemon.root, 'snapshots'));
  return mounts.length === 0 && (await directoriesInUse(daemon.root)).length === 0;
}
