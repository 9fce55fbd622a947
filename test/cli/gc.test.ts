/** Goal: `gc` says what goes and why the rest stays, and lets the daemon do it. Method: the built command, beside a daemon and without one. */
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, expect, it } from 'vitest';
import {
  aCommitted,
  aDaemon,
  aRoot,
  askedOf,
  builtCli,
  buildLimitMillis,
  cleanUp,
  committed,
  committing,
  jsonLines,
  prepared,
  preparing,
  removing,
  stratalog,
} from './rig.js';

beforeAll(builtCli, buildLimitMillis);
afterEach(cleanUp);

it('beside a daemon tells beforehand what Cleanup takes, and then has it taken', async () => {
  const daemon = await aDaemon({ asyncRemove: true, config: 'spare_directories = 0\n' });
  const asked = askedOf(daemon);
  await asked.prepare('n/1/a');
  await asked.commit('n/2/a', 'n/1/a');
  await asked.prepare('n/3/b', 'n/2/a');
  await asked.prepare('n/4/c', 'n/2/a');
  await asked.remove('n/4/c');
  const snapshots = join(daemon.root, 'snapshots');
  writeFileSync(join(snapshots, 'stray'), 'x'.repeat(5000));
  const dry = await stratalog(['gc', '--dry-run', '--root', daemon.root]);
  expect([dry.code, dry.stderr]).toEqual([3, '']);
  const lines = dry.stdout.trimEnd().split('\n');
  expect(lines[0]).toMatch(/^DIRECTORY +VERDICT +SIZE +AGE +REASON$/);
  expect(lines[1]).toMatch(/^1 +kept +.* committed snapshot n\/2\/a, 1 child$/);
  expect(lines[2]).toMatch(/^2 +kept +\d.* \d+ s +active snapshot n\/3\/b$/);
  expect(lines[3]).toMatch(/^3 +collected .* removed, awaiting Cleanup since \d.*: n\/4\/c$/);
  expect(lines[4]).toMatch(
    /^stray +collected +8\.0 KiB .* orphan: no snapshot in the log owns it$/,
  );
  expect(lines.slice(-2)[0]).toMatch(/^kept +2, /);
  expect(readdirSync(snapshots)).toHaveLength(4);

  const young = await stratalog([
    ...['gc', '--min-age', '1h', '--root', daemon.root, '-q', '--address', daemon.address],
  ]);
  expect([young.code, young.stdout]).toEqual([1, '3\n']);
  expect(young.stderr).toContain('stray is younger than --min-age 1h');
  expect(readdirSync(snapshots)).toHaveLength(4);

  const args = ['--root', daemon.root, '--address', daemon.address];
  const done = await stratalog(['gc', '--json', '--no-size', ...args]);
  expect([done.code, done.stderr]).toEqual([0, 'stratalog: 2 directories are gone\n']);
  expect(jsonLines(done.stdout)).toMatchObject([
    { schema: 'stratalog.gc/v1', entry: '1', verdict: 'kept', reason: 'snapshot', children: 1 },
    { entry: '2', verdict: 'kept', shownAs: 'active', size: null },
    { entry: '3', verdict: 'collected', reason: 'awaiting-cleanup', name: 'n/4/c' },
    { entry: 'stray', verdict: 'collected', reason: 'orphan' },
  ]);
  expect(readdirSync(snapshots).sort()).toEqual(['1', '2']);
  const again = await stratalog(['gc', ...args]);
  expect(again.code).toBe(0);
});

it('of a stopped root tells the same, and refuses to write what only a daemon writes', async () => {
  const root = await aRoot([
    preparing(1, 'n/1/base'),
    prepared(1),
    committing(1, 'n/2/base'),
    committed(1, 'n/2/base'),
    preparing(2, 'n/3/going'),
    prepared(2),
    removing(2),
  ]);
  aCommitted(root, 1);
  aCommitted(root, 2);
  mkdirSync(join(root, 'snapshots', '77'));
  const dry = await stratalog(['gc', '--dry-run', '-q', '--root', root]);
  expect([dry.code, dry.stdout, dry.stderr]).toEqual([3, '2\n77\n', '']);
  const { code, stderr } = await stratalog(['gc', '--root', root]);
  expect(code).toBe(1);
  expect(stderr).toContain('no daemon serves');
  expect(existsSync(join(root, 'snapshots', '77'))).toBe(true);
});

it('tells of spare directories in one row, and of each in JSON', async () => {
  const ids = [2, 3, 4, 5];
  const root = await aRoot([
    preparing(1, 'n/1/a'),
    prepared(1),
    { stream: 'daemon', type: 'SparesReserved', data: { ids } },
  ]);
  for (const id of [1, ...ids]) aCommitted(root, id);
  const { stdout } = await stratalog(['gc', '--dry-run', '--root', root]);
  const lines = stdout.trimEnd().split('\n');
  expect(lines).toHaveLength(6);
  expect(lines[2]).toMatch(/^2 to 5 +kept +\d+\.\d KiB .* spare: made ahead for a coming/);
  expect(lines[4]).toMatch(/^kept +5, /);
  const json = await stratalog(['gc', '--dry-run', '--json', '--root', root]);
  expect(jsonLines(json.stdout).map(({ entry, reason }) => [entry, reason])).toEqual([
    ['1', 'snapshot'],
    ...ids.map((id) => [String(id), 'spare']),
  ]);
});

it('wants an age that it can understand', async () => {
  const root = await aRoot([]);
  const { code, stderr } = await stratalog(['gc', '--min-age', 'soon', '--root', root]);
  expect([code, stderr]).toEqual([
    2,
    'stratalog: --min-age "soon": not a duration; say it as 24h or 90s\n',
  ]);
});
