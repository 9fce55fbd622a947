/** Goal: trouble is told before calls hang, and health does not flap. Method: real trouble. */
import { open, type FileHandle } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import {
  DescriptorCheck,
  freeDescriptors,
  LoopCheck,
  watchProcess,
  type ProcessReport,
} from '../../src/daemon/observe/watch.js';
import { cleanUp, later } from '../api/rig.js';

afterEach(cleanUp);

function watched(options: Parameters<typeof watchProcess>[0]): ProcessReport[] {
  const reports: ProcessReport[] = [];
  const subscription = watchProcess(options).subscribe((report) => reports.push(report));
  later(() => subscription.unsubscribe());
  return reports;
}

function block(millis: number): void {
  const end = performance.now() + millis;
  while (performance.now() < end);
}

test('a blocked event loop is told with how late it was, and being well again', async () => {
  // More than a busy machine makes a timer late by itself.
  const limit = 2_000;
  const reports = watched({ loopDelayMillis: limit, descriptorsReserve: 1, intervalMillis: 50 });
  await delay(120);
  block(limit + 500);
  await expect.poll(() => reports.length).toBe(2);
  const [unwell, well] = reports;
  expect(unwell?.source).toBe('event loop');
  const late = Number(/delayed by (\d+) ms \(limit 2000 ms\)$/.exec(unwell?.reason ?? '')?.[1]);
  expect(late).toBeGreaterThan(limit);
  expect(well).toEqual({ source: 'event loop', reason: null });
});

test('descriptors that run out are told before they are gone', async () => {
  const handles: FileHandle[] = [];
  const closeAll = async (): Promise<void> => {
    for (const handle of handles.splice(0)) await handle.close();
  };
  later(closeAll);
  const reserve = freeDescriptors() - 60;
  const reports = watched({
    loopDelayMillis: 60_000,
    descriptorsReserve: reserve,
    intervalMillis: 20,
  });
  await delay(100);
  expect(reports).toEqual([]);
  for (let count = 0; count < 120; count += 1) handles.push(await open('/dev/null'));
  await expect.poll(() => reports.length).toBe(1);
  expect(reports[0]?.source).toBe('file descriptors');
  expect(reports[0]?.reason).toMatch(/^only \d+ file descriptors free .*raise LimitNOFILE$/);
});

test('nothing is watched once nobody listens', async () => {
  const reports: ProcessReport[] = [];
  watchProcess({ loopDelayMillis: 50, descriptorsReserve: 1, intervalMillis: 20 })
    .subscribe((report) => reports.push(report))
    .unsubscribe();
  block(200);
  await delay(60);
  expect(reports).toEqual([]);
});

test('the loop is unwell at once and well after three calm looks in a row', () => {
  const check = new LoopCheck(100);
  const seen = [99, 100, 500, 49, 49, 60, 49, 49, 49, 49].map((late) => check.sample(late));
  expect(seen.map((change) => (typeof change === 'string' ? 'unwell' : change))).toEqual([
    undefined,
    'unwell',
    undefined,
    undefined,
    undefined,
    undefined,
    undefined,
    undefined,
    null,
    undefined,
  ]);
});

test('descriptors are well again only with a quarter more than the reserve', () => {
  const check = new DescriptorCheck(100);
  const seen = [100, 99, 0, 124, 125, 124, 100].map((free) => check.sample(free));
  expect(seen.map((change) => (typeof change === 'string' ? 'unwell' : change))).toEqual([
    undefined,
    'unwell',
    undefined,
    undefined,
    null,
    undefined,
    undefined,
  ]);
});
