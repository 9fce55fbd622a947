/**
 * Goal: Docker Engine works on Stratalog. Method: an engine with the containerd image store, and a
 * containerd with the sections that `stratalog config containerd` prints, pull, run, build and
 * remove, across a kill of Stratalog. Needs Docker Engine 28, so it runs with containerd 2.x only.
 */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { directoriesInUse } from '../../scripts/rig/directories.js';
import { DockerEngine } from '../../scripts/rig/docker.js';
import type { Rig } from '../../scripts/rig/rig.js';
import { sampleImage, stackCheck } from '../../scripts/rig/sample-image.js';
import { until } from '../../scripts/rig/wait.js';
import { startLimitMillis, startRig } from './support.js';

const sample = { extraLayers: 2, bytesPerLayer: 100_000 };
const withoutNetwork = ['--network', 'none'];

describe('Docker Engine with the containerd image store', () => {
  let rig: Rig;
  let docker: DockerEngine;
  let reference: string;

  beforeAll(async () => {
    rig = await startRig({ asPrinted: true });
    docker = await DockerEngine.start({
      workspace: rig.workspace,
      containerd: rig.containerd,
      snapshotter: 'stratalog',
    });
    const image = await sampleImage(sample);
    reference = await rig.publish(image, 'sample');
    await docker.run('pull', '--quiet', reference);
    const rows = await inMoby().snapshots();
    expect(rows.map(({ key }) => key).sort()).toEqual([...image.chainIds].sort());
  }, startLimitMillis);

  afterAll(() => rig.close());

  const inMoby = () => rig.ctr.inNamespace('moby');
  const runOnce = (image: string, script: string) =>
    docker.run('run', '--rm', ...withoutNetwork, image, '/bin/sh', '-c', script);

  it('runs a container that sees its layers stacked rightly', async () => {
    expect(await runOnce(reference, stackCheck(sample))).toBe('stacked rightly\n');
  });

  it.each(['classic', 'buildkit'] as const)(
    'builds with the %s builder, and another engine can pull the result',
    async (builder) => {
      // With --link BuildKit merges snapshots, which no other client does.
      const copy = builder === 'buildkit' ? 'COPY --link' : 'COPY';
      const files = {
        Dockerfile: [
          `FROM ${reference}`,
          `${copy} note /note`,
          'RUN rm /old/kept.txt && mkdir /made && echo one > /made/one',
          'RUN mv /made/one /made/two && chmod 0640 /made/two',
          'RUN rm -r /settings && mkdir /settings && echo kept > /settings/other',
        ].join('\n'),
        note: `${builder}\n`,
      };
      const tag = rig.registry.reference(builder, 'v1');
      await docker.build(builder, tag, files, rig.workspace.path(`context-${builder}`));
      const script =
        'cat /note /made/two; ls /made /settings; stat -c %a /made/two; test -e /old/kept.txt || echo gone';
      const expected = `${builder}\none\n/made:\ntwo\n\n/settings:\nother\n640\ngone\n`;
      expect(await runOnce(tag, script)).toBe(expected);

      await docker.run('push', '--quiet', tag);
      await rig.ctr.pull(tag);
      expect(await rig.ctr.runOnce(tag, `pulled-${builder}`, script)).toBe(expected);
      await rig.ctr.removeImage(tag);
    },
  );

  it('builds several images on one base while containerd collects (buildkit #6521)', async () => {
    const names = ['first', 'second', 'third'];
    await Promise.all([
      ...names.map(async (name) => {
        const files = {
          Dockerfile: [
            `FROM ${reference}`,
            'RUN rm /old/kept.txt',
            `COPY --link name /name`,
            'RUN cat /name > /copied',
          ].join('\n'),
          name: `${name}\n`,
        };
        const context = rig.workspace.path(`context-${name}`);
        await docker.build('buildkit', `${name}-image`, files, context);
      }),
      inMoby().collectGarbage(),
      docker.run('image', 'prune', '--force'),
    ]);
    for (const name of names) {
      const script = 'cat /name /copied; ls /old; cat /app/hello.txt';
      expect(await runOnce(`${name}-image`, script)).toBe(`${name}\n${name}\nhello from sample\n`);
    }
    await docker.run('rmi', ...names.map((name) => `${name}-image`));
  });

  it('commits a container, which goes on while Stratalog is killed', async () => {
    const script = 'echo written > /written; sleep 600';
    await docker.run(
      ...['run', '--detach', '--name', 'worker', ...withoutNetwork],
      ...[reference, '/bin/sh', '-c', script],
    );
    await until('the container has written', () =>
      docker.run('exec', 'worker', '/bin/cat', '/written').then((text) => text === 'written\n'),
    );
    await rig.daemon.crash();
    expect(await docker.run('exec', 'worker', '/bin/cat', '/written')).toBe('written\n');
    await rig.daemon.start();
    await until('containerd has connected again', async () => {
      await docker.run('commit', 'worker', 'committed');
      return true;
    });
    expect(await runOnce('committed', 'cat /written /app/hello.txt')).toBe(
      'written\nhello from sample\n',
    );
    await docker.run('restart', '--time', '0', 'worker');
    expect(await docker.run('exec', 'worker', '/bin/cat', '/written')).toBe('written\n');
  });

  it('commits two containers of one image at once (moby #44450)', async () => {
    const names = ['left', 'right'];
    for (const name of names) {
      const script = `echo ${name} > /name; rm /old/kept.txt`;
      await docker.run(
        ...['run', '--name', name, ...withoutNetwork, reference, '/bin/sh', '-c', script],
      );
    }
    await Promise.all(names.map((name) => docker.run('commit', name, `${name}-image`)));
    for (const name of names) {
      const script = 'cat /name; ls /old; cat /app/hello.txt';
      expect(await runOnce(`${name}-image`, script)).toBe(`${name}\nhello from sample\n`);
    }
    const changes = (await docker.run('diff', 'left')).trim().split('\n');
    expect(changes.sort()).toEqual(['A /name', 'C /old', 'D /old/kept.txt']);
    const copied = rig.workspace.path('copied');
    await docker.run('cp', 'right:/name', copied);
    expect(readFileSync(copied, 'utf8')).toBe('right\n');
    await docker.run('rm', ...names);
  });

  it('saves an image whose layers others have too, and loads it again (moby #49473)', async () => {
    const archive = rig.workspace.path('saved.tar');
    await docker.run('save', '--output', archive, 'left-image');
    await docker.run('rmi', '--force', 'left-image', 'right-image');
    await docker.run('load', '--input', archive);
    expect(await runOnce('left-image', 'cat /name /app/hello.txt')).toBe(
      'left\nhello from sample\n',
    );
  });

  it('leaves nothing when everything is removed', async () => {
    expect(await directoriesInUse(rig.daemon.root)).not.toEqual([]);
    await docker.run('rm', '--force', 'worker');
    const images = (await docker.run('images', '--quiet')).trim().split('\n');
    await docker.run('rmi', '--force', ...new Set(images));
    await docker.run('builder', 'prune', '--all', '--force');
    await until(
      'no snapshot and no directory is left',
      async () =>
        (await inMoby().snapshots()).length === 0 &&
        (await directoriesInUse(rig.daemon.root)).length === 0,
    );
  });
});
