/**
 * Goal: trees as hostile as a container can make them are deleted, and nothing else is. Called
 * directly, without the pool: what is tested is the walk.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { measure } from '../../src/host/files/directory-jobs.js';
import { emptyTree, removeAt } from '../../src/host/files/remove-tree.js';
import { openDirectory } from '../../src/host/files/tree.js';
import { codeOf, temporaryDirectory } from './support.js';
import type { TemporaryDirectory } from './support.js';

let directory: TemporaryDirectory;
let tree: string;
const never = (): boolean => false;

beforeEach(() => {
  directory = temporaryDirectory();
  tree = `${directory.path}/tree`;
  fs.mkdirSync(tree);
});
afterEach(() => {
  directory.remove();
});

function remove(): void {
  const fd = openDirectory(directory.path);
  try {
    removeAt(fd, Buffer.from('tree'), tree, never);
  } finally {
    fs.closeSync(fd);
  }
}

function openDescriptors(): number {
  return fs.readdirSync('/proc/self/fd').length;
}

test('a tree deeper than any path may be long', () => {
  // 3,000 levels of 20 bytes: mkdir by full path would end at 4,096 bytes.
  const script = `
import os
for level in range(3000):
    os.mkdir('a' * 19); os.chdir('a' * 19); open('f', 'w').close()`;
  execFileSync('python3', ['-c', script], { cwd: tree });
  const before = openDescriptors();
  expect(measure({ path: tree }, { aborted: never }).usage.inodes).toBe(6_001);
  remove();
  expect(fs.existsSync(tree)).toBe(false);
  expect(openDescriptors()).toBe(before);
});

test('names that are not UTF-8, and names with everything in them', () => {
  const names = [
    Buffer.from([0x66, 0xff, 0xfe]),
    Buffer.from('a\nb\\ c\u{fffd}'),
    Buffer.from('-rf'),
  ];
  for (const name of names) {
    const path = Buffer.concat([Buffer.from(`${tree}/`), name]);
    fs.mkdirSync(path);
    fs.writeFileSync(Buffer.concat([path, Buffer.from('/'), name]), 'x');
  }
  expect(measure({ path: tree }, { aborted: never }).usage.inodes).toBe(7);
  remove();
  expect(fs.existsSync(tree)).toBe(false);
});

test('immutable and append-only files and directories', async () => {
  fs.mkdirSync(`${tree}/fixed`);
  fs.writeFileSync(`${tree}/fixed/file`, 'x');
  fs.writeFileSync(`${tree}/log`, 'x');
  execFileSync('chattr', ['+i', `${tree}/fixed/file`, `${tree}/fixed`]);
  execFileSync('chattr', ['+a', `${tree}/log`, tree]);
  expect(await codeOf(() => fs.unlinkSync(`${tree}/log`))).toBe('EPERM');
  remove();
  expect(fs.existsSync(tree)).toBe(false);
});

test('directories that lock out their owner, for an owner without privileges', () => {
  fs.mkdirSync(`${tree}/locked/in`, { recursive: true });
  fs.writeFileSync(`${tree}/locked/in/file`, 'x');
  execFileSync('chown', ['-R', '65534:65534', directory.path]);
  fs.chmodSync(`${tree}/locked/in`, 0);
  fs.chmodSync(`${tree}/locked`, 0o500);
  const fixture = new URL('./fixtures/removes-unprivileged.ts', import.meta.url).pathname;
  execFileSync(process.execPath, ['--import', 'tsx', fixture, directory.path], { timeout: 20_000 });
  expect(fs.existsSync(tree)).toBe(false);
});

test('device nodes, FIFOs and sockets are only names', () => {
  execFileSync('mknod', [`${tree}/null`, 'c', '1', '3']);
  execFileSync('mkfifo', [`${tree}/fifo`]);
  fs.symlinkSync('loop', `${tree}/loop`);
  remove();
  expect(fs.existsSync(tree)).toBe(false);
});

test('a mount that came after the mount table was read stops the walk', async () => {
  const outside = `${directory.path}/outside`;
  fs.mkdirSync(outside);
  fs.writeFileSync(`${outside}/kept`, 'x');
  fs.mkdirSync(`${tree}/bind`);
  fs.mkdirSync(`${tree}/tmpfs`);
  execFileSync('mount', ['--bind', outside, `${tree}/bind`]);
  expect(await codeOf(remove)).toBe('EBUSY');
  execFileSync('umount', [`${tree}/bind`]);
  fs.mkdirSync(`${tree}/tmpfs`, { recursive: true });
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', `${tree}/tmpfs`]);
  fs.writeFileSync(`${tree}/tmpfs/kept`, 'x');
  expect(await codeOf(remove)).toBe('EBUSY');
  expect(fs.existsSync(`${tree}/tmpfs/kept`)).toBe(true);
  expect(fs.readFileSync(`${outside}/kept`, 'utf8')).toBe('x');
});

test('a tree on another device than its parent is not ours', async () => {
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', tree]);
  fs.writeFileSync(`${tree}/kept`, 'x');
  expect(await codeOf(remove)).toMatch(/^(EBUSY|EXDEV)$/);
  expect(fs.existsSync(`${tree}/kept`)).toBe(true);
});

test('the directory itself is left by emptying it, its descriptor closed', () => {
  fs.mkdirSync(`${tree}/a/b/c`, { recursive: true });
  const before = openDescriptors();
  emptyTree(openDirectory(tree), tree, never);
  expect(fs.readdirSync(tree)).toEqual([]);
  expect(openDescriptors()).toBe(before);
});

test('a directory that is filled while it is emptied is emptied again', () => {
  fs.mkdirSync(`${tree}/a`);
  let calls = 0;
  // The walk asks before each directory: the third time, `a` has been emptied and not yet left.
  const refill = (): boolean => {
    calls += 1;
    if (calls === 3) fs.writeFileSync(`${tree}/a/late`, 'x');
    return false;
  };
  emptyTree(openDirectory(tree), tree, refill);
  expect(calls).toBeGreaterThan(3);
  expect(fs.readdirSync(tree)).toEqual([]);
});
