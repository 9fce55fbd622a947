/**
 * Goal: the page shows what the log says at each moment, to the person with the link and to nobody
 * else, with a pointer and with keys alone, beside a daemon that writes. Method: the built command
 * and a real Chromium; what the page must show comes from the archive itself.
 */
import { request } from 'node:http';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import axe from 'axe-core';
import type { Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Browser } from '../../scripts/rig/browser.js';
import { position } from '../../src/base/units.js';
import { systemDisk } from '../../src/host/files/disk.js';
import { RootArchive } from '../../src/inspect/archive/root-archive.js';
import {
  aDaemon,
  aRoot,
  askedOf,
  builtCli,
  buildLimitMillis,
  cleanUp,
  daemonStarted,
  prepared,
  preparing,
  removing,
  stratalog,
} from '../cli/rig.js';
import { aLayer, servedPage, watchedPage, type Served, type WatchedPage } from './rig.js';

let browser: Browser;
const closing: (() => Promise<unknown>)[] = [];

beforeAll(async () => {
  await builtCli();
  browser = await Browser.start();
}, buildLimitMillis);

afterAll(() => browser.close());

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
  await cleanUp();
});

async function served(root: string, ...flags: string[]): Promise<Served> {
  return servedFrom('--root', root, ...flags);
}

async function servedFrom(...source: string[]): Promise<Served> {
  const page = await servedPage(...source);
  closing.push(() => page.close());
  return page;
}

async function shown(page: Served): Promise<WatchedPage> {
  const watched = await watchedPage(browser, page);
  closing.push(() => watched.page.close());
  return watched;
}

const base = { id: 1, name: 'default/2/base' };

/** Three snapshots on each other and one that is removed. */
const story = [
  daemonStarted(),
  ...aLayer(1, base.name),
  ...aLayer(2, 'default/4/app', base),
  preparing(3, 'default/5/box', { parent: { id: 2, name: 'default/4/app' } }),
  prepared(3),
  preparing(4, 'k8s.io/6/short'),
  prepared(4),
  removing(4),
];

async function idsAt(root: string, at: number): Promise<number[]> {
  const { forest } = await new RootArchive(systemDisk(), root).stateAt(position(at));
  return [...forest.values()].map(({ id }) => Number(id)).sort((one, other) => one - other);
}

async function idsShown(page: Page): Promise<number[]> {
  const ids = await page.evaluate<number[]>(
    `[...document.querySelectorAll('[role=treeitem]')].map((row) => Number(row.dataset.id))`,
  );
  return ids.sort((one, other) => one - other);
}

const lit = (page: Page) => page.locator('#chart .state.lit').getAttribute('data-state');

/** Waits for the moment to be shown, as a screen reader is told of it. */
async function momentIs(page: Page, at: number): Promise<void> {
  await expect
    .poll(() => page.getByRole('slider').getAttribute('aria-valuetext'))
    .toMatch(new RegExp(`, position ${at} of .* snapshots`));
}

