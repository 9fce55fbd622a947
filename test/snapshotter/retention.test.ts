/** History that is over its time goes, across restarts too; without a time it stays for ever. */
import * as fs from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { snapshotName } from '../../src/base/units.js';
import { TestDaemon, testRoot, valueOf, type TestRoot } from '../support/daemon.js';

let root: TestRoot;
beforeEach(() => {
  root = testRoot();
});
afterEach(() => root.remove());

const segments = () =>
  fs.readdirSync(`${root.path}/log`).filter((name) => name.endsWith('.seg')).length;

/** A life short enough to take no checkpoint but the one at its end. */
async function live(retainMillis: number | null): Promise<void> {
  const daemon = await TestDaemon.open(root, { retainMillis, segmentBytes: 64 * 1024 });
  const { snapshotter } = daemon.assembled;
  const caller = {};
  const key = snapshotName('k');
  const labels = new Map([['padding', 'x'.repeat(4000)]]);
  valueOf(
    await snapshotter.prepare({ key, parent: null, labels, caller }, new AbortController().signal),
  );
  for (let round = 0; round < 40; round += 1) {
    valueOf(await snapshotter.update({ name: key, labels, paths: [], caller }));
  }
  valueOf(await snapshotter.remove(key, caller));
  await daemon.close();
}

it('drops what is too old although no life takes two checkpoints', async () => {
  await live(1);
  const inOneLife = segments();
  for (let lives = 1; lives < 6; lives += 1) await live(1);
  // What the older of two checkpoints needs, and what has come since.
  expect(segments()).toBeLessThanOrEqual(2 * inOneLife);
  const next = await TestDaemon.open(root);
  expect(next.assembled.recoveryReport.checkpoint).not.toBeNull();
  await next.close();
});

it('keeps everything when no time is set', async () => {
  await live(null);
  const first = segments();
  await live(null);
  expect(segments()).toBeGreaterThan(first);
  expect(fs.existsSync(`${root.path}/log/${'0'.repeat(20)}.seg`)).toBe(true);
});
