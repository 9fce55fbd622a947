/**
 * `layer import` makes what containerd makes of the same images: containerd itself unpacks them
 * with its overlayfs snapshotter, and the directories are compared. All that layers can hold is
 * compared in test/filesystems/layer-store/unpack.test.ts; here are some of the same archives.
 */
import { readdirSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { expect, it, onTestFinished } from 'vitest';

import { PrivateContainerd } from '../../scripts/rig/containerd.js';
import { imageOf, writeArchive, writeLayout } from '../../scripts/rig/image.js';
import { layerOfBlob, type Layer } from '../../scripts/rig/layer.js';
import { archiveEnd, entryOf, tarOf } from '../../scripts/rig/tar.js';
import { Workspace } from '../../scripts/rig/workspace.js';
import {
  differences,
  UnpackComparison,
  windowFrom,
} from '../filesystems/layer-store/unpack/comparison.js';
import { oddTars } from '../filesystems/layer-store/unpack/odd-tars/index.js';
import { Bench } from '../filesystems/layer-store/support.js';
import { startLimitMillis } from './support.js';

const hidden = Buffer.concat([entryOf({ name: 'hidden' }), entryOf({ name: '.wh.f' }), archiveEnd]);

/** A lowest layer is unpacked by other rules than the rest. What follows its end is not of it. */
const lowest = layerOfBlob(
  gzipSync(Buffer.concat([tarOf([{ name: 'f' }, { name: 'g' }, { name: '.wh.g' }]), hidden])),
);

/** Each the upper layer of an image. Attributes of many KiB are not for every file system. */
const uppers: readonly Layer[] = [
  layerOfBlob(Buffer.concat([gzipSync(tarOf([{ name: 'seen' }])), gzipSync(hidden)])),
  ...oddTars
    .filter(
      ({ containerd, asUpper = containerd, unsafe, tar }) =>
        asUpper === 'unpacks' && unsafe === undefined && tar.length < 48 * 1024,
    )
    .filter((_, index) => index % 6 === 0)
    .map(({ tar }) => layerOfBlob(gzipSync(tar))),
];

it(
  'stores the layers of an image as containerd unpacks them',
  { timeout: startLimitMillis },
  async () => {
    const workspace = await Workspace.create();
    onTestFinished(() => workspace.close());
    const bench = new Bench(workspace.makeDirectory('bench'));
    onTestFinished(() => bench.close());
    const comparison = await UnpackComparison.start(bench);
    onTestFinished(() => comparison.close());
    const begin = Date.now();
    const containerd = await PrivateContainerd.start({
      workspace,
      pluginAddress: workspace.path('none.sock'),
      pluginRoot: workspace.makeDirectory('none'),
    });
    const chainIds = new Set<string>();
    for (const [index, upper] of uppers.entries()) {
      const image = imageOf([lowest, upper]);
      const archive = workspace.path('image.tar');
      await writeArchive(image, archive, `odd-${index}`);
      await containerd.ctr.run('images', 'import', '--snapshotter', 'overlayfs', archive);
      await writeLayout(image, workspace.makeDirectory(`layout-${index}`), 'odd');
      await bench.import(`oci:${workspace.path(`layout-${index}`)}:odd`);
      for (const chainId of image.chainIds) chainIds.add(chainId.slice('sha256:'.length));
    }

    // Numbered as they were made: the lowest layer once, then one upper layer after the other.
    const snapshots = workspace.path(
      'containerd-root/io.containerd.snapshotter.v1.overlayfs/snapshots',
    );
    const ids = readdirSync(snapshots)
      .map(Number)
      .sort((one, other) => one - other);
    expect(ids).toHaveLength(chainIds.size);
    const window = windowFrom(begin);
    for (const [index, chainId] of [...chainIds].entries()) {
      const ours = await comparison.list(`${bench.store}/sha256/${chainId}/fs`);
      const theirs = await comparison.list(`${snapshots}/${ids[index] ?? ''}/fs`);
      expect(differences(ours, theirs, 'directory', window), `layer ${index}`).toEqual([]);
    }
  },
);
