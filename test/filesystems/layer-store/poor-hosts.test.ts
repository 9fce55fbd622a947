/**
 * Goal: where a kernel or a file system has less to offer, the store does with less, or says what
 * is missing. Method: a ramfs (no extended attributes), a mount table that refuses as an old
 * kernel does and else is the real one, a PATH without tools, an import that is given up.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';

import { HostFault } from '../../../src/base/errors.js';
import type { MountTable } from '../../../src/base/ports.js';
import { openLayerStore } from '../../../src/filesystems/layer-store/layer-store.js';
import { tarOf } from '../../../scripts/rig/tar.js';
import { Bench, everyFormat, labelsOf, noSignal, reasonFor } from './support.js';

let bench: Bench;
let searchPath: string | undefined;
beforeEach(() => {
  bench = new Bench();
  searchPath = process.env['PATH'];
});
afterEach(async () => {
  process.env['PATH'] = searchPath;
  await bench.close();
});

const entries = [{ name: 'file', content: 'content' }];
const stagingIn = (): string[] => fs.readdirSync(path.join(bench.store, 'staging'));

it('knows a directory by its inode where there are no trusted attributes', async () => {
  fs.mkdirSync(bench.store);
  execFileSync('mount', ['-t', 'ramfs', 'none', bench.store]);
  const chainId = await bench.importEntries(entries);
  const content = path.join(bench.store, 'sha256', chainId.slice(7), 'fs');
  expect(fs.readFileSync(path.join(content, '../manifest.json'), 'utf8')).toContain('"inode"');
  const store = bench.open();
  const mountpoint = await bench.mount(chainId, store);
  await store.check(mountpoint, labelsOf(chainId), noSignal());
  fs.renameSync(content, `${content}-away`);
  fs.cpSync(`${content}-away`, content, { recursive: true });
  expect(await reasonFor(store.check(mountpoint, labelsOf(chainId), noSignal()))).toMatch(
    /is not the directory that was imported/,
  );

  // A layer that would be wrong without them is refused, and leaves nothing.
  const layout = bench.layout([tarOf([{ name: 'other' }]), tarOf([{ name: 'd/.wh..wh..opq' }])]);
  const opaque = `oci:${layout.path}:v1`;
  expect(await reasonFor(bench.import(opaque))).toMatch(/cannot hold the attribute/);
  expect(await reasonFor(bench.import(opaque, { format: 'erofs' }))).toMatch(
    /import into a store on a local file system/,
  );
  expect(stagingIn()).toEqual([]);
});

/** The real mount table, but for EROFS from a file, which fails with this errno. */
function withoutFileBackedErofs(code: string): MountTable {
  return {
    ...bench.mountTable,
    mount: (request, signal) =>
      request.type === 'erofs' && !request.options.includes('loop')
        ? Promise.reject(new HostFault('mount', request.mountpoint, code))
        : bench.mountTable.mount(request, signal),
  };
}

it('mounts EROFS through a loop device where the kernel cannot do without', async () => {
  const chainId = await bench.importEntries(entries, { format: 'erofs' });
  const open = (code: string): ReturnType<typeof openLayerStore> =>
    openLayerStore({
      directory: bench.store,
      mountTable: withoutFileBackedErofs(code),
      workers: bench.workers,
    });
  const mountpoint = await bench.mount(chainId, open('ENOTBLK'));
  const table = await bench.mountTable.read();
  const entry = table.find((each) => each.mountpoint === mountpoint);
  expect(entry?.source).toMatch(/^\/dev\/loop\d+$/);
  await open('ENOTBLK').check(mountpoint, labelsOf(chainId), noSignal());
  await open('ENOTBLK').unmount(mountpoint, noSignal());
  // The device went with its mount.
  const image = path.join(bench.store, 'sha256', chainId.slice(7), 'layer.erofs');
  expect(execFileSync('losetup', ['--associated', image], { encoding: 'utf8' })).toBe('');

  const other = bench.directory('other');
  expect(await reasonFor(open('ENODEV').mount(other, labelsOf(chainId), noSignal()))).toMatch(
    /this kernel cannot mount erofs \(modprobe erofs may help\)/,
  );
  expect(bench.mountpoints()).toEqual([]);
});

it.each([
  ['erofs', 'mkfs.erofs', 'erofs-utils'],
  ['squashfs', 'mksquashfs', 'squashfs-tools'],
] as const)('names the package that makes %s images', async (format, program, debianPackage) => {
  process.env['PATH'] = bench.path;
  expect(await reasonFor(bench.importEntries(entries, { format }))).toBe(
    `${program} is not installed: it comes with the Debian package ${debianPackage}`,
  );
  expect(stagingIn()).toEqual([]);
});

it('says why mkfs.erofs failed, and what is known to trip it', async () => {
  const long = [{ name: 'n'.repeat(255), content: 'x' }];
  const reason = await reasonFor(bench.importEntries(long, { format: 'erofs' }));
  // Newer releases take such names.
  if (reason !== 'none') expect(reason).toMatch(/^mkfs\.erofs failed: .*a name of 255 bytes/);
  await bench.importEntries(long, { format: 'squashfs' });
  expect(stagingIn()).toEqual([]);
});

it.each(everyFormat)('leaves nothing when an import is given up, as %s', async (format) => {
  const files = Array.from({ length: 500 }, (_, index) => ({ name: `${index}`, content: 'x' }));
  const layout = bench.layout([tarOf(files)]);
  const stop = new AbortController();
  const given = bench.import(`oci:${layout.path}:v1`, {
    format,
    signal: stop.signal,
    progress: () => {
      stop.abort(new Error('given up'));
    },
  });
  expect(await reasonFor(given)).toBe('given up');
  expect(fs.readdirSync(path.join(bench.store, 'sha256'))).toEqual([]);
  expect(stagingIn()).toEqual([]);
});
