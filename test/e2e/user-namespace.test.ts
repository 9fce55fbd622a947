/** Containers in a user namespace, with ids mapped by the snapshotter and by containerd. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { containerdMajor } from '../../scripts/rig/containerd.js';
import type { Rig } from '../../scripts/rig/rig.js';
import { sampleImage } from '../../scripts/rig/sample-image.js';
import { againstPeer, startLimitMillis, startRig } from './support.js';

const mapping = ['--uidmap', '0:100000:65536', '--gidmap', '0:100000:65536'];

describe('a container in a user namespace', () => {
  let rig: Rig;
  let reference: string;

  beforeAll(async () => {
    // containerd 1.x hands mount options on to the kernel, which knows no uidmap; 2.x makes an
    // idmapped mount of them.
    rig = await startRig({
      config: `remap_ids = ${(await containerdMajor()) === 1 ? 'false' : '"auto"'}\n`,
    });
    reference = await rig.publish(await sampleImage(), 'sample');
    await rig.ctr.pull(reference);
  }, startLimitMillis);

  afterAll(() => rig.close());

  // The overlayfs snapshotter of containerd 1.6 does not know the labels.
  it.skipIf(againstPeer)('may write to the root that the snapshotter gave to its ids', async () => {
    const script = 'cat /proc/self/uid_map; echo mine > /mine && stat -c %u:%g / /mine';
    const flags = [...mapping, '--remap-labels'];
    const output = await rig.ctr.runOnce(reference, 'by-labels', script, { flags });
    expect(
      output
        .trim()
        .split('\n')
        .map((line) => line.trim().replace(/\s+/g, ' ')),
    ).toEqual(['0 100000 65536', '0:0', '0:0']);
  });

  it('owns the whole image when containerd has remapped it', async () => {
    const script = 'echo mine > /app/hello.txt && stat -c %u:%g /app/hello.txt /settings/new.conf';
    expect(await rig.ctr.runOnce(reference, 'by-copy', script, { flags: mapping })).toBe(
      '0:0\n0:0\n',
    );
  });
});
