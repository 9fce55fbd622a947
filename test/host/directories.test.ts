/**
 * Goal: the directories of snapshots are made exactly so, measured exactly, and deleted without
 * ever reaching beyond them. Method: a real file system, real mounts, real owners.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { HostFault } from '../../src/base/errors.js';
import type { SnapshotDirectories } from '../../src/base/ports.js';
import { snapshotId } from '../../src/base/units.js';
import { snapshotDirectories } from '../../src/host/files/directories.js';
import { WorkerPool } from '../../src/host/threads/workers.js';
import { codeOf, modeOf, mountpointsBelow, temporaryDirectory } from './support.js';
import type { TemporaryDirectory } from './support.js';

const id = snapshotId(7);
const plain = { work: false, owner: 'process', durable: false } as const;
let pool: WorkerPool;
let directory: TemporaryDirectory;
let snapshots: string;
let directories: SnapshotDirectories;

beforeAll(() => {
  pool = new WorkerPool();
});
afterAll(async () => {
  expect(await pool.close()).toBe(0);
});
beforeEach(() => {
  directory = temporaryDirectory();
  snapshots = `${directory.path}/snapshots`;
  fs.mkdirSync(snapshots);
  directories = snapshotDirectories(directory.path, pool);
});
afterEach(() => {
  directory.remove();
});

function mount(...args: string[]): void {
  execFileSync('mount', args);
}

test('names the paths of a snapshot', () => {
  expect(directories.fsPath(id)).toBe(`${snapshots}/7/fs`);
  expect(directories.workPath(id)).toBe(`${snapshots}/7/work`);
  expect(snapshotDirectories('/', pool).fsPath(id)).toBe('/snapshots/7/fs');
});

test('prepares 0700, 0755 and 0711, whatever the umask', async () => {
  for (const umask of [0o022, 0o077, 0o777, 0]) {
    const before = process.umask(umask);
    try {
      await directories.prepare(snapshotId(umask + 1), { ...plain, work: true });
    } finally {
      process.umask(before);
    }
    const made = `${snapshots}/${umask + 1}`;
    expect([made, `${made}/fs`, `${made}/work`].map(modeOf)).toEqual(['700', '755', '711']);
  }
});

test('prepares without work, and makes it when asked again', async () => {
  await directories.prepare(id, { ...plain, durable: true });
  expect(fs.readdirSync(`${snapshots}/7`)).toEqual(['fs']);
  await directories.prepare(id, { ...plain, durable: true, work: true });
  await directories.prepare(id, { ...plain, durable: true, work: true });
  expect(fs.readdirSync(`${snapshots}/7`).sort()).toEqual(['fs', 'work']);
});

test('gives fs the owner that is requested, and nothing else', async () => {
  await directories.prepare(id, { ...plain, owner: { uid: 1234, gid: 5678 } });
  const { uid, gid } = fs.statSync(directories.fsPath(id));
  expect({ uid, gid }).toEqual({ uid: 1234, gid: 5678 });
  expect(await directories.ownerOf(id)).toEqual({ uid: 1234, gid: 5678 });
  expect(fs.statSync(`${snapshots}/7`).uid).toBe(0);
  expect(await codeOf(directories.ownerOf(snapshotId(8)))).toBe('ENOENT');
});

test('does not follow a link that stands where fs belongs', async () => {
  const outside = `${directory.path}/outside`;
  fs.mkdirSync(outside, { mode: 0o700 });
  fs.mkdirSync(`${snapshots}/7`);
  fs.symlinkSync(outside, `${snapshots}/7/fs`);
  expect(await codeOf(directories.prepare(id, plain))).toBe('ENOTDIR');
  expect(modeOf(outside)).toBe('700');
});

test('makes work beside an fs that is kept as it is, and none beside an fs that is gone', async () => {
  await directories.prepare(id, plain);
  const path = directories.fsPath(id);
  fs.chmodSync(path, 0o1777);
  fs.chownSync(path, 40, 41);
  const kept = { ...plain, work: true, owner: 'kept' as const };
  await directories.prepare(id, kept);
  expect(await directories.ownerOf(id)).toEqual({ uid: 40, gid: 41 });
  expect([path, directories.workPath(id)].map(modeOf)).toEqual(['1777', '711']);
  fs.rmdirSync(path);
  expect(await codeOf(directories.prepare(id, kept))).toBe('ENOENT');
  expect(fs.existsSync(path)).toBe(false);
});

test('does not make the root of one that is not mounted yet', async () => {
  fs.rmdirSync(snapshots);
  expect(await codeOf(directories.prepare(id, plain))).toBe('ENOENT');
  expect(await codeOf(directories.list())).toBe('ENOENT');
});

test('measures blocks, not lengths: holes cost nothing, hard links count once', async () => {
  await directories.prepare(id, plain);
  const path = directories.fsPath(id);
  fs.writeFileSync(`${path}/data`, Buffer.alloc(100_000, 1));
  fs.linkSync(`${path}/data`, `${path}/again`);
  fs.mkdirSync(`${path}/sub`);
  fs.linkSync(`${path}/data`, `${path}/sub/third`);
  fs.symlinkSync('/etc', `${path}/link`);
  fs.writeFileSync(`${path}/sparse`, '');
  fs.truncateSync(`${path}/sparse`, 1_000_000_000);
  // Delayed allocation gives blocks late; what is on disk is what counts.
  await directories.syncFileSystem();
  const expected = ['', '/data', '/sub', '/link', '/sparse']
    .map((name) => fs.lstatSync(`${path}${name}`).blocks * 512)
    .reduce((sum, size) => sum + size, 0);
  expect((await directories.measure(id)).usage).toEqual({ size: expected, inodes: 5 });
  expect(expected).toBeLessThan(1_000_000);
});

test('usage agrees with du(1) on a tree of some size', async () => {
  await directories.prepare(id, plain);
  const path = directories.fsPath(id);
  for (let number = 0; number < 300; number += 1) {
    const below = `${path}/${number % 10}/${number % 7}`;
    fs.mkdirSync(below, { recursive: true });
    fs.writeFileSync(`${below}/${number}`, Buffer.alloc((number * 37) % 20_000));
  }
  await directories.syncFileSystem();
  const [size] = execFileSync('du', ['-s', '-B1', path], { encoding: 'utf8' }).split('\t');
  const [inodes] = execFileSync('du', ['-s', '--inodes', path], { encoding: 'utf8' }).split('\t');
  const { usage } = await directories.measure(id);
  expect(usage).toEqual({ size: Number(size), inodes: Number(inodes) });
});

test('usage of a missing directory fails, of one that changes meanwhile it does not', async () => {
  expect(await codeOf(directories.measure(id))).toBe('ENOENT');
  await directories.prepare(id, plain);
  const path = directories.fsPath(id);
  for (let number = 0; number < 2_000; number += 1) fs.mkdirSync(`${path}/${number}`);
  const measuring = directories.measure(id);
  for (let number = 0; number < 2_000; number += 1) fs.rmdirSync(`${path}/${number}`);
  const { inodes } = (await measuring).usage;
  expect(inodes).toBeGreaterThanOrEqual(1);
  expect(inodes).toBeLessThanOrEqual(2_001);
});

test('usage does not follow a link that stands where fs belongs', async () => {
  await directories.prepare(id, plain);
  const outside = `${directory.path}/outside`;
  fs.mkdirSync(outside);
  fs.writeFileSync(`${outside}/file`, 'x');
  fs.rmdirSync(directories.fsPath(id));
  fs.symlinkSync(outside, directories.fsPath(id));
  const error = await directories.measure(id).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(HostFault);
  expect(error).toMatchObject({ code: 'ENOTDIR', path: directories.fsPath(id) });
});

const parts = (fs: boolean, work: boolean) => ({ kind: 'seen', fs, work }) as const;

test('lists ids, strangers and what is in them', async () => {
  await directories.prepare(id, plain);
  fs.mkdirSync(`${snapshots}/12/work`, { recursive: true });
  fs.mkdirSync(`${snapshots}/new-123`);
  fs.writeFileSync(`${snapshots}/13`, '');
  fs.mkdirSync(`${snapshots}/007/fs`, { recursive: true });
  fs.mkdirSync(`${snapshots}/14`);
  fs.symlinkSync('/', `${snapshots}/14/fs`);
  const found = [...(await directories.list())].sort((a, b) => (a.name < b.name ? -1 : 1));
  expect(found).toEqual([
    { name: '007', id: null, isDirectory: true, parts: parts(true, false) },
    { name: '12', id: 12, isDirectory: true, parts: parts(false, true) },
    { name: '13', id: 13, isDirectory: false, parts: parts(false, false) },
    { name: '14', id: 14, isDirectory: true, parts: parts(false, false) },
    { name: '7', id: 7, isDirectory: true, parts: parts(true, false) },
    { name: 'new-123', id: null, isDirectory: true, parts: parts(false, false) },
  ]);
});

test('removes a tree, a file and a link by name; nothing there is success', async () => {
  await directories.prepare(id, { ...plain, work: true });
  fs.writeFileSync(`${directories.fsPath(id)}/file`, 'x');
  const outside = `${directory.path}/outside`;
  fs.mkdirSync(outside);
  fs.writeFileSync(`${outside}/kept`, 'x');
  fs.symlinkSync(outside, `${directories.fsPath(id)}/link`);
  fs.symlinkSync(outside, `${snapshots}/link`);
  fs.writeFileSync(`${snapshots}/file`, 'x');
  for (const name of ['7', 'link', 'file', 'absent', '7']) await directories.remove(name);
  expect(fs.readdirSync(snapshots)).toEqual([]);
  expect(fs.readdirSync(outside)).toEqual(['kept']);
});

test('refuses names that lead elsewhere', async () => {
  for (const name of ['', '.', '..', '7/fs', '/etc', '../outside', 'a\0b']) {
    expect(await codeOf(directories.remove(name))).toBe('EINVAL');
  }
});

test('refuses to remove at or above a live mount, and touches nothing', async () => {
  await directories.prepare(id, { ...plain, work: true });
  fs.writeFileSync(`${snapshots}/7/work/kept`, 'x');
  mount('-t', 'tmpfs', 'tmpfs', directories.fsPath(id));
  fs.writeFileSync(`${directories.fsPath(id)}/inside`, 'x');
  expect(await codeOf(directories.remove('7'))).toBe('EBUSY');
  expect(await codeOf(directories.empty(id))).toBe('EBUSY');
  expect(fs.existsSync(`${snapshots}/7/work/kept`)).toBe(true);
  expect(fs.existsSync(`${directories.fsPath(id)}/inside`)).toBe(true);
  execFileSync('umount', [directories.fsPath(id)]);
  await directories.remove('7');
  expect(fs.readdirSync(snapshots)).toEqual([]);
});

test('refuses a bind mount deep inside, and one of a single file', async () => {
  await directories.prepare(id, plain);
  const outside = `${directory.path}/outside`;
  fs.mkdirSync(outside);
  fs.writeFileSync(`${outside}/kept`, 'x');
  fs.mkdirSync(`${directories.fsPath(id)}/a/b/c`, { recursive: true });
  mount('--bind', outside, `${directories.fsPath(id)}/a/b/c`);
  expect(await codeOf(directories.remove('7'))).toBe('EBUSY');
  execFileSync('umount', [`${directories.fsPath(id)}/a/b/c`]);
  fs.writeFileSync(`${directories.fsPath(id)}/a/file`, '');
  mount('--bind', `${outside}/kept`, `${directories.fsPath(id)}/a/file`);
  expect(await codeOf(directories.remove('7'))).toBe('EBUSY');
  expect(fs.readFileSync(`${outside}/kept`, 'utf8')).toBe('x');
  expect(mountpointsBelow(directory.path)).toHaveLength(1);
});

test('a mount in a neighbour whose name begins alike is no obstacle', async () => {
  await directories.prepare(id, plain);
  await directories.prepare(snapshotId(71), plain);
  mount('-t', 'tmpfs', 'tmpfs', directories.fsPath(snapshotId(71)));
  await directories.remove('7');
  expect(fs.readdirSync(snapshots)).toEqual(['71']);
});

test('sees a mount below a root that is reached through a link', async () => {
  const link = `${directory.path}/link`;
  fs.symlinkSync(directory.path, link);
  const throughLink = snapshotDirectories(link, pool);
  await throughLink.prepare(id, plain);
  mount('-t', 'tmpfs', 'tmpfs', throughLink.fsPath(id));
  expect(await codeOf(throughLink.remove('7'))).toBe('EBUSY');
  expect(await codeOf(throughLink.empty(id))).toBe('EBUSY');
});

test('empties fs and leaves it standing', async () => {
  await directories.prepare(id, { ...plain, owner: { uid: 5, gid: 6 }, work: true });
  fs.mkdirSync(`${directories.fsPath(id)}/a/b`, { recursive: true });
  fs.writeFileSync(`${directories.fsPath(id)}/a/b/c`, 'x');
  await directories.empty(id);
  await directories.empty(id);
  await directories.empty(snapshotId(99));
  expect(fs.readdirSync(directories.fsPath(id))).toEqual([]);
  expect(modeOf(directories.fsPath(id))).toBe('755');
  expect(fs.existsSync(directories.workPath(id))).toBe(true);
});

test('an abort stops a delete half-way, and the next call ends it', async () => {
  await directories.prepare(id, plain);
  for (let number = 0; number < 3_000; number += 1) {
    fs.writeFileSync(`${directories.fsPath(id)}/${number}`, '');
  }
  const controller = new AbortController();
  const removing = directories.remove('7', controller.signal);
  controller.abort(new Error('enough'));
  await expect(removing).rejects.toThrow('enough');
  await directories.remove('7');
  expect(fs.readdirSync(snapshots)).toEqual([]);
});
