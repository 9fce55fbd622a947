import { execFileSync, spawn } from 'node:child_process';
import * as fs from 'node:fs';
import { once } from 'node:events';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { HostFault } from '../../src/base/errors.js';
import { systemDisk } from '../../src/host/files/disk.js';
import { codeOf, modeOf, temporaryDirectory } from './support.js';
import type { TemporaryDirectory } from './support.js';

const disk = systemDisk();
const bytes = (text: string): Uint8Array => Buffer.from(text);
let directory: TemporaryDirectory;
let path: string;

beforeEach(() => {
  directory = temporaryDirectory();
  path = `${directory.path}/file`;
});
afterEach(() => {
  directory.remove();
});

test('creates a file for its owner alone, and only once', async () => {
  const file = await disk.open(path, 'create');
  await file.close();
  expect(modeOf(path)).toBe('600');
  expect(await codeOf(disk.open(path, 'create'))).toBe('EEXIST');
});

test('writes at an offset and reads back, fewer bytes only at the end', async () => {
  const file = await disk.open(path, 'create');
  await file.write(bytes('hello'), 3);
  expect(await file.size()).toBe(8);
  const into = new Uint8Array(10);
  expect(await file.read(into, 4)).toBe(4);
  expect(Buffer.from(into.subarray(0, 4)).toString()).toBe('ello');
  expect(await file.read(into, 100)).toBe(0);
  await file.truncate(4);
  expect(await file.size()).toBe(4);
  await file.close();
});

test('writeDurably writes through a descriptor that the kernel syncs', async () => {
  const file = await disk.open(path, 'create');
  await file.writeDurably(bytes('abc'), 0);
  const flags = fs
    .readdirSync('/proc/self/fd')
    .filter((fd) => linkOf(fd) === path)
    .map((fd) => /^flags:\s+(\d+)/m.exec(fs.readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1])
    .map((octal) => (Number.parseInt(octal ?? '0', 8) & fs.constants.O_DSYNC) !== 0);
  expect(flags.sort()).toEqual([false, true]);
  await file.writeDurably(bytes('def'), 3);
  await file.close();
  expect(fs.readFileSync(path, 'utf8')).toBe('abcdef');
  expect(fs.readdirSync('/proc/self/fd').map(linkOf)).not.toContain(path);
});

test('a durable write that is refused names the file, not the descriptor it goes through', async () => {
  const file = await disk.open(path, 'create');
  execFileSync('chattr', ['+i', path]);
  try {
    const thrown = await file.writeDurably(bytes('abc'), 0).catch((error: unknown) => error);
    expect(thrown).toBeInstanceOf(HostFault);
    expect(thrown).toMatchObject({ code: 'EPERM', path });
  } finally {
    execFileSync('chattr', ['-i', path]);
    await file.close();
  }
});

function linkOf(fd: string): string {
  try {
    return fs.readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return '';
  }
}

test('writeDurably after a rename still reaches the file that was opened', async () => {
  const file = await disk.open(path, 'create');
  await disk.rename(path, `${path}-moved`);
  fs.writeFileSync(path, 'another');
  await file.writeDurably(bytes('mine'), 0);
  await file.close();
  expect(fs.readFileSync(`${path}-moved`, 'utf8')).toBe('mine');
  expect(fs.readFileSync(path, 'utf8')).toBe('another');
});

test('writeDurably takes earlier plain writes along', async () => {
  const file = await disk.open(path, 'create');
  await file.write(bytes('plain'), 0);
  await file.writeDurably(bytes('durable'), 5);
  await file.sync();
  await file.close();
  expect(fs.readFileSync(path, 'utf8')).toBe('plaindurable');
});

test('faults carry the errno name, the operation and the path', async () => {
  const error = await disk.open(path, 'read').catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(HostFault);
  expect(error).toMatchObject({ code: 'ENOENT', operation: 'open', path });
  expect(await codeOf(disk.list(path))).toBe('ENOENT');
  expect(await codeOf(disk.stat(path))).toBe('ENOENT');
  expect(await codeOf(disk.remove(path))).toBe('ENOENT');
  expect(await codeOf(disk.rename(path, `${path}2`))).toBe('ENOENT');
  expect(await codeOf(disk.syncDirectory(path))).toBe('ENOENT');
  await disk.makeDirectory(path);
  expect(await codeOf(disk.makeDirectory(path))).toBe('EEXIST');
});

