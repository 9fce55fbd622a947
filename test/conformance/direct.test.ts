/** The suite talks to Stratalog itself; containerd has no part in it. */
import { describeSuite } from './suite.js';

describeSuite('a daemon for each case', (snapshotter) =>
  Promise.resolve(['-serve', ...snapshotter.serveCommand]),
);

describeSuite('one daemon for all cases', async (snapshotter) => {
  await snapshotter.start();
  return ['-address', snapshotter.address];
});
