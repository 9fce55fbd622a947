/**
 * Goal: two containerds on one socket leave each other's snapshots alone, and a containerd that is
 * restarted or replaced has what its predecessor made. Method: two real ones and their collections.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { PrivateContainerd } from '../../scripts/rig/containerd.js';
import { stratalog } from '../../scripts/rig/daemon.js';
import { directoriesInUse } from '../../scripts/rig/directories.js';
import { writeLayout } from '../../scripts/rig/image.js';
import { mountsWithin } from '../../scripts/rig/mounts.js';
import { pullByLayers } from '../../scripts/rig/pull-by-layers.js';
import type { Rig } from '../../scripts/rig/rig.js';
import { sampleImage, stackCheck } from '../../scripts/rig/sample-image.js';
import { until } from '../../scripts/rig/wait.js';
import { Workspace } from '../../scripts/rig/workspace.js';
import { againstPeer, connectedAgain, startLimitMillis, startRig } from './support.js';

const sample = { extraLayers: 1, bytesPerLayer: 2_000 };
const other = { seed: 'other' };

let rig: Rig | undefined;
const places: Workspace[] = [];

afterEach(async () => {
  await rig?.close();
  rig = undefined;
  for (const place of places.splice(0).reverse()) await place.close();
});

/** Another containerd with the same snapshotter: other sockets, roots and command line. */
async function anotherContainerd({ daemon }: Rig): Promise<PrivateContainerd> {
  const workspace = await Workspace.create('strata-second-');
  places.push(workspace);
  const plugin = { pluginAddress: daemon.address, pluginRoot: daemon.root };
  return PrivateContainerd.start({ workspace, ...plugin });
}

/**
 * Any removal brings a collection about, of all that this containerd does not know. In a namespace
 * of its own: both number their names alike, and these begin with the namespace.
 */
async function collects(containerd: PrivateContainerd, reference: string): Promise<void> {
  const ctr = containerd.ctr.inNamespace('second');
  await ctr.pull(reference);
  await ctr.removeImage(reference);
  await ctr.collectGarbage();
}

describe.skipIf(againstPeer)('two containerds on one socket', () => {
  it(
    'keep their snapshots, also when one is started again',
    { timeout: startLimitMillis },
    async () => {
      const running = (rig = await startRig());
      const { ctr, daemon, containerd } = running;
      const reference = await running.publish(await sampleImage(sample), 'sample');
      const another = await running.publish(await sampleImage(other), 'other');
      await ctr.pull(reference);
      await ctr.start(reference, 'keeps', 'sleep 600', running.workspace.path('keeps.out'));
      const before = await ctr.snapshots();
      const directories = await directoriesInUse(daemon.root);

      const second = await anotherContainerd(running);
      await collects(second, another);
      expect(await ctr.snapshots()).toEqual(before);
      expect(await ctr.exec('keeps', stackCheck(sample))).toBe('stacked rightly\n');
      expect(await ctr.runOnce(reference, 'fresh', stackCheck(sample))).toBe('stacked rightly\n');
      // The same namespace, and so the same names.
      await expect(second.ctr.pull(reference)).rejects.toThrow(
        /process \d+ \(containerd\) cannot take the name of snapshot .* made it and still runs/,
      );
      expect(daemon.log().match(/two clients use this Stratalog/g)).toHaveLength(1);
      const health = await stratalog('health', '--address', daemon.address);
      // The daemon serves; a person has to look.
      expect(health.exitCode).toBe(0);
      expect(health.stdout).toMatch(/^clients +NOT_SERVING$/m);
      expect(health.stdout).toMatch(
        /process \d+ \(containerd\) and process \d+ \(containerd\) use/,
      );

      await containerd.crash();
      await containerd.startAgain();
      // Nobody but the second one has called since.
      await collects(second, another);
      expect(await ctr.snapshots()).toEqual(before);
      expect(await ctr.exec('keeps', stackCheck(sample))).toBe('stacked rightly\n');
      expect(await ctr.runOnce(reference, 'again', stackCheck(sample))).toBe('stacked rightly\n');

      // What its predecessor made is its own.
      await second.stop();
      expect((await directoriesInUse(daemon.root)).length).toBeGreaterThanOrEqual(
        directories.length,
      );
      await ctr.removeContainer('keeps');
      await ctr.removeImage(reference);
      await until(
        'nothing is left',
        async () => (await directoriesInUse(daemon.root)).length === 0,
      );
    },
  );

  it(
    'hand over what one has made that was stopped for good, but what runs',
    { timeout: startLimitMillis },
    async () => {
      const running = (rig = await startRig());
      const { ctr, daemon, containerd } = running;
      const reference = await running.publish(await sampleImage(sample), 'sample');
      const unused = await running.publish(await sampleImage({ seed: 'unused' }), 'unused');
      const another = await running.publish(await sampleImage(other), 'other');
      await ctr.pull(reference);
      await ctr.start(reference, 'keeps', 'sleep 600', running.workspace.path('keeps.out'));
      const needed = await directoriesInUse(daemon.root);
      await ctr.pull(unused);
      const pid = (await ctr.task('keeps'))?.pid ?? 0;
      const rootOf = join('/proc', String(pid), 'root');
      const listed = () => readFileSync(join(rootOf, 'etc', 'passwd'), 'utf8').length;
      const size = listed();
      await containerd.stop();

      const replacing = await anotherContainerd(running);
      await collects(replacing, another);
      await until(
        'the image that nothing runs on is collected, and no more',
        async () => String(await directoriesInUse(daemon.root)) === String(needed),
      );
      expect(listed()).toBe(size);
      await containerd.startAgain();
      expect(await connectedAgain(() => ctr.exec('keeps', stackCheck(sample)))).toBe(
        'stacked rightly\n',
      );
      await ctr.removeContainer('keeps');
    },
  );
});

describe.skipIf(againstPeer)('a daemon in a mount namespace of its own', () => {
  it.each(['directory', 'squashfs'])(
    'lets containerd pull what its layer store has, as %s, and serves it once it is seen',
    { timeout: startLimitMillis },
    async (format) => {
      const store = await Workspace.create('strata-store-');
      places.push(store);
      const layerStore = store.makeDirectory('layers');
      const image = await sampleImage(sample);
      await writeLayout(image, store.makeDirectory('layout'), 'v1');
      const source = `oci:${store.path('layout')}:v1`;
      const flags = ['--layer-store', layerStore, '--format', format];
      expect(await stratalog('layer', 'import', ...flags, source)).toMatchObject({ exitCode: 0 });
      const running = (rig = await startRig({ layerStore }));
      const { ctr, daemon } = running;
      const reference = await running.publish(image, 'sample');
      const snapshots = join(daemon.root, 'snapshots');
      await daemon.stop();
      await daemon.start(['unshare', '--mount', '--propagation', 'slave']);
      await connectedAgain(() => pullByLayers(running, reference));
      expect(mountsWithin(snapshots)).toEqual([]);
      expect(await ctr.runOnce(reference, 'pulled', stackCheck(sample))).toBe('stacked rightly\n');

      await daemon.stop();
      await daemon.start();
      await connectedAgain(() => pullByLayers(running, reference, 'elsewhere'));
      expect(mountsWithin(snapshots)).toHaveLength(image.layers.length);
      expect(
        await ctr.inNamespace('elsewhere').runOnce(reference, 'mounted', stackCheck(sample)),
      ).toBe('stacked rightly\n');
      const health = await stratalog('health', '--address', daemon.address);
      expect(health, health.stdout).toMatchObject({ exitCode: 0 });
    },
  );
});
