/** The suite goes through containerd, as its clients do: with 1.6 and with 2.x. */
import { PrivateContainerd } from '../../scripts/rig/containerd.js';
import { describeSuite } from './suite.js';

describeSuite('through containerd', async (snapshotter, workspace) => {
  await snapshotter.start();
  const containerd = await PrivateContainerd.start({
    workspace,
    pluginAddress: snapshotter.address,
    pluginRoot: snapshotter.root,
  });
  return ['-containerd', containerd.address];
});
