/** Goal: `gc` says what goes and why the rest stays, and does it: by the daemon, or by itself. Method: the built command, beside a daemon and without one. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  aCommitted,
  aDaemon,
  aDirectory,
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
  expect([done.code, done.stderr]).toEqual([0, 'stratalog: 2 directories gone\n']);
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

describe('a stopped root', () => {
  /** 2 awaits Cleanup, 3 was being removed when the daemon died, 77 and `stray` are nobody's. */
  async function aLeftRoot(): Promise<string> {
    const root = await aRoot([
      ...[preparing(1, 'n/1/base'), prepared(1), committing(1, 'n/2/base')],
      ...[committed(1, 'n/2/base'), preparing(2, 'n/3/going'), prepared(2), removing(2, true)],
      ...[preparing(3, 'n/4/gone'), prepared(3), removing(3)],
    ]);
    for (const id of [1, 2, 3]) aCommitted(root, id);
    mkdirSync(join(root, 'snapshots', '77'));
    writeFileSync(join(root, 'snapshots', 'stray'), 'x');
    return root;
  }
  const entriesOf = (root: string): readonly string[] =>
    readdirSync(join(root, 'snapshots')).sort();
  const typesOf = async (root: string): Promise<readonly unknown[]> => {
    const { stdout } = await stratalog(['log', '--json', '--root', root]);
    return jsonLines(stdout).map(({ type }) => type);
  };

  it('is collected by the command itself, which writes what Cleanup writes', async () => {
    const root = await aLeftRoot();
    const before = (await typesOf(root)).length;
    const dry = await stratalog(['gc', '--dry-run', '-q', '--root', root]);
    expect([dry.code, dry.stdout, dry.stderr]).toEqual([3, '2\n3\n77\nstray\n', '']);
    expect([entriesOf(root).length, (await typesOf(root)).length]).toEqual([5, before]);
    const done = await stratalog(['gc', '-q', '--root', root]);
    expect([done.code, done.stderr]).toEqual([0, 'stratalog: 4 directories gone\n']);
    expect(entriesOf(root)).toEqual(['1']);
    expect((await typesOf(root)).slice(before)).toEqual([
      ...['SnapshotCollecting', 'DirectoriesCollected', 'OrphanFound', 'OrphanFound'],
      ...['SnapshotRemoved', 'SnapshotRemoved', 'OrphanRemoved', 'OrphanRemoved'],
    ]);
    const sound = await stratalog(['verify', '--root', root]);
    expect(sound.code).toBe(0);
    const again = await stratalog(['gc', '--dry-run', '-q', '--root', root]);
    expect([again.code, again.stdout]).toEqual([0, '']);
  });

  it('is collected once by two that do it at once', async () => {
    const root = await aLeftRoot();
    const both = ['gc', '-q', '--root', root];
    const ended = await Promise.all([stratalog(both), stratalog(both)]);
    // Whoever finds the root held by the other is told so.
    for (const { code } of ended) expect([0, 4]).toContain(code);
    expect(entriesOf(root)).toEqual(['1']);
    const types = await typesOf(root);
    for (const [type, count] of [
      ['DirectoriesCollected', 1],
      ['OrphanFound', 2],
      ['OrphanRemoved', 2],
    ] as const) {
      expect(types.filter((one) => one === type)).toHaveLength(count);
    }
  });

  it('is not collected, nor called garbage, when its log is gone', async () => {
    const root = await aLeftRoot();
    rmSync(join(root, 'log'), { recursive: true });
    for (const more of [['--dry-run'], []]) {
      const { code, stdout, stderr } = await stratalog(['gc', ...more, '--root', root]);
      expect([code, stdout]).toEqual([1, '']);
      expect(stderr).toContain('log');
    }
    expect(entriesOf(root)).toHaveLength(5);
  });

  it('is left alone where its directories are behind a link, as a start leaves it alone', async () => {
    const root = await aLeftRoot();
    const elsewhere = join(await aDirectory(), 'elsewhere');
    renameSync(join(root, 'snapshots'), elsewhere);
    symlinkSync(elsewhere, join(root, 'snapshots'));
    const { code, stderr } = await stratalog(['gc', '-q', '--root', root]);
    expect([code, stderr]).toEqual([2, expect.stringContaining('snapshots is a link')]);
    expect(entriesOf(root)).toHaveLength(5);
  });

  it('asks no daemon that serves another one', async () => {
    const root = await aLeftRoot();
    const { code, stderr } = await stratalog(['gc', '--root', root, '--address', '/nowhere.sock']);
    expect([code, stderr]).toEqual([2, expect.stringContaining('no daemon serves')]);
    expect(entriesOf(root)).toHaveLength(5);
  });

  it('keeps a name that is no UTF-8, and does not say that it is gone', async () => {
    const root = await aLeftRoot();
    mkdirSync(Buffer.concat([Buffer.from(`${join(root, 'snapshots')}/bad`), Buffer.from([0xff])]));
    const { code, stderr } = await stratalog(['gc', '-q', '--root', root]);
    expect([code, stderr]).toEqual([1, expect.stringContaining('4 directories gone')]);
    expect(stderr).toContain('EILSEQ');
    expect(entriesOf(root)).toHaveLength(2);
  });

  it('has removals ended whose directory is gone already', async () => {
    const root = await aLeftRoot();
    rmSync(join(root, 'snapshots', '3'), { recursive: true });
    const { stdout, stderr } = await stratalog(['gc', '-q', '--root', root]);
    expect([stdout, stderr]).toEqual(['2\n3\n77\nstray\n', 'stratalog: 4 directories gone\n']);
    const { stdout: left } = await stratalog(['inspect', '--json', '--offline', '--root', root]);
    expect(left).not.toMatch(/UnfinishedRemoval|AwaitingCleanup/);
  });

  it('keeps what is younger than --min-age, and collects the rest', async () => {
    const root = await aLeftRoot();
    const args = ['gc', '--min-age', '1h', '--root', root];
    expect((await stratalog(args)).code).toBe(0);
    expect(entriesOf(root)).toEqual(['1', '77', 'stray']);
  });

  it('keeps what is mounted, and says so', async () => {
    const root = await aLeftRoot();
    const held = join(root, 'snapshots', '2', 'fs');
    execFileSync('mount', ['-t', 'tmpfs', 'none', held]);
    try {
      const { code, stderr } = await stratalog(['gc', '-q', '--root', root]);
      expect(code).toBe(1);
      expect(stderr).toContain('3 directories gone');
      expect(stderr).toMatch(
        /1 directory could not be removed; .*:\n {2}2: .*snapshots\/2\/fs.*EBUSY/,
      );
      expect(entriesOf(root)).toEqual(['1', '2']);
    } finally {
      execFileSync('umount', [held]);
    }
    // The log knows it as a removal that has to be ended still.
    const { stdout } = await stratalog(['gc', '-q', '--root', root]);
    expect([stdout, entriesOf(root)]).toEqual(['2\n', ['1']]);
  });
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
