import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import type { MountTable } from '../../src/base/ports.js';
import { systemMountTable } from '../../src/host/mounts/mounts.js';
import { WorkerPool } from '../../src/host/threads/workers.js';
import { codeOf, mountpointsBelow, temporaryDirectory } from './support.js';
import type { TemporaryDirectory } from './support.js';

let pool: WorkerPool;
let table: MountTable;
let directory: TemporaryDirectory;
let source: string;
let mountpoint: string;

beforeAll(() => {
  pool = new WorkerPool();
  table = systemMountTable(pool);
});
afterAll(async () => {
  expect(await pool.close()).toBe(0);
});
beforeEach(() => {
  directory = temporaryDirectory();
  source = `${directory.path}/source`;
  mountpoint = `${directory.path}/mount point`;
  fs.mkdirSync(source);
  fs.mkdirSync(mountpoint);
});
afterEach(async () => {
  for (;;) {
    const left = (await table.read()).filter((entry) =>
      entry.mountpoint.startsWith(directory.path),
    );
    const last = left.at(-1);
    if (last === undefined) break;
    await table.unmount(last.mountpoint, { detach: true });
  }
  directory.remove();
});

const entryAt = async (path: string) =>
  (await table.read()).findLast((entry) => entry.mountpoint === path);

test('mounts, shows it in the table, unmounts', async () => {
  await table.mount({
    type: 'tmpfs',
    source: 'scratch',
    mountpoint,
    options: ['size=1m', 'nodev'],
  });
  expect(await entryAt(mountpoint)).toMatchObject({
    fileSystemType: 'tmpfs',
    source: 'scratch',
    root: '/',
    superOptions: expect.arrayContaining(['size=1024k']) as unknown,
    options: expect.arrayContaining(['rw', 'nodev']) as unknown,
  });
  await table.unmount(mountpoint, { detach: false });
  expect(await entryAt(mountpoint)).toBeUndefined();
  expect(await codeOf(table.unmount(mountpoint, { detach: false }))).toBe('EINVAL');
});

test('mounts an overlay', async () => {
  for (const name of ['lower', 'upper', 'work']) fs.mkdirSync(`${source}/${name}`);
  fs.writeFileSync(`${source}/lower/file`, 'below');
  const options = ['lower', 'upper', 'work'].map((name) => `${name}dir=${source}/${name}`);
  await table.mount({ type: 'overlay', source: 'overlay', mountpoint, options });
  expect(fs.readFileSync(`${mountpoint}/file`, 'utf8')).toBe('below');
});

test('a read-only bind is read-only, while its source is not', async () => {
  await table.mount({ type: 'bind', source, mountpoint, options: ['rbind', 'ro', 'nosuid'] });
  expect(await codeOf(() => fs.writeFileSync(`${mountpoint}/file`, ''))).toBe('EROFS');
  fs.writeFileSync(`${source}/file`, '');
  expect((await entryAt(mountpoint))?.options).toEqual(expect.arrayContaining(['ro', 'nosuid']));
});

test('a read-only bind keeps the flags that its source was mounted with', async () => {
  await table.mount({
    type: 'tmpfs',
    source: 't',
    mountpoint: source,
    options: ['nodev', 'noexec'],
  });
  await table.mount({ type: 'bind', source, mountpoint, options: ['bind', 'ro'] });
  const options = (await entryAt(mountpoint))?.options;
  expect(options).toEqual(expect.arrayContaining(['ro', 'nodev', 'noexec']));
});

test('a bind whose second step fails is undone', async () => {
  // The kernel refuses to make anything but a mount root private; `shared` and `private` in one
  // call are refused always, so the two together fail after the bind stands.
  const both = { type: 'bind', source, mountpoint, options: ['bind', 'shared', 'unbindable'] };
  await table.mount(both);
  await table.unmount(mountpoint, { detach: false });
  const inner = `${directory.path}/inner`;
  fs.mkdirSync(inner);
  await table.mount({
    type: 'bind',
    source: inner,
    mountpoint: inner,
    options: ['bind', 'unbindable'],
  });
  const failing = { type: 'bind', source: inner, mountpoint, options: ['bind', 'ro'] };
  expect(await codeOf(table.mount(failing))).toBe('EINVAL');
  expect(await entryAt(mountpoint)).toBeUndefined();
});

