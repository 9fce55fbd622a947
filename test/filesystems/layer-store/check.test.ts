/**
 * Goal: what goes wrong with a store under mounted layers is noticed by `check`, with a reason,
 * and a failed mount leaves its mountpoint clean. Method: break one thing at a time, by hand.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import type { Digest } from '../../../src/filesystems/layer-store/digest.js';
import type { LayerFormat } from '../../../src/filesystems/layer-store/layout.js';
import { contentNames } from '../../../src/filesystems/layer-store/layout.js';
import { attribute, Bench, everyFormat, labelsOf, noSignal, reasonFor } from './support.js';

let bench: Bench;
beforeEach(() => {
  bench = new Bench();
});
afterEach(() => bench.close());

const entries = [{ name: 'file', content: 'content'.repeat(5000) }];
const otherEntries = [{ name: 'file', content: 'other'.repeat(5000) }];
const absent = `sha256:${'a'.repeat(64)}` as Digest;
const images = everyFormat.filter((format) => format !== 'directory');

const layerOf = (chainId: Digest): string => path.join(bench.store, 'sha256', chainId.slice(7));
const contentOf = (chainId: Digest, format: LayerFormat): string =>
  path.join(layerOf(chainId), contentNames[format]);

describe.each(everyFormat)('a layer as %s', (format) => {
  it('mounts once, checks, and unmounts, each as often as asked', async () => {
    const chainId = await bench.importEntries(entries, { format });
    const store = bench.open();
    const mountpoint = bench.directory('mountpoint');
    for (let time = 0; time < 2; time += 1) {
      await store.mount(mountpoint, labelsOf(chainId), noSignal());
      await store.check(mountpoint, labelsOf(chainId), noSignal());
      expect(bench.mountpoints()).toEqual([mountpoint]);
    }
    // A daemon that was restarted knows nothing and finds the mount as it left it.
    const restarted = bench.open();
    await restarted.check(mountpoint, labelsOf(chainId), noSignal());
    await restarted.mount(mountpoint, labelsOf(chainId), noSignal());
    expect(bench.mountpoints()).toEqual([mountpoint]);
    for (let time = 0; time < 2; time += 1) await restarted.unmount(mountpoint, noSignal());
    expect(bench.mountpoints()).toEqual([]);
    expect(fs.readdirSync(mountpoint)).toEqual([]);
    expect(await reasonFor(store.check(mountpoint, labelsOf(chainId), noSignal()))).toMatch(
      /nothing is mounted|does not show/,
    );
  });

  it('is missed when the whole store vanishes, and found again when it is back', async () => {
    const chainId = await bench.importEntries(entries, { format });
    const store = bench.open();
    const mountpoint = await bench.mount(chainId, store);
    fs.renameSync(bench.store, `${bench.store}-away`);
    const reason = /layer store at \S+ has vanished/;
    for (const each of [store, bench.open()]) {
      expect(await reasonFor(each.check(mountpoint, labelsOf(chainId), noSignal()))).toMatch(
        reason,
      );
    }
    const another = bench.directory('another');
    expect(await reasonFor(store.mount(another, labelsOf(chainId), noSignal()))).toMatch(reason);
    fs.renameSync(`${bench.store}-away`, bench.store);
    await store.check(mountpoint, labelsOf(chainId), noSignal());
  });

  it('is refused when another layer is shown, and the stranger is left alone', async () => {
    const chainId = await bench.importEntries(entries, { format });
    const other = await bench.importEntries(otherEntries, { format });
    const store = bench.open();
    const mountpoint = await bench.mount(other, store);
    expect(await reasonFor(store.check(mountpoint, labelsOf(chainId), noSignal()))).toMatch(/show/);
    expect(await reasonFor(store.mount(mountpoint, labelsOf(chainId), noSignal()))).toMatch(
      /already shows something else/,
    );
    expect(bench.mountpoints()).toEqual([mountpoint]);
    // Mounted over after it was checked.
    execFileSync('mount', ['-t', 'tmpfs', 'none', mountpoint]);
    expect(await reasonFor(store.check(mountpoint, labelsOf(other), noSignal()))).toMatch(/show/);
  });

  it('is refused when its content or manifest is gone, or a symlink', async () => {
    const chainId = await bench.importEntries(entries, { format });
    const store = bench.open();
    const mountpoint = bench.directory('mountpoint');
    const mount = (): Promise<string> =>
      reasonFor(store.mount(mountpoint, labelsOf(chainId), noSignal()));
    const content = contentOf(chainId, format);
    fs.renameSync(content, `${content}-away`);
    expect(await mount()).toMatch(/is gone from the layer store/);
    fs.symlinkSync(`${content}-away`, content);
    expect(await mount()).toMatch(/is not a (directory|regular file)/);
    fs.rmSync(content);
    fs.renameSync(`${content}-away`, content);
    const manifest = path.join(layerOf(chainId), 'manifest.json');
    fs.renameSync(manifest, `${manifest}-away`);
    expect(await mount()).toMatch(/is not in the layer store/);
    fs.symlinkSync(`${manifest}-away`, manifest);
    expect(await mount()).toMatch(/ELOOP/);
    expect(bench.mountpoints()).toEqual([]);
    expect(fs.readdirSync(mountpoint)).toEqual([]);
  });
});

it('refuses a mount that was made writable', async () => {
  const chainId = await bench.importEntries(entries);
  const mountpoint = await bench.mount(chainId);
  execFileSync('mount', ['-o', 'remount,bind,rw', mountpoint]);
  const reason = await reasonFor(bench.open().check(mountpoint, labelsOf(chainId), noSignal()));
  expect(reason).toMatch(/is not read-only/);
});

describe.each(images)('an image as %s', (format) => {
  it('is noticed when it is truncated, longer, rewritten or replaced', async () => {
    const chainId = await bench.importEntries(entries, { format });
    const image = contentOf(chainId, format);
    const size = fs.statSync(image).size;
    const store = bench.open();
    const mountpoint = await bench.mount(chainId, store);
    const check = (): Promise<string> =>
      reasonFor(store.check(mountpoint, labelsOf(chainId), noSignal()));
    expect(await check()).toBe('none');

    const whole = fs.readFileSync(image);
    fs.copyFileSync(image, `${image}-copy`);
    fs.truncateSync(image, size - 4096);
    expect(await check()).toMatch(/is truncated: \d+ of \d+ bytes/);
    const unmounted = bench.directory('unmounted');
    expect(await reasonFor(bench.open().mount(unmounted, labelsOf(chainId), noSignal()))).toMatch(
      /is truncated/,
    );
    fs.writeFileSync(image, Buffer.concat([whole, Buffer.alloc(4096)]));
    expect(await check()).toMatch(/expected \d+ as in its manifest/);
    fs.writeFileSync(image, whole);
    expect(await check()).toMatch(/replaced or rewritten/);
    fs.renameSync(`${image}-copy`, image);
    expect(await check()).toMatch(/replaced or rewritten/);
    expect(bench.mountpoints()).toEqual([mountpoint]);
  });

  it('is refused when it is the image of another layer of the same size', async () => {
    const chainId = await bench.importEntries(entries, { format });
    const other = await bench.importEntries([{ name: 'file', content: 'CONTENT'.repeat(5000) }], {
      format,
    });
    const image = contentOf(chainId, format);
    expect(fs.statSync(contentOf(other, format)).size).toBe(fs.statSync(image).size);
    fs.copyFileSync(contentOf(other, format), image);
    const mountpoint = bench.directory('mountpoint');
    expect(await reasonFor(bench.open().mount(mountpoint, labelsOf(chainId), noSignal()))).toMatch(
      /shows the layer sha256:/,
    );
    expect(bench.mountpoints()).toEqual([]);
  });
});

describe('a directory', () => {
  it('is noticed when it is swapped for another, mounted or not', async () => {
    const chainId = await bench.importEntries(entries);
    const other = await bench.importEntries(otherEntries);
    const store = bench.open();
    const mountpoint = await bench.mount(chainId, store);
    const content = contentOf(chainId, 'directory');
    const check = (each = store): Promise<string> =>
      reasonFor(each.check(mountpoint, labelsOf(chainId), noSignal()));
    const isSwapped = /is not the directory that was imported/;

    fs.renameSync(content, `${content}-away`);
    fs.cpSync(`${content}-away`, content, { recursive: true, preserveTimestamps: true });
    expect(await check()).toMatch(isSwapped);
    expect(await check(bench.open())).toMatch(isSwapped);
    fs.rmSync(content, { recursive: true });
    // A whole layer of the same store in its place, token and all.
    execFileSync('cp', ['-a', contentOf(other, 'directory'), content]);
    expect(await check()).toMatch(isSwapped);
    const unmounted = bench.directory('unmounted');
    expect(await reasonFor(bench.open().mount(unmounted, labelsOf(chainId), noSignal()))).toMatch(
      isSwapped,
    );
    fs.rmSync(content, { recursive: true });
    // The true copy passes for a new mount; the old mount still shows the original.
    execFileSync('cp', ['-a', `${content}-away`, content]);
    expect(attribute(content, 'trusted.stratalog.layer')).not.toBe('none');
    await bench.open().mount(unmounted, labelsOf(chainId), noSignal());
    expect(await check()).toMatch(/does not show/);
  });
});

describe('labels and mountpoints', () => {
  it('are refused when they cannot name a layer', async () => {
    await bench.importEntries(entries);
    const store = bench.open();
    const mountpoint = bench.directory('mountpoint');
    const mount = (ref: string): Promise<string> =>
      reasonFor(store.mount(mountpoint, labelsOf(ref), noSignal()));
    expect(await mount(absent)).toBe(`layer ${absent} is not in the layer store at ${bench.store}`);
    for (const ref of ['', '../../etc', `sha256:../${'a'.repeat(61)}`, absent.toUpperCase()]) {
      expect(await mount(ref)).toMatch(/is not a chain id/);
    }
    expect(await reasonFor(store.mount(mountpoint, new Map(), noSignal()))).toMatch(/no label/);
    const gone = AbortSignal.abort(new Error('given up'));
    expect(await reasonFor(store.mount(mountpoint, labelsOf(absent), gone))).toBe('given up');
    expect(fs.readdirSync(mountpoint)).toEqual([]);
  });

  it('may be reached through a symlink', async () => {
    const chainId = await bench.importEntries(entries);
    const real = bench.directory('real');
    const link = path.join(bench.path, 'link');
    fs.symlinkSync(real, link);
    fs.mkdirSync(path.join(link, 'fs'));
    const store = bench.open();
    await store.mount(path.join(link, 'fs'), labelsOf(chainId), noSignal());
    await bench.open().check(path.join(link, 'fs'), labelsOf(chainId), noSignal());
    expect(bench.mountpoints()).toEqual([path.join(real, 'fs')]);
    await store.unmount(path.join(link, 'fs'), noSignal());
    await store.unmount(path.join(bench.path, 'never/was'), noSignal());
    expect(bench.mountpoints()).toEqual([]);
  });
});

it('says who keeps a mountpoint busy, and unmounts it once they are gone', async () => {
  const chainId = await bench.importEntries(entries);
  const store = bench.open();
  const mountpoint = await bench.mount(chainId, store);
  const holder = spawn('sleep', ['60'], { cwd: mountpoint });
  await once(holder, 'spawn');
  expect(await reasonFor(store.unmount(mountpoint, noSignal()))).toMatch(
    new RegExp(`is busy: in use by sleep \\(pid ${holder.pid ?? 0}, working directory\\)`),
  );
  expect(bench.mountpoints()).toEqual([mountpoint]);
  const freed = store.unmount(mountpoint, noSignal());
  holder.kill('SIGKILL');
  await once(holder, 'exit');
  await freed.catch(() => store.unmount(mountpoint, noSignal()));
  expect(bench.mountpoints()).toEqual([]);
});
