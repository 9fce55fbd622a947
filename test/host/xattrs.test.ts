import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  deviceNumber,
  lchown,
  lgetxattr,
  llistxattr,
  lremovexattr,
  lsetxattr,
  lutimes,
  mknod,
} from '../../src/host/files/xattrs.js';
import { codeOf, temporaryDirectory } from './support.js';
import type { TemporaryDirectory } from './support.js';

let directory: TemporaryDirectory;
let file: string;
let link: string;

beforeEach(() => {
  directory = temporaryDirectory();
  file = `${directory.path}/file`;
  link = `${directory.path}/link`;
  fs.writeFileSync(file, '');
  fs.symlinkSync(file, link);
});
afterEach(() => {
  directory.remove();
});

test('sets, lists, reads and removes attributes, bytes as they are', () => {
  const value = new Uint8Array([0, 1, 255, 0]);
  lsetxattr(file, 'user.bytes', value);
  lsetxattr(file, 'trusted.overlay.opaque', Buffer.from('y'));
  lsetxattr(file, 'user.empty', new Uint8Array());
  expect([...llistxattr(file)].sort()).toEqual([
    'trusted.overlay.opaque',
    'user.bytes',
    'user.empty',
  ]);
  expect(lgetxattr(file, 'user.bytes')).toEqual(value);
  expect(lgetxattr(file, 'user.empty')).toEqual(new Uint8Array());
  expect(lgetxattr(file, 'user.none')).toBeNull();
  lsetxattr(file, 'user.bytes', Buffer.from('other'));
  expect(Buffer.from(lgetxattr(file, 'user.bytes') ?? []).toString()).toBe('other');
  lremovexattr(file, 'user.bytes');
  expect(lgetxattr(file, 'user.bytes')).toBeNull();
});

test('a link has attributes of its own', () => {
  lsetxattr(link, 'trusted.mine', Buffer.from('link'));
  expect(llistxattr(file)).toEqual([]);
  expect(llistxattr(link)).toEqual(['trusted.mine']);
});

test('names and faults are exact', async () => {
  expect(await codeOf(() => lsetxattr(`${file}-no`, 'user.a', new Uint8Array()))).toBe('ENOENT');
  expect(await codeOf(() => lsetxattr(file, 'nonsense', new Uint8Array()))).toBe('ENOTSUP');
  expect(await codeOf(() => lsetxattr(`${file}\0x`, 'user.a', new Uint8Array()))).toBe('EINVAL');
});

test('takes paths that are not UTF-8', () => {
  const path = Buffer.concat([Buffer.from(`${directory.path}/`), Buffer.from([0xff, 0xfe])]);
  mknod(path, 0o010644, 0);
  lsetxattr(path, 'trusted.a', Buffer.from('b'));
  expect(llistxattr(path)).toEqual(['trusted.a']);
});

test('makes whiteouts, devices and FIFOs', () => {
  const paths = ['whiteout', 'device', 'fifo'].map((name) => `${directory.path}/${name}`);
  const [whiteout = '', device = '', fifo = ''] = paths;
  mknod(whiteout, 0o020000, deviceNumber(0, 0));
  mknod(device, 0o060600, deviceNumber(259, 70_000));
  mknod(fifo, 0o010644, 0);
  const shown = execFileSync('stat', ['-c', '%F %t %T', ...paths], { encoding: 'utf8' });
  expect(shown.trim().split('\n')).toEqual([
    'character special file 0 0',
    `block special file ${(259).toString(16)} ${(70_000).toString(16)}`,
    'fifo 0 0',
  ]);
});

test('sets nanoseconds, before 1970 too, on the link and not on its target', () => {
  const before = fs.statSync(file, { bigint: true }).mtimeNs;
  lutimes(link, 1_700_000_000_123_456_789n, -1n);
  const found = fs.lstatSync(link, { bigint: true });
  expect(found.atimeNs).toBe(1_700_000_000_123_456_789n);
  expect(found.mtimeNs).toBe(-1n);
  lutimes(link, null, 5n);
  const after = fs.lstatSync(link, { bigint: true });
  expect([after.atimeNs, after.mtimeNs]).toEqual([1_700_000_000_123_456_789n, 5n]);
  expect(fs.statSync(file, { bigint: true }).mtimeNs).toBe(before);
});

test('gives a link to its owner without following it', () => {
  lchown(link, 12, 4_294_967_294);
  const { uid, gid } = fs.lstatSync(link);
  expect({ uid, gid }).toEqual({ uid: 12, gid: 4_294_967_294 });
  expect(fs.statSync(file).uid).toBe(0);
});
