import { expect, test } from 'vitest';
import { mountFlag, parseMountOptions } from '../../src/host/mounts/mount-options.js';
import { codeOf } from './support.js';

const parse = (...options: string[]) => parseMountOptions(options, '/m');

test('flags, propagation and data part company', () => {
  expect(parse('ro', 'nodev', 'rbind', 'rslave', 'lowerdir=/a:/b', 'index=off')).toEqual({
    flags: mountFlag.readOnly | mountFlag.noDev | mountFlag.bind | mountFlag.recursive,
    propagation: [mountFlag.slave | mountFlag.recursive],
    data: 'lowerdir=/a:/b,index=off',
    loop: false,
  });
});

test('the last of two opposites holds', () => {
  expect(parse('ro', 'rw').flags).toBe(0);
  expect(parse('rw', 'ro').flags).toBe(mountFlag.readOnly);
  expect(parse('nosuid', 'defaults', 'suid').flags).toBe(0);
});

test('names of JavaScript are data like any other', () => {
  expect(parse('constructor', '__proto__').data).toBe('constructor,__proto__');
});

test('takes as much data as the kernel reads and not a byte more', async () => {
  expect(parse(`lowerdir=${'a'.repeat(4086)}`).data).toHaveLength(4095);
  expect(await codeOf(() => parse(`lowerdir=${'a'.repeat(4087)}`))).toBe('E2BIG');
  // Counted in bytes: this one has 2,100 characters.
  expect(await codeOf(() => parse('ü'.repeat(2_100)))).toBe('E2BIG');
});
