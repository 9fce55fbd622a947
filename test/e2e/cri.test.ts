/**
 * Goal: the kubelet can run pods on Stratalog. Method: a containerd 2.x with the sections that
 * `stratalog config containerd` prints, and a client of the CRI in the kubelet's place.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Cri, criSettings } from '../../scripts/rig/cri.js';
import { directoriesInUse } from '../../scripts/rig/directories.js';
import type { Rig } from '../../scripts/rig/rig.js';
import { sampleImage, stackCheck } from '../../scripts/rig/sample-image.js';
import { until } from '../../scripts/rig/wait.js';
import { connectedAgain, startLimitMillis, startRig } from './support.js';

const sample = { extraLayers: 2, bytesPerLayer: 100_000 };

describe('the CRI of containerd', () => {
  let rig: Rig;
  let cri: Cri;
  let reference: string;
  let sandbox: string;

  beforeAll(async () => {
    rig = await startRig({
      asPrinted: true,
      cri: (registry, workspace) => criSettings(workspace, registry.reference('pause', 'v1')),
    });
    sandbox = await rig.publish(
      await sampleImage({ seed: 'pause', command: ['/bin/sleep', '3600'] }),
      'pause',
    );
    reference = await rig.publish(await sampleImage(sample), 'sample');
    cri = await Cri.connect(rig.workspace, rig.containerd.address);
    await cri.pull(reference);
  }, startLimitMillis);

  afterAll(() => rig.close());

  const inKubernetes = () => rig.ctr.inNamespace('k8s.io');

  it('tells the kubelet to measure the file system of the root', async () => {
    expect(await cri.images()).toEqual([reference]);
    expect(await cri.imageFileSystem()).toBe(rig.daemon.root);
  });

  it('runs a pod whose container goes on while Stratalog is killed', async () => {
    const pod = await cri.runPod('plain');
    const container = await cri.start(pod, 'worker', reference, 'echo mine > /mine; sleep 600');
    expect(await cri.exec(container, stackCheck(sample))).toBe('stacked rightly\n');
    await rig.daemon.crash();
    expect(await cri.exec(container, 'cat /mine')).toBe('mine\n');
    await rig.daemon.start();
    expect(await cri.containerState(container)).toBe('CONTAINER_RUNNING');
    const second = await until('containerd has connected again', () =>
      cri.start(pod, `second-${process.hrtime.bigint()}`, reference, 'sleep 600'),
    );
    expect(await cri.exec(second, 'test -e /mine || echo fresh')).toBe('fresh\n');
    for (const id of [container, second]) await cri.removeContainer(id);
    await cri.removePod(pod);
  });

  it('runs a pod in a user namespace that owns its files and may change them', async () => {
    const userNamespace = { hostId: 200_000, length: 65_536 };
    const pod = await cri.runPod('mapped', { userNamespace });
    const container = await cri.start(pod, 'mapped', reference, 'sleep 600');
    expect(await cri.exec(container, 'cat /proc/self/uid_map')).toMatch(
      /^\s*0\s+200000\s+65536\n$/,
    );
    expect(await cri.exec(container, stackCheck(sample))).toBe('stacked rightly\n');
    const script = `
      stat -c %u:%g / /app/hello.txt
      echo more >> /app/hello.txt && chown 7:8 /app/hello.txt && rm /old/kept.txt && mkdir /made
      stat -c %u:%g /app/hello.txt /made; ls /old; cat /app/hello.txt`;
    expect(await cri.exec(container, script)).toBe('0:0\n0:0\n7:8\n0:0\nhello from sample\nmore\n');
    await cri.removeContainer(container);
    await cri.removePod(pod);
  });

  it('works in a containerd that started before Stratalog (nydus-snapshotter #796)', async () => {
    await rig.daemon.stop();
    await rig.containerd.crash();
    await rig.containerd.startAgain();
    // Without a socket to wait in, containerd cannot see what is unpacked, and lists no image.
    expect(await connectedAgain(() => cri.images())).toEqual([]);
    await rig.daemon.start();
    await connectedAgain(() => inKubernetes().snapshots());
    await rig.registry.newRequests();
    await cri.pull(reference);
    expect(await rig.registry.newBlobsServed()).toEqual([]);
    const pod = await cri.runPod('early');
    const container = await cri.start(pod, 'early', reference, 'sleep 600');
    expect(await cri.exec(container, stackCheck(sample))).toBe('stacked rightly\n');
    await cri.removeContainer(container);
    await cri.removePod(pod);
  });

  it('leaves nothing when everything is removed', async () => {
    for (const image of [reference, sandbox]) await cri.removeImage(image);
    await until(
      'no snapshot and no directory is left',
      async () =>
        (await inKubernetes().snapshots()).length === 0 &&
        (await directoriesInUse(rig.daemon.root)).length === 0,
    );
  });
});