test('a full disk is ENOSPC', async () => {
  const full = await disk.open('/dev/full', 'write');
  expect(await codeOf(full.write(bytes('x'), 0))).toBe('ENOSPC');
  await full.close();
});

test('a file opened to read refuses to write, and a closed one everything', async () => {
  fs.writeFileSync(path, 'x');
  const file = await disk.open(path, 'read');
  expect(await codeOf(file.write(bytes('y'), 0))).toBe('EBADF');
  await file.close();
  await file.close();
  expect(await codeOf(file.read(new Uint8Array(1), 0))).toBe('EBADF');
  expect(await codeOf(file.writeDurably(bytes('y'), 0))).toBe('EBADF');
});

test('lists, tells size and device, and makes a directory durable', async () => {
  await disk.makeDirectory(`${directory.path}/sub`);
  fs.writeFileSync(path, 'four');
  await disk.syncDirectory(directory.path);
  expect([...(await disk.list(directory.path))].sort()).toEqual(['file', 'sub']);
  const { dev } = fs.statSync(path, { bigint: true });
  expect(await disk.stat(path)).toEqual({ size: 4, device: dev, isDirectory: false });
  expect((await disk.stat(directory.path)).isDirectory).toBe(true);
  expect(modeOf(`${directory.path}/sub`)).toBe('700');
});

test('a lock is exclusive until released', async () => {
  const lock = await disk.lock(path);
  expect(lock).not.toBeNull();
  expect(await disk.lock(path)).toBeNull();
  await lock?.release();
  await lock?.release();
  const again = await disk.lock(path);
  expect(again).not.toBeNull();
  await again?.release();
});

test('a lock held by another process is not ours, until that process is killed', async () => {
  const holder = spawn('flock', ['--no-fork', '-x', path, 'sh', '-c', 'echo held; exec sleep 60']);
  try {
    await once(holder.stdout, 'data');
    expect(await disk.lock(path)).toBeNull();
  } finally {
    holder.kill('SIGKILL');
    await once(holder, 'exit');
  }
  const lock = await disk.lock(path);
  expect(lock).not.toBeNull();
  await lock?.release();
});

/** Everything that may have the name of a file and is none, with what an open says of it. */
const strangers: readonly (readonly [string, string, () => unknown])[] = [
  ['a directory', 'EISDIR', () => fs.mkdirSync(path)],
  ['a pipe', 'ESPIPE', () => execFileSync('mkfifo', [path])],
  ['a link to a device', 'ESPIPE', () => fs.symlinkSync('/dev/zero', path)],
  ['a link to nothing', 'ESPIPE', () => fs.symlinkSync(`${path}-nowhere`, path)],
  ['a link below a file', 'ESPIPE', () => fs.symlinkSync('/etc/passwd/x', path)],
  ['a link to a name too long', 'ESPIPE', () => fs.symlinkSync('x'.repeat(300), path)],
  ['a link to itself', 'ESPIPE', () => fs.symlinkSync(path, path)],
];
const openDescriptors = (): number => fs.readdirSync('/proc/self/fd').length;

test.each(strangers)('%s is not opened to be read: %s', async (_what, code, made) => {
  made();
  const before = openDescriptors();
  expect(await codeOf(disk.open(path, 'read'))).toBe(code);
  expect(openDescriptors()).toBe(before);
});

test('a link to a file is read as that file is', async () => {
  fs.writeFileSync(`${path}-real`, 'x');
  fs.symlinkSync(`${path}-real`, path);
  const file = await disk.open(path, 'read');
  expect(await file.size()).toBe(1);
  await file.close();
});

test.each(strangers)('%s is not taken for a lock: %s', async (_what, code, made) => {
  made();
  const before = openDescriptors();
  expect(await codeOf(disk.lock(path))).toBe(code);
  expect(openDescriptors()).toBe(before);
  expect(fs.existsSync(`${path}-nowhere`)).toBe(false);
});

test('a link is no lock, though it leads to a file', async () => {
  fs.writeFileSync(`${path}-real`, 'x');
  fs.symlinkSync(`${path}-real`, path);
  expect(await codeOf(disk.lock(path))).toBe('ESPIPE');
});
