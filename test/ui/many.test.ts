/**
 * Goal: a hundred thousand snapshots are as easy to look at as ten. Method: rows are counted while
 * the tree is scrolled, filtered and walked; a browser that held all of them would be slow
 * everywhere, but a time in a test says more about the machine.
 */
import { randomUUID } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Browser } from '../../scripts/rig/browser.js';
import { streamVersion } from '../../src/base/units.js';
import { systemClock } from '../../src/host/process/clock.js';
import { systemDisk } from '../../src/host/files/disk.js';
import { openLog } from '../../src/log/log.js';
import { aDirectory, builtCli, buildLimitMillis, cleanUp } from '../cli/rig.js';
import { servedPage, watchedPage, type Served } from './rig.js';

const count = 100_000;
/** What a window of this height shows, and some above and below. */
const rowsMax = 60;

let browser: Browser;
let served: Served;

beforeAll(async () => {
  await builtCli();
  const root = await aCrowdedRoot();
  served = await servedPage('--root', root, '--offline');
  browser = await Browser.start();
}, buildLimitMillis);

afterAll(async () => {
  await browser.close();
  await served.close();
  await cleanUp();
});

/** Chains of ten on each other, still being prepared: one event for each snapshot. */
async function aCrowdedRoot(): Promise<string> {
  const root = join(await aDirectory(), 'root');
  const { log } = await openLog({
    ...{ root, disk: systemDisk(), clock: systemClock(), uuid: randomUUID },
    ...{ writtenBy: 'stratalog 0.1.0', onWarning: () => undefined, onRecords: () => undefined },
    onCheckpoint: () => Promise.resolve(),
  });
  const nameOf = (id: number) => `default/${id}/sha256:${String(id).padStart(64, '0')}`;
  for (let id = 1; id <= count; id += 1) {
    const parent = id % 10 === 1 ? null : { id: id - 1, name: nameOf(id - 1) };
    const data = {
      ...{ id, kind: 'active', key: nameOf(id), parent, labels: {}, remote: null },
      ...{ idMapping: null, caller: {} },
    };
    const event = { stream: `snapshot-${id}`, type: 'SnapshotPreparing', schemaVersion: 1, data };
    log.append([{ ...event, expectedVersion: streamVersion(0) }], { sync: false });
    if (id % 5_000 === 0) await log.flush();
  }
  await log.close();
  mkdirSync(join(root, 'snapshots'));
  return root;
}

it('of which the tree holds only the rows in sight, wherever it is scrolled to', async () => {
  const { page, wrongs } = await watchedPage(browser, served);
  const rows = () => page.getByRole('treeitem').count();
  await expect.poll(() => page.locator('#tree-count').textContent()).toBe('100,000 snapshots');
  for (const share of [0.1, 0.5, 0.9, 1, 0]) {
    await page.evaluate(`(() => {
      const tree = document.getElementById('tree');
      tree.scrollTop = tree.scrollHeight * ${share};
      return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    })()`);
    expect(await rows()).toBeLessThan(rowsMax);
    expect(await rows()).toBeGreaterThan(10);
  }
  // Keys reach both ends, and the row with the focus is always there.
  await page.getByRole('treeitem').first().click();
  await page.keyboard.press('End');
  await expect.poll(() => page.evaluate('document.activeElement.dataset.id')).toBe(String(count));
  expect(await rows()).toBeLessThan(rowsMax);
  await page.locator('#filter').fill('0099999');
  await expect.poll(rows).toBe(9);
  await page.getByRole('treeitem').last().click();
  await expect
    .poll(() => page.locator('#chart .state.lit').getAttribute('data-state'))
    .toBe('preparing');
  expect(await page.evaluate('document.querySelectorAll("*").length')).toBeLessThan(2_000);
  expect(wrongs).toEqual([]);
});

it('of which a step of the time line is told as a change, not as a whole', async () => {
  const { page } = await watchedPage(browser, served);
  await expect.poll(() => page.locator('#tree-count').textContent()).toBe('100,000 snapshots');
  const reply = page.waitForResponse((response) => response.url().includes('/api/state'));
  await page.getByRole('slider').press('ArrowLeft');
  expect((await (await reply).body()).length).toBeLessThan(1_000);
  await expect.poll(() => page.locator('#tree-count').textContent()).toBe('99,999 snapshots');
});
