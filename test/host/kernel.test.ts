/** The probes against a kernel whose abilities other tools can tell, and against one that refuses. */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { fileSystemStatus, probeKernel } from '../../src/host/kernel.js';
import { systemMountTable } from '../../src/host/mounts/mounts.js';
import { WorkerPool } from '../../src/host/threads/workers.js';
import { codeOf, mountpointsBelow, temporaryDirectory } from './support.js';
import type { TemporaryDirectory } from './support.js';

let pool: WorkerPool;
let directory: TemporaryDirectory;

beforeAll(() => {
  pool = new WorkerPool();
});
afterAll(async () => {
  expect(await pool.close()).toBe(0);
});
beforeEach(() => {
  directory = temporaryDirectory();
});
afterEach(() => {
  directory.remove();
});

test('finds what this kernel can do, and leaves nothing behind', async () => {
  const facts = await probeKernel(pool, directory.path);
  expect(facts).toMatchObject({
    release: execFileSync('uname', ['-r'], { encoding: 'utf8' }).trim(),
    isInUserNamespace: false,
    isRootOnOverlay: false,
    needsUserXattr: false,
    overlay: { supported: true },
    directoryTypes: { supported: true },
    overlayIndexParameter: fs.existsSync('/sys/module/overlay/parameters/index'),
    loopDevices: { supported: fs.existsSync('/dev/loop-control') },
  });
  expect(fs.readdirSync(directory.path)).toEqual([]);
  expect(mountpointsBelow(directory.path)).toEqual([]);
});

test('what it says of EROFS files is what a real image does', async () => {
  const { erofsFiles } = await probeKernel(pool, directory.path);
  const [source, mountpoint] = [`${directory.path}/source`, `${directory.path}/mountpoint`];
  fs.mkdirSync(source);
  fs.mkdirSync(mountpoint);
  execFileSync('mkfs.erofs', [`${directory.path}/image`, source], { stdio: 'ignore' });
  const request = { type: 'erofs', source: `${directory.path}/image`, mountpoint, options: ['ro'] };
  const mounted = (await codeOf(systemMountTable(pool).mount(request))) === 'none';
  expect(erofsFiles.supported).toBe(mounted);
});

test('a root on an overlay is seen, and what cannot be tried there has a reason', async () => {
  for (const name of ['lower', 'upper', 'work', 'merged'])
    fs.mkdirSync(`${directory.path}/${name}`);
  const merged = `${directory.path}/merged`;
  const options = ['lower', 'upper', 'work'].map((name) => `${name}dir=${directory.path}/${name}`);
  const request = { type: 'overlay', source: 'overlay', mountpoint: merged, options };
  await systemMountTable(pool).mount(request);
  const facts = await probeKernel(pool, merged);
  expect(facts.isRootOnOverlay).toBe(true);
  // An overlay can be no upper of another one, and overlayfs knows no idmapped mounts.
  expect(facts.overlay).toMatchObject({ supported: false });
  expect(facts.idmappedLowers).toMatchObject({ supported: false });
});

test('tells the room on a file system', async () => {
  const mountpoint = `${directory.path}/small`;
  fs.mkdirSync(mountpoint);
  const options = ['size=1m', 'nr_inodes=100'];
  await systemMountTable(pool).mount({ type: 'tmpfs', source: 't', mountpoint, options });
  const before = await fileSystemStatus(pool, mountpoint);
  expect(before).toMatchObject({ type: 0x01021994, totalBytes: 1 << 20, totalInodes: 100 });
  fs.writeFileSync(`${mountpoint}/file`, Buffer.alloc(1 << 19));
  const after = await fileSystemStatus(pool, mountpoint);
  expect(before.availableBytes - after.availableBytes).toBe(1 << 19);
  expect(before.freeInodes - after.freeInodes).toBe(1);
  expect(await codeOf(fileSystemStatus(pool, `${mountpoint}/none`))).toBe('ENOENT');
});

test('what says nothing of the kernel is no answer', () => {
  const fixture = new URL('./fixtures/probes-without-descriptors.ts', import.meta.url).pathname;
  const output = execFileSync(process.execPath, ['--import', 'tsx', fixture], { encoding: 'utf8' });
  expect(JSON.parse(output)).toBe('EMFILE');
});