describe('a page', () => {
  it('shows the snapshots of the moment that the time line is dragged to', async () => {
    const root = await aRoot(story);
    const { page, wrongs } = await shown(await served(root, '--offline'));
    await momentIs(page, story.length);
    expect(await idsShown(page)).toEqual(await idsAt(root, story.length));
    const track = await page.locator('#track').boundingBox();
    if (track === null) throw new Error('the time line is not there');
    const xOf = (at: number) => track.x + (track.width * at) / story.length;
    await page.mouse.move(xOf(story.length), track.y + 30);
    await page.mouse.down();
    for (const at of [12, 9, 5, 2]) {
      await page.mouse.move(xOf(at), track.y + 30, { steps: 3 });
      await momentIs(page, at);
      expect(await idsShown(page)).toEqual(await idsAt(root, at));
    }
    await page.mouse.up();
    expect(page.url()).not.toContain('token');
    expect(wrongs).toEqual([]);
  });

  it('lights the state of the chosen snapshot, and marks the way that it went', async () => {
    const { page, wrongs } = await shown(await served(await aRoot(story), '--offline'));
    await page.getByRole('treeitem', { name: 'app' }).click();
    await expect.poll(() => lit(page)).toBe('committed.available');
    const rows = page.locator('#events-sheet').getByRole('row');
    expect(await rows.locator('.type').allTextContents()).toEqual([
      'SnapshotPreparing',
      'SnapshotPrepared',
      'SnapshotCommitting',
      'SnapshotCommitted',
    ]);
    const taken = page.locator('#chart .arrow.taken');
    const arrows = `[...document.querySelectorAll('.arrow.taken')].map((one) => one.dataset.arrow)`;
    expect((await page.evaluate<string[]>(arrows)).sort()).toEqual([
      'absent:SnapshotPreparing',
      'active:SnapshotCommitting',
      'committing:SnapshotCommitted',
      'preparing:SnapshotPrepared',
    ]);
    // The moment behind the second event: it is active there, and no arrow is marked beyond.
    await rows.nth(1).click();
    await momentIs(page, 7);
    await expect.poll(() => lit(page)).toBe('active');
    await expect.poll(() => taken.count()).toBe(2);
    expect(wrongs).toEqual([]);
  });

  it('can be used with keys alone', async () => {
    const root = await aRoot(story);
    const { page, wrongs } = await shown(await served(root, '--offline'));
    await momentIs(page, story.length);
    const focused = () => page.evaluate<string>('document.activeElement.id');
    for (let tabs = 0; (await focused()) !== 'slider'; tabs += 1) {
      expect(tabs).toBeLessThan(20);
      await page.keyboard.press('Tab');
    }
    await page.keyboard.press('Home');
    await momentIs(page, 0);
    await page.locator('#track[aria-busy=false]').waitFor();
    await page.keyboard.press(']');
    await momentIs(page, 1);
    await page.keyboard.press('End');
    await page.keyboard.press('ArrowLeft');
    await momentIs(page, story.length - 1);
    await page.keyboard.press('Tab');
    await page.keyboard.type('short');
    await expect.poll(() => page.getByRole('treeitem').count()).toBe(1);
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('Enter');
    await expect.poll(() => lit(page)).toBe('active');
    await page.keyboard.press('Shift+Tab');
    await page.keyboard.press('ControlOrMeta+A');
    await page.keyboard.press('Delete');
    await expect.poll(() => page.getByRole('treeitem').count()).toBe(4);
    await page.keyboard.press('Tab');
    await page.keyboard.press('Home');
    await page.keyboard.press('ArrowLeft');
    await expect.poll(() => idsShown(page)).toEqual([1, 4]);
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press(' ');
    await expect.poll(() => page.locator('#selected-name').textContent()).toBe('default/4/app');
    expect(wrongs).toEqual([]);
  });

  it.each(['--root', '--address'])('shows each new event while it is live, by %s', async (by) => {
    const daemon = await aDaemon();
    const client = askedOf(daemon);
    await client.prepare('default/1/first');
    const place = by === '--root' ? daemon.root : daemon.address;
    const { page, wrongs } = await shown(await servedFrom(by, place));
    await page.getByRole('treeitem', { name: 'first' }).waitFor();
    await page.getByRole('switch', { name: 'Live' }).check({ force: true });
    await client.prepare('default/2/second');
    await page.getByRole('treeitem', { name: 'second' }).waitFor();
    await page.getByRole('treeitem', { name: 'second' }).click();
    await expect.poll(() => lit(page)).toBe('active');
    await client.commit('default/3/layer', 'default/2/second');
    await expect.poll(() => lit(page)).toBe('committed.available');
    await client.remove('default/1/first');
    await expect.poll(() => idsShown(page)).toHaveLength(1);
    // Whoever moves the moment looks at the past, and stays there.
    await page.getByRole('slider').press('Home');
    await expect.poll(() => page.getByRole('switch').isChecked()).toBe(false);
    expect(wrongs).toEqual([]);
  });

  it('shows a log whose beginning is retired from there on', async () => {
    const many = [...Array(30).keys()].map((index) => index + 1);
    const root = await aRoot(
      many.flatMap((id) => [preparing(id, `default/${id}/box-${id}`), prepared(id)]),
    );
    const at = ['--root', root];
    expect((await stratalog(['checkpoint', ...at])).code).toBe(0);
    expect((await stratalog(['compact', ...at, '--before', '40', '--yes'])).code).toBe(0);
    const { first, next } = await new RootArchive(systemDisk(), root).bounds();
    expect(first).toBeGreaterThan(4);
    const { page, wrongs } = await shown(await served(root, '--offline'));
    await momentIs(page, next);
    expect(await idsShown(page)).toEqual(many);
    await page.getByRole('treeitem', { name: /box-1\b/ }).click();
    await expect.poll(() => lit(page)).toBe('active');
    await page.locator('#facts').getByText('default/1/box-1').first().waitFor();
    // Between the first record and the checkpoint nothing can be told of those before it.
    await page.getByRole('slider').press('Home');
    await page.getByRole('alert').getByText(`the log begins at position ${first}`).waitFor();
    await page.getByRole('slider').press('End');
    await momentIs(page, next);
    // A browser tells of the question that could not be answered.
    expect(wrongs.filter((wrong) => !wrong.includes('Failed to load resource'))).toEqual([]);
  });

  it('moves nothing that can be clicked once its rows are in sight', async () => {
    const { page, wrongs } = await shown(await served(await aRoot(story), '--offline'));
    await page.evaluate(`
      globalThis.moved = [];
      const observer = new PerformanceObserver((list) => {
        for (const { sources } of list.getEntries()) moved.push(...sources);
      });
      observer.observe({ type: 'layout-shift', buffered: true });
    `);
    // The log is counted, the chart is there, and the directories have been looked at.
    await page.locator('#track[aria-busy=false]').waitFor();
    await page.locator('#no-selection').waitFor();
    await expect.poll(() => page.locator('#findings-count').textContent()).toMatch(/finding/);
    const clickable = '.steps, .panes, .steps *, .panes *';
    const moved = await page.evaluate<string[]>(`
      moved
        .filter(({ node }) => node instanceof Element && node.matches(${JSON.stringify(clickable)}))
        .map(({ node, previousRect, currentRect }) => node.outerHTML.slice(0, 80)
          + ' from ' + previousRect.x + ',' + previousRect.y
          + ' to ' + currentRect.x + ',' + currentRect.y)
    `);
    expect(moved).toEqual([]);
    expect(wrongs).toEqual([]);
  });

  it('shows what strangers chose as text, whatever it is', async () => {
    const hostile = [
      '<script>document.title = "taken"</script><img src=x onerror=alert(1)>',
      'from right \u202eto left',
      'nul \u0000 and bell \u0007',
      `long ${'x'.repeat(4_000)}`,
    ];
    const root = await aRoot(
      hostile.flatMap((key, index) => [
        preparing(index + 1, key, { labels: { '<b>label</b>': '"><svg onload=alert(1)>' } }),
        prepared(index + 1),
      ]),
    );
    const { page, wrongs } = await shown(await served(root, '--offline'));
    const names = await page.locator('.tree-row .name').allTextContents();
    expect(names).toEqual([
      hostile[0],
      'from right \\u{202e}to left',
      'nul \\u{00} and bell \\u{07}',
      hostile[3],
    ]);
    await page.getByRole('treeitem').first().click();
    await page.locator('#facts').getByText('"><svg onload=alert(1)>').waitFor();
    expect(await page.title()).toBe('Stratalog');
    expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true);
    expect(wrongs).toEqual([]);
  });

  it('shows what was before the damage of a log, and where the damage is', async () => {
    const root = await aRoot(story);
    // A letter of the key of snapshot 3, whose first event is the tenth.
    const log = join(root, 'log');
    const place = readdirSync(log)
      .map((name) => ({ file: join(log, name), bytes: readFileSync(join(log, name)) }))
      .map(({ file, bytes }) => ({ file, bytes, offset: bytes.indexOf('default/5/box') }))
      .find(({ offset }) => offset >= 0);
    if (place === undefined) throw new Error('no segment has the key');
    place.bytes.write('X', place.offset);
    writeFileSync(place.file, place.bytes);
    const { page } = await shown(await served(root, '--offline'));
    await momentIs(page, 9);
    const banner = page.getByRole('alert');
    await banner.waitFor();
    expect(await banner.locator('#banner-place').textContent()).toBe('position 9');
    expect(await banner.textContent()).toContain('the log is damaged at position 9');
    expect(await idsShown(page)).toEqual([1, 2]);
  });

  it('has nothing that hinders people, in either theme', async () => {
    const root = await aRoot(story);
    const { page, wrongs } = await shown(await served(root));
    await page.getByRole('treeitem', { name: 'box' }).click();
    await page.locator('#chart .lit').waitFor();
    await page.locator('#findings li').first().waitFor();
    await page.evaluate(axe.source);
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme });
      const violations = await page.evaluate<string[]>(
        `axe.run().then(({ violations }) => violations.map((one) =>
          one.id + ': ' + one.nodes.map(({ html }) => html.slice(0, 120)).join(' | ')))`,
      );
      expect(violations).toEqual([]);
    }
    expect(wrongs).toEqual([]);
  });
});

