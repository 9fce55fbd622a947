/** The ordinary life of images and containers on Stratalog, through containerd's own `ctr`. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { directoriesInUse } from '../../scripts/rig/directories.js';
import { type Image, imageOf, writeArchive } from '../../scripts/rig/image.js';
import { layerOfBlob } from '../../scripts/rig/layer.js';
import type { Rig } from '../../scripts/rig/rig.js';
import { sampleImage, stackCheck } from '../../scripts/rig/sample-image.js';
import { until } from '../../scripts/rig/wait.js';
import { startLimitMillis, startRig } from './support.js';

const sample = { extraLayers: 3, bytesPerLayer: 200_000 };

describe('images and containers', () => {
  let rig: Rig;
  let image: Image;
  let reference: string;
  let top: string;

  beforeAll(async () => {
    rig = await startRig();
    image = await sampleImage(sample);
    reference = await rig.publish(image, 'sample');
    top = image.chainIds.at(-1) ?? '';
    await rig.ctr.pull(reference);
  }, startLimitMillis);

  afterAll(() => rig.close());

  it('shows a committed snapshot for each layer, each on the one below', async () => {
    const rows = await rig.ctr.snapshots();
    const expected = image.chainIds.map((key, index) => ({
      key,
      parent: image.chainIds[index - 1] ?? '',
      kind: 'Committed',
    }));
    expect(rows.sort(byKey)).toEqual(expected.sort(byKey));
  });

  it('runs a container that sees its layers stacked rightly', async () => {
    expect(await rig.ctr.runOnce(reference, 'stack', stackCheck(sample))).toBe('stacked rightly\n');
    expect((await rig.ctr.snapshots()).some((row) => row.key === 'stack')).toBe(false);
  });

  it('keeps what one container writes from another', async () => {
    const write = 'echo mine > /app/hello.txt && rm /old/kept.txt && cat /app/hello.txt';
    expect(await rig.ctr.runOnce(reference, 'writer', write)).toBe('mine\n');
    expect(await rig.ctr.runOnce(reference, 'reader', stackCheck(sample))).toBe(
      'stacked rightly\n',
    );
  });

  it('executes a program in a running container and shows its writes in usage and diff', async () => {
    await rig.ctr.start(reference, 'worker', 'sleep 600', rig.workspace.path('worker.out'));
    const before = await usageOf('worker');
    const megabyte =
      'dd if=/dev/urandom of=/big bs=1024 count=1024 2>/dev/null; sync; wc -c < /big';
    expect((await rig.ctr.exec('worker', megabyte)).trim()).toBe('1048576');
    const after = await usageOf('worker');
    expect(after - before).toBeGreaterThanOrEqual(1024 * 1024);

    const diff = await rig.ctr.diff('worker');
    // Noise does not shrink: the diff holds the file, and not the image below it.
    expect(diff.length).toBeGreaterThan(1024 * 1024);
    expect(diff.length).toBeLessThan(1024 * 1024 + 100_000);
    await rig.ctr.removeContainer('worker');
  });

  it('tells the facts of a snapshot: info, tree, mounts', async () => {
    const info: unknown = JSON.parse(await rig.ctr.run(...rig.ctr.snapshotCommand('info', top)));
    expect(info).toMatchObject({ Kind: 'Committed', Name: top, Parent: image.chainIds.at(-2) });

    const tree = (await rig.ctr.run(...rig.ctr.snapshotCommand('tree'))).trimEnd().split('\n');
    expect(tree.map((line) => line.replace(/^[\s\\_]+/, ''))).toEqual(image.chainIds);

    await rig.ctr.run(...rig.ctr.snapshotCommand('prepare', 'by-hand', top));
    const mounts = await rig.ctr.run(...rig.ctr.snapshotCommand('mounts', '/anywhere', 'by-hand'));
    expect(mounts).toMatch(/^mount -t overlay overlay \/anywhere -o .*lowerdir=.*/m);
    const lowers = /lowerdir=([^,\s]+)/.exec(mounts)?.[1]?.split(':') ?? [];
    expect(lowers).toHaveLength(image.chainIds.length);
    await rig.ctr.run(...rig.ctr.snapshotCommand('rm', 'by-hand'));
  });

  it('commits what a container wrote as a snapshot that others can be started on', async () => {
    await rig.ctr.run(...rig.ctr.snapshotCommand('prepare', 'edit', top));
    await rig.ctr.run(...rig.ctr.snapshotCommand('commit', 'edited', 'edit'));
    const rows = await rig.ctr.snapshots();
    expect(rows).toContainEqual({ key: 'edited', parent: top, kind: 'Committed' });
    expect(rows.some((row) => row.key === 'edit')).toBe(false);
    await rig.ctr.run(...rig.ctr.snapshotCommand('rm', 'edited'));
  });

  it('makes an image of a container: diff, import, run', async () => {
    const script = 'echo added > /app/added.txt; rm /old/kept.txt; sleep 600';
    await rig.ctr.start(reference, 'author', script, rig.workspace.path('author.out'));
    await until('the container has written', async () =>
      rig.ctr.exec('author', 'test ! -e /old/kept.txt && echo yes'),
    );
    const layer = layerOfBlob(await rig.ctr.diff('author'));
    await rig.ctr.removeContainer('author');

    const archive = rig.workspace.path('authored.tar');
    await writeArchive(imageOf([...image.layers, layer]), archive, 'example.test/authored:v1');
    await rig.ctr.run(...['images', 'import', '--snapshotter', 'stratalog', archive]);
    const check = 'cat /app/added.txt /app/hello.txt; test -e /old/kept.txt || echo gone';
    expect(await rig.ctr.runOnce('example.test/authored:v1', 'authored', check)).toBe(
      'added\nhello from sample\ngone\n',
    );
    await rig.ctr.removeImage('example.test/authored:v1');
  });

  it('shares an image between two namespaces, and keeps it for one when the other lets go', async () => {
    const other = rig.ctr.inNamespace('other');
    await other.pull(reference);
    expect(await other.runOnce(reference, 'there', stackCheck(sample))).toBe('stacked rightly\n');
    expect(await rig.ctr.runOnce(reference, 'here', stackCheck(sample))).toBe('stacked rightly\n');
    await other.removeImage(reference);
    expect(await other.snapshots()).toEqual([]);
    expect(await rig.ctr.runOnce(reference, 'here', stackCheck(sample))).toBe('stacked rightly\n');
  });

  it('lets garbage collection remove all snapshots of a removed image, and their directories', async () => {
    expect(await directories()).not.toEqual([]);
    await rig.ctr.removeImage(reference);
    expect(await rig.ctr.snapshots()).toEqual([]);
    await until('the directories are gone', async () => (await directories()).length === 0);

    await rig.ctr.pull(reference);
    expect(await rig.ctr.runOnce(reference, 'again', stackCheck(sample))).toBe('stacked rightly\n');
  });

  const byKey = (a: { key: string }, b: { key: string }) => a.key.localeCompare(b.key);
  const directories = () => directoriesInUse(rig.daemon.root);

  /** Bytes of the key by `ctr snapshots usage -b`. */
  async function usageOf(key: string): Promise<number> {
    const text = await rig.ctr.run(...rig.ctr.snapshotCommand('usage', '-b', key));
    const row = text.split('\n').find((line) => line.startsWith(key));
    return Number(row?.trim().split(/\s+/)[1]);
  }
});
