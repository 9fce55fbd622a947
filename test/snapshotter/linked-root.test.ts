/** A root behind a symbolic link, put together as the daemon does it, kernel probe included. */
import * as fs from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { snapshotName } from '../../src/base/units.js';
import { assembleSnapshotter, type Assembled } from '../../src/api/assembly.js';
import { BindFileSystem } from '../support/bind-file-system.js';
import { eventsOf, mountpointsBelow, testRoot, told, type TestRoot } from '../support/daemon.js';

const REF = 'sha256:aa';

let root: TestRoot;

beforeEach(() => {
  root = testRoot();
  fs.mkdirSync(root.path);
  fs.symlinkSync(root.path, `${root.layers}/link`);
});

afterEach(() => {
  root.remove();
});

function open(): Promise<Assembled> {
  return assembleSnapshotter(
    { root: `${root.layers}/link` },
    ({ mountTable }) => new BindFileSystem(root.layers, mountTable),
    {
      warning: () => undefined,
      fatal: () => undefined,
      effectFailed: () => undefined,
      healthChanged: () => undefined,
    },
  );
}

it('adopts the mounts of a root that was given as a symbolic link', async () => {
  const labels = root.addLayer(REF);
  const first = await open();
  await first.recover();
  const request = { key: snapshotName('k'), parent: null, labels, caller: {} };
  const answer = await first.snapshotter.prepare(request, new AbortController().signal);
  expect(told(answer)).toBe('AlreadyExists TargetReady');
  await first.close('restart');
  await first.host.close();

  const second = await open();
  expect(second.plan).toMatchObject({ adopted: [1], findings: [] });
  await second.recover();
  await second.close('the test is over');
  await second.host.close();
  expect(mountpointsBelow(root.snapshots)).toHaveLength(1);
  const types = (await eventsOf(root)).map(({ type }) => type);
  expect(types).not.toContain('LayerUnavailable');
}, 60_000);
