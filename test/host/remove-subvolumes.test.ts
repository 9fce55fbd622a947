/**
 * Goal: a nested btrfs subvolume is part of the tree and goes with it, as with rm(1), although its
 * device number is another; a mount in the tree is not, whatever its device; and what the file
 * system refuses is told with path and errno. Method: a real btrfs on a loop device.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import type { SnapshotDirectories } from '../../src/base/ports.js';
import { snapshotId } from '../../src/base/units.js';
import { snapshotDirectories } from '../../src/host/files/directories.js';
import { WorkerPool } from '../../src/host/threads/workers.js';
import { codeOf, temporaryDirectory, type TemporaryDirectory } from './support.js';

const MEBIBYTE = 1024 * 1024;

let pool: WorkerPool;
let directory: TemporaryDirectory;
let root: string;
let directories: SnapshotDirectories;

beforeAll(() => {
  pool = new WorkerPool();
  directory = temporaryDirectory();
  const image = `${directory.path}/btrfs.img`;
  fs.writeFileSync(image, '');
  fs.truncateSync(image, 128 * MEBIBYTE);
  execFileSync('mkfs.btrfs', ['-q', image]);
  root = `${directory.path}/root`;
  fs.mkdirSync(root);
  execFileSync('mount', ['-o', 'loop', image, root]);
  fs.mkdirSync(`${root}/snapshots`);
  directories = snapshotDirectories(root, pool);
});
afterAll(async () => {
  directory.remove();
  expect(await pool.close()).toBe(0);
});

const tree = (): string => `${root}/snapshots/7`;
const btrfs = (...args: readonly string[]): Buffer => execFileSync('btrfs', args);

beforeEach(() => {
  fs.mkdirSync(`${tree()}/fs/var/lib`, { recursive: true });
  fs.writeFileSync(`${tree()}/fs/var/file`, 'x');
});
afterEach(() => {
  expect(fs.readdirSync(`${root}/snapshots`)).toEqual([]);
});

/** A subvolume with a file, in the tree of a container that had docker in it. */
function aSubvolume(path: string): string {
  const subvolume = `${tree()}/fs/${path}`;
  btrfs('subvolume', 'create', subvolume);
  fs.writeFileSync(`${subvolume}/file`, 'x');
  return subvolume;
}

it('removes subvolumes in the tree, one in another, and snapshots of them', async () => {
  const outer = aSubvolume('var/lib/outer');
  aSubvolume('var/lib/outer/inner');
  btrfs('subvolume', 'snapshot', outer, `${tree()}/fs/var/lib/copy`);
  const device = (path: string) => fs.statSync(path).dev;
  expect(device(outer)).not.toBe(device(`${tree()}/fs`));
  // All of it is one mount, and what is in it is counted.
  expect((await directories.measure(snapshotId(7))).usage.inodes).toBeGreaterThan(6);
  await directories.remove('7');
});

it('removes many, whose roots all have one inode number', async () => {
  for (let number = 0; number < 20; number += 1) aSubvolume(`var/lib/${number}`);
  await directories.remove('7');
});

it('empties what a subvolume is in', async () => {
  aSubvolume('sub');
  await directories.empty(snapshotId(7));
  expect(fs.readdirSync(`${tree()}/fs`)).toEqual([]);
  await directories.remove('7');
});

it('stops at a mount in a subvolume, of another subvolume of the same file system too', async () => {
  const outer = aSubvolume('outer');
  btrfs('subvolume', 'create', `${root}/precious`);
  fs.writeFileSync(`${root}/precious/kept`, 'x');
  fs.mkdirSync(`${outer}/mounted`);
  execFileSync('mount', ['--bind', `${root}/precious`, `${outer}/mounted`]);
  expect(await codeOf(directories.remove('7'))).toBe('EBUSY');
  expect(fs.readFileSync(`${root}/precious/kept`, 'utf8')).toBe('x');
  execFileSync('umount', [`${outer}/mounted`]);
  await directories.remove('7');
  btrfs('subvolume', 'delete', `${root}/precious`);
});

it('tells of a read-only subvolume by path and errno, and removes it when it is writable', async () => {
  const readOnly = aSubvolume('var/lib/ro');
  btrfs('property', 'set', readOnly, 'ro', 'true');
  const failed = await directories.remove('7').catch((thrown: unknown) => thrown);
  expect(failed).toMatchObject({ code: 'EROFS', path: `${readOnly}/file` });
  expect(fs.readFileSync(`${readOnly}/file`, 'utf8')).toBe('x');
  btrfs('property', 'set', readOnly, 'ro', 'false');
  await directories.remove('7');
});

it('does not take an unused directory for one with a subvolume in it', async () => {
  await directories.remove('7');
  fs.mkdirSync(`${tree()}/fs`, { recursive: true });
  btrfs('subvolume', 'create', `${tree()}/fs/sub`);
  expect(await directories.removeUnused('7')).toMatchObject({ kind: 'used', by: 'content' });
  expect(fs.existsSync(`${tree()}/fs/sub`)).toBe(true);
  await directories.remove('7');
});
