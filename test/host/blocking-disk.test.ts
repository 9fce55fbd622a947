/**
 * Goal: who reads on the spot is answered as who waits for a thread, whatever stands under a name,
 * and a long read lets others have their turn. Method: both disks asked the same on a real file
 * system.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { createServer } from 'node:net';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { Disk } from '../../src/base/ports.js';
import { blockingDisk } from '../../src/host/files/blocking-disk.js';
import { systemDisk } from '../../src/host/files/disk.js';
import { codeOf, temporaryDirectory, type TemporaryDirectory } from './support.js';

let directory: TemporaryDirectory;
beforeEach(() => {
  directory = temporaryDirectory();
});
afterEach(() => {
  directory.remove();
});

const both: readonly Disk[] = [systemDisk(), blockingDisk()];

it('tells as the other disk does what is no regular file', async () => {
  const at = (name: string): string => `${directory.path}/${name}`;
  fs.mkdirSync(at('directory'));
  execFileSync('mkfifo', [at('pipe')]);
  fs.symlinkSync('nothing', at('nowhere'));
  fs.symlinkSync('loop', at('loop'));
  fs.writeFileSync(at('file'), 'text');
  const server = createServer().listen(at('socket'));
  try {
    await new Promise((resolve) => server.once('listening', resolve));
    const names = ['directory', 'pipe', 'nowhere', 'loop', 'socket', 'absent', 'file/below'];
    const [theirs, ours] = await Promise.all(
      both.map((disk) => Promise.all(names.map((name) => codeOf(disk.open(at(name), 'read'))))),
    );
    expect(ours).toEqual(theirs);
    expect(ours).toEqual(['EISDIR', 'ESPIPE', 'ESPIPE', 'ESPIPE', 'ENXIO', 'ENOENT', 'ENOTDIR']);
    expect(await codeOf(blockingDisk().list(at('absent')))).toBe('ENOENT');
    expect(await codeOf(blockingDisk().list(at('file')))).toBe('ENOTDIR');
  } finally {
    server.close();
  }
});

it('reads at an offset, fewer bytes only at the end, and nothing once it is closed', async () => {
  const path = `${directory.path}/file`;
  fs.writeFileSync(path, 'hello');
  fs.linkSync(path, `${directory.path}/other`);
  const disk = blockingDisk();
  expect([...(await disk.list(directory.path))].sort()).toEqual(['file', 'other']);
  const file = await disk.open(path, 'read');
  expect(await file.size()).toBe(5);
  const into = Buffer.alloc(4, '.');
  expect(await file.read(into, 2)).toBe(3);
  expect(into.toString()).toBe('llo.');
  expect(await file.read(into, 9)).toBe(0);
  expect(await codeOf(file.write(into, 0))).toBe('EBADF');
  await file.close();
  await file.close();
  expect(await codeOf(file.read(into, 0))).toBe('EBADF');
  const links = fs.readdirSync('/proc/self/fd').map((fd) => {
    try {
      return fs.readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return '';
    }
  });
  expect(links).not.toContain(path);
});

it('writes as the other disk does', async () => {
  const path = `${directory.path}/new`;
  const file = await blockingDisk().open(path, 'create');
  await file.writeDurably(Buffer.from('text'), 0);
  await file.close();
  expect(fs.readFileSync(path, 'utf8')).toBe('text');
});

it('lets others have their turn while it reads much', async () => {
  const path = `${directory.path}/large`;
  fs.writeFileSync(path, Buffer.alloc(8 * 1024 * 1024));
  const file = await blockingDisk().open(path, 'read');
  let turns = 0;
  let isReading = true;
  const count = (): void => {
    turns += 1;
    if (isReading) setImmediate(count);
  };
  setImmediate(count);
  const into = Buffer.alloc(64 * 1024);
  for (let offset = 0; (await file.read(into, offset)) > 0;) offset += into.length;
  isReading = false;
  await file.close();
  expect(turns).toBeGreaterThanOrEqual(6);
});
