/** Many pulls and containers at once, as on a node that has just joined. */
import { pullByLayers } from '../../scripts/rig/pull-by-layers.js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { stratalog } from '../../scripts/rig/daemon.js';
import { directoriesInUse } from '../../scripts/rig/directories.js';
import { imageOf } from '../../scripts/rig/image.js';
import { layerOf } from '../../scripts/rig/layer.js';
import type { Rig } from '../../scripts/rig/rig.js';
import { sampleImage, stackCheck } from '../../scripts/rig/sample-image.js';
import { until } from '../../scripts/rig/wait.js';
import { againstPeer, startLimitMillis, startRig } from './support.js';

const images = [0, 1, 2, 3, 4, 5].map((index) => ({
  extraLayers: 3,
  bytesPerLayer: 20_000,
  seed: `image ${index}`,
}));

describe.each([{ asyncRemove: false }, { asyncRemove: true }])('a crowd, %o', (options) => {
  let rig: Rig;

  beforeEach(async () => {
    rig = await startRig(options);
  }, startLimitMillis);

  afterEach(() => rig.close());

  it('pulls, runs and removes six images at once', async () => {
    const references = await Promise.all(
      images.map(async (image, index) => rig.publish(await sampleImage(image), `crowd-${index}`)),
    );
    await Promise.all(references.map((reference) => pullByLayers(rig, reference)));
    // All share their lowest layer.
    expect(await rig.ctr.snapshots()).toHaveLength(1 + images.length * 5);

    const answers = await Promise.all(
      images.flatMap((image, index) =>
        ['left', 'right'].map((side) =>
          rig.ctr.runOnce(references[index] ?? '', `${side}-${index}`, stackCheck(image)),
        ),
      ),
    );
    expect(new Set(answers)).toEqual(new Set(['stacked rightly\n']));

    await Promise.all(references.map((reference) => rig.ctr.removeImage(reference)));
    expect(await rig.ctr.snapshots()).toEqual([]);
    await until(
      'no directory is left',
      async () => (await directoriesInUse(rig.daemon.root)).length === 0,
    );
    if (againstPeer) return;

    await rig.daemon.stop();
    const verified = await stratalog('verify', '--root', rig.daemon.root);
    expect(verified, verified.stdout + verified.stderr).toMatchObject({ exitCode: 0 });
  });
});

describe('an image of 100 layers', () => {
  let rig: Rig;

  beforeEach(async () => {
    rig = await startRig();
  }, startLimitMillis);

  afterEach(() => rig.close());

  it('is pulled and run', async () => {
    const base = await sampleImage();
    const layers = Array.from({ length: 97 }, (_, index) =>
      layerOf([{ kind: 'file', path: `level-${index}`, content: `${index}\n` }]),
    );
    const reference = await rig.publish(imageOf([...base.layers, ...layers]), 'tall');
    await rig.ctr.pull(reference);
    const script = `${stackCheck()}\nls / | grep -c level-; cat /level-0 /level-96`;
    expect(await rig.ctr.runOnce(reference, 'tall', script)).toBe('stacked rightly\n97\n0\n96\n');
  });
});