test('changes what is mounted: remount and propagation', async () => {
  await table.mount({ type: 'tmpfs', source: 't', mountpoint, options: [] });
  await table.mount({ type: '', source: '', mountpoint, options: ['remount', 'ro'] });
  expect(await codeOf(() => fs.writeFileSync(`${mountpoint}/file`, ''))).toBe('EROFS');
  const tags = (): string =>
    execFileSync('findmnt', ['-n', '-o', 'PROPAGATION', mountpoint], { encoding: 'utf8' }).trim();
  await table.mount({ type: 'none', source: '', mountpoint, options: ['rshared'] });
  expect(tags()).toBe('shared');
  await table.mount({ type: 'none', source: '', mountpoint, options: ['rprivate'] });
  expect(tags()).toBe('private');
  expect(mountpointsBelow(directory.path)).toHaveLength(1);
});

test('a busy mount stays, unless it is detached', async () => {
  await table.mount({ type: 'tmpfs', source: 't', mountpoint, options: [] });
  const fd = fs.openSync(`${mountpoint}/file`, 'w');
  try {
    expect(await codeOf(table.unmount(mountpoint, { detach: false }))).toBe('EBUSY');
    await table.unmount(mountpoint, { detach: true });
    expect(await entryAt(mountpoint)).toBeUndefined();
  } finally {
    fs.closeSync(fd);
  }
});

test('does not unmount through a link', async () => {
  await table.mount({ type: 'tmpfs', source: 't', mountpoint, options: [] });
  const link = `${directory.path}/link`;
  fs.symlinkSync(mountpoint, link);
  expect(await codeOf(table.unmount(link, { detach: true }))).toBe('EINVAL');
  expect(await entryAt(mountpoint)).toBeDefined();
});

test('faults are named: no such type, no such source, a relative mountpoint, too many options', async () => {
  const request = { type: 'nosuchfs', source: 'x', mountpoint, options: [] };
  expect(await codeOf(table.mount(request))).toBe('ENODEV');
  const missing = { type: 'bind', source: '/nowhere', mountpoint, options: ['bind'] };
  expect(await codeOf(table.mount(missing))).toBe('ENOENT');
  expect(await codeOf(table.mount({ ...request, mountpoint: 'relative' }))).toBe('EINVAL');
  expect(await codeOf(table.unmount('relative', { detach: false }))).toBe('EINVAL');
  const long = { ...request, type: 'overlay', options: [`lowerdir=${'/a'.repeat(3_000)}`] };
  const fault = await table.mount(long).catch((thrown: unknown) => thrown);
  expect(fault).toMatchObject({ code: 'E2BIG' });
  expect(String(fault)).toContain('6009 bytes');
});

/** Backing files of the loop devices that there are now, as sysfs shows them. */
function loopFiles(): string[] {
  return fs.readdirSync('/sys/block').flatMap((name) => {
    try {
      return [fs.readFileSync(`/sys/block/${name}/loop/backing_file`, 'utf8').trim()];
    } catch {
      return [];
    }
  });
}

function squashfsImage(): string {
  fs.writeFileSync(`${source}/file`, 'packed');
  const image = `${directory.path}/image`;
  execFileSync('mksquashfs', [source, image, '-quiet', '-no-progress']);
  return image;
}

test('mounts an image through a loop device, which goes with the unmount', async () => {
  const image = squashfsImage();
  await table.mount({ type: 'squashfs', source: image, mountpoint, options: ['loop', 'ro'] });
  expect(fs.readFileSync(`${mountpoint}/file`, 'utf8')).toBe('packed');
  expect((await entryAt(mountpoint))?.source).toMatch(/^\/dev\/loop\d+$/);
  expect(loopFiles()).toContain(image);
  await table.unmount(mountpoint, { detach: false });
  expect(loopFiles()).not.toContain(image);
});

test('an image that does not mount leaves no loop device', async () => {
  const image = `${directory.path}/image`;
  fs.writeFileSync(image, Buffer.alloc(1 << 20));
  const request = { type: 'squashfs', source: image, mountpoint, options: ['loop', 'ro'] };
  expect(await codeOf(table.mount(request))).toBe('EINVAL');
  expect(loopFiles()).not.toContain(image);
  expect(await codeOf(table.mount({ ...request, source: '/nowhere' }))).toBe('ENOENT');
});

test('many images at once get a loop device each', async () => {
  const image = squashfsImage();
  const mountpoints = Array.from({ length: 8 }, (_, number) => `${directory.path}/m${number}`);
  for (const path of mountpoints) fs.mkdirSync(path);
  const options = ['loop', 'ro', 'nodev', 'nosuid'];
  await Promise.all(
    mountpoints.map((path) =>
      table.mount({ type: 'squashfs', source: image, mountpoint: path, options }),
    ),
  );
  for (const path of mountpoints) expect(fs.readFileSync(`${path}/file`, 'utf8')).toBe('packed');
  await Promise.all(mountpoints.map((path) => table.unmount(path, { detach: false })));
  expect(loopFiles()).not.toContain(image);
});
