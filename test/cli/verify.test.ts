/**
 * Goal: the result of verify is correct and can be used in scripts. Method: the built command on
 * sound, damaged and inconsistent logs, and next to a daemon that writes constantly.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, expect, it } from 'vitest';
import {
  aDaemon,
  aDaemonToBe,
  appendTo,
  aRoot,
  askedOf,
  builtCli,
  buildLimitMillis,
  cleanUp,
  daemonStarted,
  jsonLines,
  prepared,
  preparing,
  stratalog,
} from './rig.js';
import { until } from '../../scripts/rig/wait.js';

beforeAll(builtCli, buildLimitMillis);
afterEach(cleanUp);

const manyEvents = [daemonStarted()].concat(
  [...Array(40).keys()].flatMap((n) => [preparing(n + 1, `key-${n}`), prepared(n + 1)]),
);

it('prints what it verified, and exits 0', async () => {
  const root = await aRoot(manyEvents);
  const { code, stdout, stderr } = await stratalog(['verify', '--root', root]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toMatch(
    /^verified up to position 81, chain head [0-9a-f]{64}, 81 records, \d+ bytes\n$/,
  );
  const quick = await stratalog(['verify', '--quick', '--json', '--root', root]);
  expect(quick.code).toBe(0);
  const summary = { schema: 'stratalog.verify-summary/v1', verifiedTo: 81, findings: 0 };
  expect(jsonLines(quick.stdout)).toMatchObject([{ ...summary, quick: true }]);
  expect(quick.stdout).toContain(/chain head ([0-9a-f]{64})/.exec(stdout)?.[1]);
});

it('locates damage, continues after it, and exits 3', async () => {
  const root = await aRoot(manyEvents);
  const [, second = ''] = readdirSync(join(root, 'log'))
    .filter((name) => name.endsWith('.seg'))
    .sort();
  const path = join(root, 'log', second);
  const bytes = readFileSync(path);
  bytes.writeUInt8(bytes.readUInt8(700) ^ 16, 700);
  writeFileSync(path, bytes);
  const { code, stdout } = await stratalog(['verify', '--json', '--root', root]);
  expect(code).toBe(3);
  const [finding, summary, ...rest] = jsonLines(stdout);
  expect(rest).toEqual([]);
  expect(finding).toMatchObject({
    schema: 'stratalog.verify-finding/v1',
    kind: 'record-damaged',
    severity: 'damage',
    segment: second,
  });
  expect(Number(finding?.['offset'])).toBeLessThanOrEqual(700);
  expect(Number(finding?.['offset'])).toBeGreaterThan(300);
  expect(summary).toMatchObject({ verifiedTo: finding?.['position'], damage: 1, records: 80 });
  const table = await stratalog(['verify', '--root', root]);
  expect(table.stdout).toMatch(/^SEVERITY +KIND +WHERE +FOUND\ndamage +record-damaged +posit/);
  const [heading = '', line = '', end = ''] = table.stdout.split('\n');
  expect(line.slice(heading.indexOf('FOUND') - 2)).toMatch(/^ {2}\S/);
  const soundTo = String(finding?.['position']);
  expect(end).toBe(`sound up to position ${soundTo}, 80 valid records; 1 finding`);
});

it(
  'checks sealed segments by the digests that a daemon recorded',
  { timeout: 60_000 },
  async () => {
    const daemon = await aDaemonToBe();
    const { root } = daemon;
    await appendTo(root, manyEvents);
    const without = await stratalog(['verify', '--no-events', '--root', root]);
    expect(without.stdout).toMatch(/ bytes \(without events\)\n$/);
    for (let id = 1; id <= 40; id += 1) {
      mkdirSync(join(root, 'snapshots', `${id}`, 'fs'), { recursive: true });
    }
    await daemon.start();
    let events = '';
    await until('two segments are checked', async () => {
      events = (await stratalog(['log', '--root', root, '--type', 'SegmentChecked'])).stdout;
      return events.split(' are sound').length > 2;
    });
    expect(events).toMatch(/SegmentChecked +records 0 to \d+ are sound, sha256 [0-9a-f]{12}/);
    await daemon.stop();
    const by = await stratalog(['verify', '--no-events', '--root', root]);
    expect(by).toMatchObject({ code: 0, stderr: '' });
    expect(by.stdout).toMatch(/\(without events; \d+ of \d+ segments by digest\)\n$/);
    const every = await stratalog(['verify', '--no-events', '--every-record', '--root', root]);
    expect(every.stdout).toMatch(/ bytes \(without events\)\n$/);
    const [first = ''] = readdirSync(join(root, 'log')).filter((name) => name.endsWith('.seg'));
    const bytes = readFileSync(join(root, 'log', first));
    bytes.writeUInt8(bytes.readUInt8(700) ^ 16, 700);
    writeFileSync(join(root, 'log', first), bytes);
    const damaged = await stratalog(['verify', '--no-events', '--root', root]);
    expect(damaged.code).toBe(3);
    expect(damaged.stdout).toMatch(/damage +record-damaged +position \d+, 0{20}\.seg at \d+/);
  },
);

it('finds impossible events, except with --quick', async () => {
  const root = await aRoot([prepared(1), { stream: 'snapshot-2', type: 'SnapshotFrozen' }]);
  const { code, stdout } = await stratalog(['verify', '--root', root]);
  expect(code).toBe(3);
  expect(stdout).toMatch(/damage +event-impossible +position 0, snapshot-1 +.*cannot happen/);
  expect(stdout).toMatch(/damage +event-newer +position 1, snapshot-2 +.*not known/);
  expect((await stratalog(['verify', '--quick', '--root', root])).code).toBe(0);
  const both = await stratalog(['verify', '--quick', '--every-record', '--root', root]);
  expect(both).toMatchObject({ code: 2, stdout: '' });
});

it('reports no findings while a daemon writes', { timeout: 90_000 }, async () => {
  const daemon = await aDaemon();
  const client = askedOf(daemon);
  const state = { isOver: false };
  const working = [...Array(8).keys()].map(async (lane) => {
    for (let n = 0; !state.isOver; n++) {
      await client.prepare(`n/${n}/${lane}`);
      await client.remove(`n/${n}/${lane}`);
    }
  });
  try {
    for (let round = 0; round < 5; round++) {
      const { code, stdout, stderr } = await stratalog(['verify', '--root', daemon.root]);
      const whole = /^verified up to position \d+, chain head [0-9a-f]{64}, .*\n$/;
      expect({ code, stderr, stdout }).toEqual({
        ...{ code: 0, stderr: '' },
        stdout: expect.stringMatching(whole) as string,
      });
    }
  } finally {
    state.isOver = true;
    await Promise.all(working);
  }
  await daemon.stop();
  const { code, stdout } = await stratalog(['verify', '--root', daemon.root]);
  expect({ code, stdout }).toMatchObject({ code: 0 });
});
