import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { systemClock } from '../../src/host/process/clock.js';

const clock = systemClock();

test('tells the real time, finer than milliseconds', () => {
  const before = BigInt(Date.now()) * 1_000_000n;
  const times = Array.from({ length: 50 }, () => clock.now());
  const after = BigInt(Date.now() + 1) * 1_000_000n;
  expect(times.every((time) => time >= before && time <= after)).toBe(true);
  expect(times.some((time) => time % 1_000_000n !== 0n)).toBe(true);
});

test('the monotonic clock goes forward by the time that passes', async () => {
  const start = clock.monotonicMillis();
  await sleep(30);
  expect(clock.monotonicMillis() - start).toBeGreaterThanOrEqual(29);
});

test('calls back once after the delay', async () => {
  let calls = 0;
  clock.schedule(10, () => (calls += 1));
  await sleep(60);
  expect(calls).toBe(1);
});

test('does not call back when cancelled', async () => {
  let calls = 0;
  clock.schedule(10, () => (calls += 1))();
  await sleep(60);
  expect(calls).toBe(0);
});

test('waits for a delay longer than a timer holds instead of firing at once', async () => {
  let calls = 0;
  const cancel = clock.schedule(2 ** 32, () => (calls += 1));
  await sleep(30);
  cancel();
  expect(calls).toBe(0);
});
