/** The rig itself: what it promises to the other tests. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { isWithin } from '../../scripts/rig/mounts.js';
import { sampleImage } from '../../scripts/rig/sample-image.js';
import { startLimitMillis, startRig } from './support.js';

it(
  'leaves nothing when it is closed over a running container',
  { timeout: startLimitMillis },
  async () => {
    const rig = await startRig();
    onTestFinished(() => rig.close());
    const reference = await rig.publish(await sampleImage(), 'sample');
    await rig.ctr.pull(reference);
    const output = rig.workspace.path('left.out');
    await rig.ctr.start(reference, 'left', 'sleep 600', output);
    expect(rig.workspace.leftovers().join('\n')).toContain('rootfs');
    const groups = controlGroups(rig.workspace.name);
    expect(groups).not.toEqual([]);

    await rig.close();
    expect(rig.workspace.leftovers()).toEqual([]);
    expect(groups.filter((group) => existsSync(group))).toEqual([]);
  },
);

it('makes the same image each time', async () => {
  const [first, second] = [await sampleImage(), await sampleImage()];
  expect(second.manifest.digest).toBe(first.manifest.digest);
  expect((await sampleImage({ seed: 'other' })).manifest.digest).not.toBe(first.manifest.digest);
});

it('compares paths by whole components', () => {
  expect(isWithin('/run/x/snapshots', '/run/x/snapshots')).toBe(true);
  expect(isWithin('/run/x/snapshots/1/fs', '/run/x/snapshots')).toBe(true);
  expect(isWithin('/run/x/snapshots-old/1', '/run/x/snapshots')).toBe(false);
});

/** Control groups with the name, in v1 hierarchies and v2. */
function controlGroups(name: string): string[] {
  const top = '/sys/fs/cgroup';
  return [top, ...readdirSync(top).map((hierarchy) => join(top, hierarchy))]
    .map((hierarchy) => join(hierarchy, name))
    .filter((group) => existsSync(group));
}
