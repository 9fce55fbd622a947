/**
 * Goal: memory is given back behind each stretch of work, and never while work goes on.
 * Method: the check with processor times given; the release itself on garbage of our own.
 */
import { afterEach, expect, test } from 'vitest';
import { IdleCheck, releaseWhenIdle } from '../../src/daemon/idle-gc.js';
import { releaseMemory } from '../../src/host/process/memory.js';
import { cleanUp, later } from '../api/rig.js';

afterEach(cleanUp);

/** Looks that are two seconds apart; answers at which of them memory is given back. */
function releases(...processorMillis: readonly number[]): number[] {
  const check = new IdleCheck(0);
  return processorMillis.flatMap((millis, look) => (check.sample(millis, 2_000) ? [look] : []));
}

test('twice behind work, when two looks in a row find rest', () => {
  expect(releases(900, 20, 20, 20, 20)).toEqual([2, 3]);
});

test('not between two stretches of work that follow each other closely', () => {
  expect(releases(900, 20, 900, 20, 900, 20, 20, 20, 20)).toEqual([6, 7]);
});

test('again behind the next stretch', () => {
  expect(releases(900, 20, 20, 20, 300, 20, 20, 20, 20)).toEqual([2, 3, 6, 7]);
});

test('not for work that leaves little behind, until it adds up', () => {
  expect(releases(101, 20, 20, 20, 20)).toEqual([2, 3]);
  expect(releases(20, 20, 20, 20)).toEqual([]);
  // Just too much for a rest, at looks that are a second apart.
  const check = new IdleCheck(0);
  expect([60, 5, 5, 60, 5, 5, 5, 5].map((millis) => check.sample(millis, 1_000))).toEqual([
    ...[false, false, false],
    ...[false, false, true, true, false],
  ]);
});

test('behind a start, which was work before anybody looked', () => {
  const check = new IdleCheck(800);
  expect([20, 20, 20, 20].map((millis) => check.sample(millis, 2_000))).toEqual([
    ...[false, true, true, false],
  ]);
});

test('what nobody refers to any more is collected', async () => {
  const garbage = new WeakRef({ bytes: Buffer.alloc(1024) });
  // A weak reference holds what it was given until the job that made it has ended.
  await new Promise((resolve) => setImmediate(resolve));
  expect(releaseMemory()).toBeGreaterThan(0);
  expect(garbage.deref()).toBeUndefined();
});

test('a process that has come to rest gives memory back', async () => {
  let released = 0;
  const stop = releaseWhenIdle(() => (released += 1), { everyMillis: 50, release: () => 0 });
  later(stop);
  await expect.poll(() => released, { timeout: 20_000 }).toBeGreaterThan(0);
});
