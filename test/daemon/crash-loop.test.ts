/** Goal: failures are counted where they can be, and only then cost a wait that is too long. */
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { failuresPath, recordFailure, waitAfter } from '../../src/daemon/crash-loop.js';
import { aDirectory, cleanUp } from '../api/rig.js';

afterEach(cleanUp);

test('the file is next to the socket, or in the runtime directory of the unit', () => {
  expect(failuresPath('/run/a/s.sock', {})).toBe('/run/a/s.sock.failures');
  const unit = { RUNTIME_DIRECTORY: '/run/stratalog:/run/other' };
  expect(failuresPath('/srv/s.sock', unit)).toBe('/run/stratalog/s.sock.failures');
  expect(failuresPath('/srv/s.sock', { RUNTIME_DIRECTORY: '' })).toBe('/srv/s.sock.failures');
  expect(failuresPath('/srv/s.sock', { RUNTIME_DIRECTORY: 'relative' })).toBe(
    '/srv/s.sock.failures',
  );
});

test('failures within a minute are counted, older ones are forgotten', async () => {
  const directory = await aDirectory();
  const path = join(directory, 's.failures');
  const counts: (number | null)[] = [];
  for (const now of [100, 110, 120, 130, 175, 300]) counts.push(await recordFailure(path, now));
  expect(counts).toEqual([1, 2, 3, 4, 3, 1]);
  expect(readFileSync(path, 'utf8')).toBe('300\n');
  expect(readdirSync(directory)).toEqual(['s.failures']);
});

test('times from before the last boot do not count', async () => {
  const path = join(await aDirectory(), 's.failures');
  writeFileSync(path, '5000\n5001\n5002\n');
  expect(await recordFailure(path, 12)).toBe(1);
});

test('what is no list of times counts as none', async () => {
  const path = join(await aDirectory(), 's.failures');
  writeFileSync(path, 'garbage\n\n12x\nInfinity\nNaN\n10\n');
  expect(await recordFailure(path, 20)).toBe(2);
});

test('a file that is long is not read for ever', async () => {
  const path = join(await aDirectory(), 's.failures');
  writeFileSync(path, '10\n'.repeat(1_000_000));
  expect(await recordFailure(path, 20)).toBeGreaterThan(3);
  expect(readFileSync(path).length).toBeLessThan(5_000);
});

test('nothing is written through a link, and a directory in its place is no count', async () => {
  const directory = await aDirectory();
  const target = join(directory, 'precious');
  writeFileSync(target, 'precious');
  symlinkSync(target, join(directory, 'link.failures'));
  expect(await recordFailure(join(directory, 'link.failures'), 20)).toBeNull();
  expect(readFileSync(target, 'utf8')).toBe('precious');
  mkdirSync(join(directory, 'directory.failures'));
  expect(await recordFailure(join(directory, 'directory.failures'), 20)).toBeNull();
  expect(await recordFailure(join(directory, 'missing', 's.failures'), 20)).toBeNull();
});

test('three failures cost nothing, the fourth a wait; one that cannot be counted a short one', () => {
  expect([1, 2, 3].map(waitAfter)).toEqual([0, 0, 0]);
  expect(waitAfter(4)).toBe(10_000);
  expect(waitAfter(100)).toBe(10_000);
  expect(waitAfter(null)).toBe(1_000);
});