interface Answer {
  readonly code: number;
  readonly body: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

function asked(
  { origin }: Served,
  path: string,
  headers: Readonly<Record<string, string>> = {},
  method = 'GET',
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const call = request(`${origin}${path}`, { headers, method }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text: string) => (body += text));
      response.on('end', () => {
        resolve({ code: response.statusCode ?? 0, body, headers: response.headers });
      });
    });
    call.on('error', reject).end();
  });
}

describe('the server of the page', () => {
  it('answers nobody without the token, with another host, or from another origin', async () => {
    const page = await served(await aRoot(story), '--offline');
    const { port, host } = new URL(page.origin);
    const cookie = `stratalog-${port}=${page.token}`;
    const codeOf = async (path: string, headers: Record<string, string>, method?: string) =>
      (await asked(page, path, headers, method)).code;

    expect(await codeOf('/api/bounds', { cookie })).toBe(200);
    expect(await codeOf('/api/bounds', {})).toBe(401);
    expect(await codeOf('/', {})).toBe(401);
    expect(await codeOf('/main.js', {})).toBe(401);
    expect(await codeOf('/?token=guess', {})).toBe(401);
    expect(await codeOf(`/api/bounds?token=${page.token}`, {})).toBe(401);
    expect(await codeOf('/api/bounds', { cookie: `stratalog-${port}=guess` })).toBe(401);
    expect(await codeOf('/api/bounds', { cookie, host: `evil.example:${port}` })).toBe(403);
    expect(await codeOf('/api/bounds', { cookie, host: '127.0.0.1:1' })).toBe(403);
    expect(await codeOf('/api/bounds', { cookie, origin: 'http://evil.example' })).toBe(403);
    expect(await codeOf('/api/bounds', { cookie, origin: `http://${host}` })).toBe(200);
    expect(await codeOf('/api/bounds', { cookie, 'sec-fetch-site': 'cross-site' })).toBe(403);
    expect(await codeOf('/api/bounds', { cookie }, 'POST')).toBe(405);
    expect(await codeOf('/../cli.js', { cookie })).toBe(404);
  });

  it('forbids the page everything that it does not need', async () => {
    const page = await served(await aRoot(story), '--offline');
    const { headers } = await asked(page, `/?token=${page.token}`);
    expect(headers['content-security-policy']).toBe(
      "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
        "connect-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'none'",
    );
    expect(headers['x-content-type-options']).toBe('nosniff');
    expect(headers['referrer-policy']).toBe('no-referrer');
    expect(headers['cache-control']).toBe('no-store');
    expect(String(headers['set-cookie'])).toMatch(/; HttpOnly; SameSite=Strict; Path=\/$/);
  });

  it('says in a sentence what was wrong with a question', async () => {
    const page = await served(await aRoot(story), '--offline');
    const { port } = new URL(page.origin);
    const cookie = `stratalog-${port}=${page.token}`;
    const beyond = await asked(page, '/api/state?at=999', { cookie });
    expect(beyond.code).toBe(404);
    expect(beyond.body).toContain('999 does not exist yet');
    const strange = await asked(page, '/api/state?at=-1', { cookie });
    expect(strange.code).toBe(400);
    expect(JSON.parse(strange.body)).toEqual({
      error: 'at must be a non-negative integer',
      position: null,
    });
  });
});
