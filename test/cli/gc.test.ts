/**
 * Goal: `gc` shows what is collected and what is kept, and why, and collects: through the daemon or
 * itself. Method: the built command with and without a daemon.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { hungMount } from '../support/hung-mount.js';
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

it('shows what Cleanup of a running daemon would collect, and calls it', async () => {
  const daemon = await aDaemon({ asyncRemove: true, config: 'preallocated_directories = 0\n' });
  const client = askedOf(daemon);
  await client.prepare('n/1/a');
  await client.commit('n/2/a', 'n/1/a');
  await client.prepare('n/3/b', 'n/2/a');
  await client.prepare('n/4/c', 'n/2/a');
  await client.remove('n/4/c');
  const snapshots = join(daemon.root, 'snapshots');
  mkdirSync(join(snapshots, 'stray'));
  writeFileSync(join(snapshots, 'notes'), 'x'.repeat(5000));
  const dry = await stratalog(['gc', '--dry-run', '--root', daemon.root]);
  expect([dry.code, dry.stderr]).toEqual([3, '']);
  const lines = dry.stdout.trimEnd().split('\n');
  expect(lines[0]).toMatch(/^DIRECTORY +VERDICT +SIZE +AGE +REASON$/);
  expect(lines[1]).toMatch(/^1 +kept +.* committed snapshot n\/2\/a, 1 child$/);
  expect(lines[2]).toMatch(/^2 +kept +\d.* \d+ s +active snapshot n\/3\/b$/);
  expect(lines[3]).toMatch(/^notes +kept +8\.0 KiB .* unowned, but in use: it is not a directory$/);
  expect(lines[4]).toMatch(/^3 +collected .* removed, awaiting Cleanup since \d.*: n\/4\/c$/);
  expect(lines[5]).toMatch(/^stray +collected +4\.0 KiB .* orphan: unowned and unused$/);
  expect(lines.slice(-2)[0]).toMatch(/^kept +3, /);
  expect(readdirSync(snapshots)).toHaveLength(5);

  const young = await stratalog([
    ...['gc', '--min-age', '1h', '--root', daemon.root, '-q', '--address', daemon.address],
  ]);
  expect([young.code, young.stdout]).toEqual([1, '3\n']);
  expect(young.stderr).toContain('stray is younger than --min-age 1h');
  expect(readdirSync(snapshots)).toHaveLength(5);

  const args = ['--root', daemon.root, '--address', daemon.address];
  const done = await stratalog(['gc', '--json', '--no-size', ...args]);
  expect([done.code, done.stderr]).toEqual([0, 'stratalog: removed 2 directories\n']);
  expect(jsonLines(done.stdout)).toMatchObject([
    { schema: 'stratalog.gc/v1', entry: '1', verdict: 'kept', reason: 'snapshot', children: 1 },
    { entry: '2', verdict: 'kept', shownAs: 'active', size: null },
    { entry: 'notes', verdict: 'kept', reason: 'in-use', evidence: 'it is not a directory' },
    { entry: '3', verdict: 'collected', reason: 'awaiting-cleanup', name: 'n/4/c' },
    { entry: 'stray', verdict: 'collected', reason: 'orphan' },
  ]);
  expect(readdirSync(snapshots).sort()).toEqual(['1', '2', 'notes']);
  const again = await stratalog(['gc', '--json', '--no-size', ...args]);
  expect(again.code).toBe(0);
  expect(jsonLines(again.stdout)[2]).toMatchObject({
    ...{ entry: 'notes', verdict: 'kept', reason: 'set-aside', because: 'unowned' },
  });
});

it('has the daemon delete requested entries, but not owned, missing or mounted ones', async () => {
  const daemon = await aDaemon({ config: 'preallocated_directories = 0\n' });
  const client = askedOf(daemon);
  await client.prepare('n/1/a');
  const snapshots = join(daemon.root, 'snapshots');
  for (const name of ['notes', 'mine', 'held']) {
    mkdirSync(join(snapshots, name, 'fs', 'deep'), { recursive: true });
    writeFileSync(join(snapshots, name, 'fs', 'deep', 'file'), name);
  }
  const elsewhere = await aDirectory();
  execFileSync('mount', ['--bind', join(snapshots, 'held', 'fs'), elsewhere]);
  const args = ['--root', daemon.root, '--address', daemon.address, '--no-size'];
  const named = (...names: string[]) =>
    stratalog(['gc', ...args, ...names.flatMap((name) => ['--delete', name]), '--yes']);
  try {
    for (const [name, why] of [
      ['1', 'cannot delete: active snapshot n/1/a'],
      ['nothing', 'no such entry in snapshots/'],
      [
        'held',
        `the mount on ${elsewhere} uses it as bind source; remove the container or mount that uses it`,
      ],
    ] as const) {
      const refused = await named(name, 'notes');
      expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining(why)]);
    }
    expect(readdirSync(snapshots)).toHaveLength(4);
    const unconfirmed = await stratalog(['gc', ...args, '--delete', 'notes']);
    expect([unconfirmed.code, unconfirmed.stderr]).toEqual([2, expect.stringContaining('--yes')]);
    expect((await stratalog(['health', '-a', daemon.address])).stdout).toMatch(
      /directories +SERVING/,
    );
    const done = await named('notes');
    expect([done.code, done.stderr]).toEqual([0, 'stratalog: removed 1 directory\n']);
    expect(readdirSync(snapshots).sort()).toEqual(['1', 'held', 'mine']);
    // Health shows the kept directories, but the probe still succeeds.
    const health = await stratalog(['health', '-a', daemon.address]);
    expect(health.code).toBe(0);
    expect(health.stdout).toMatch(
      /directories +NOT_SERVING\n[^]*run .stratalog inspect. for details/,
    );
    const log = await stratalog(['log', '--root', daemon.root, '--stream', 'daemon']);
    expect(log.stdout).toMatch(/DirectoriesReleased .* notes, requested by pid \d+/);
  } finally {
    execFileSync('umount', [elsewhere]);
  }
  const rest = await named('held', 'mine');
  expect([rest.code, rest.stderr]).toEqual([0, 'stratalog: removed 2 directories\n']);
  expect(readdirSync(snapshots)).toEqual(['1']);
}, 60_000);

it('is not blocked by an entry on a hung file system', async () => {
  const root = await aRoot([preparing(1, 'n/1/a'), prepared(1)]);
  const snapshots = join(root, 'snapshots');
  mkdirSync(join(snapshots, '1', 'fs'), { recursive: true });
  mkdirSync(join(snapshots, 'stray'));
  mkdirSync(join(snapshots, 'nfs'));
  const hung = hungMount(join(snapshots, 'nfs'));
  try {
    const dry = await stratalog(['gc', '--dry-run', '--json', '--root', root]);
    expect(dry.code).toBe(3);
    expect(jsonLines(dry.stdout)).toMatchObject([
      { entry: '1', verdict: 'kept', reason: 'snapshot' },
      { entry: 'nfs', verdict: 'kept', reason: 'in-use', size: null },
      { entry: 'stray', verdict: 'collected', reason: 'orphan' },
    ]);
  } finally {
    hung.end();
  }
}, 60_000);

describe('a stopped root', () => {
  /** 2 awaits Cleanup, 3 was being removed at the crash, 77 and `stray` are unowned. */
  async function aRootAfterCrash(): Promise<string> {
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

  it('is collected by the command, which records the same events as Cleanup', async () => {
    const root = await aRootAfterCrash();
    const before = (await typesOf(root)).length;
    const dry = await stratalog(['gc', '--dry-run', '-q', '--root', root]);
    expect([dry.code, dry.stdout, dry.stderr]).toEqual([3, '2\n3\n77\n', '']);
    expect([entriesOf(root).length, (await typesOf(root)).length]).toEqual([5, before]);
    const done = await stratalog(['gc', '-q', '--root', root]);
    expect([done.code, done.stderr]).toEqual([0, 'stratalog: removed 3 directories\n']);
    expect(entriesOf(root)).toEqual(['1', 'stray']);
    expect((await typesOf(root)).slice(before)).toEqual([
      ...['SnapshotCollecting', 'DirectoriesCollected', 'DirectoriesSetAside', 'OrphanFound'],
      ...['SnapshotRemoved', 'SnapshotRemoved', 'OrphanRemoved'],
    ]);
    const sound = await stratalog(['verify', '--root', root]);
    expect(sound.code).toBe(0);
    const again = await stratalog(['gc', '--dry-run', '-q', '--root', root]);
    expect([again.code, again.stdout]).toEqual([0, '']);
    const count = (await typesOf(root)).length;
    const named = await stratalog(['gc', '-q', '--root', root, '--delete', 'stray', '--yes']);
    expect([named.code, named.stdout, entriesOf(root)]).toEqual([0, 'stray\n', ['1']]);
    expect((await typesOf(root)).slice(count)).toEqual(['DirectoriesReleased', 'OrphanRemoved']);
  });

  it('is collected once by two concurrent commands', async () => {
    const root = await aRootAfterCrash();
    const both = ['gc', '-q', '--root', root];
    const ended = await Promise.all([stratalog(both), stratalog(both)]);
    // One of them may find the root locked by the other.
    for (const { code } of ended) expect([0, 4]).toContain(code);
    expect(entriesOf(root)).toEqual(['1', 'stray']);
    const types = await typesOf(root);
    for (const [type, count] of [
      ['DirectoriesCollected', 1],
      ['DirectoriesSetAside', 1],
      ['OrphanFound', 1],
      ['OrphanRemoved', 1],
    ] as const) {
      expect(types.filter((one) => one === type)).toHaveLength(count);
    }
  });

  it('is not collected, nor reported as garbage, if its log is missing', async () => {
    const root = await aRootAfterCrash();
    rmSync(join(root, 'log'), { recursive: true });
    for (const more of [['--dry-run'], []]) {
      const { code, stdout, stderr } = await stratalog(['gc', ...more, '--root', root]);
      expect([code, stdout]).toEqual([1, '']);
      expect(stderr).toContain('log');
    }
    expect(entriesOf(root)).toHaveLength(5);
  });

  it('is refused if snapshots/ is a link, as at startup', async () => {
    const root = await aRootAfterCrash();
    const elsewhere = join(await aDirectory(), 'elsewhere');
    renameSync(join(root, 'snapshots'), elsewhere);
    symlinkSync(elsewhere, join(root, 'snapshots'));
    const { code, stderr } = await stratalog(['gc', '-q', '--root', root]);
    expect([code, stderr]).toEqual([2, expect.stringContaining('snapshots is a symlink')]);
    expect(entriesOf(root)).toHaveLength(5);
  });

  it('does not call a daemon that serves another root', async () => {
    const root = await aRootAfterCrash();
    const { code, stderr } = await stratalog(['gc', '--root', root, '--address', '/nowhere.sock']);
    expect([code, stderr]).toEqual([2, expect.stringContaining('no daemon serves')]);
    expect(entriesOf(root)).toHaveLength(5);
  });

  it('keeps an entry whose name is not UTF-8, and does not count it as removed', async () => {
    const root = await aRootAfterCrash();
    mkdirSync(Buffer.concat([Buffer.from(`${join(root, 'snapshots')}/bad`), Buffer.from([0xff])]));
    const { code, stdout, stderr } = await stratalog(['gc', '--root', root]);
    expect([code, stderr]).toEqual([0, 'stratalog: removed 3 directories\n']);
    expect(stdout).toMatch(/bad.* kept .*unknown: open failed with EILSEQ/);
    expect(entriesOf(root)).toHaveLength(3);
  });

  it('finishes removals whose directory is already gone', async () => {
    const root = await aRootAfterCrash();
    rmSync(join(root, 'snapshots', '3'), { recursive: true });
    const { stdout, stderr } = await stratalog(['gc', '-q', '--root', root]);
    expect([stdout, stderr]).toEqual(['2\n3\n77\n', 'stratalog: removed 3 directories\n']);
    const { stdout: left } = await stratalog(['inspect', '--json', '--offline', '--root', root]);
    expect(left).not.toMatch(/UnfinishedRemoval|AwaitingCleanup/);
  });

  it('keeps entries younger than --min-age, and collects the rest', async () => {
    const root = await aRootAfterCrash();
    const args = ['gc', '--min-age', '1h', '--root', root];
    expect((await stratalog(args)).code).toBe(0);
    expect(entriesOf(root)).toEqual(['1', '77', 'stray']);
  });

  it('keeps mounted entries, and says so', async () => {
    const root = await aRootAfterCrash();
    const held = join(root, 'snapshots', '2', 'fs');
    execFileSync('mount', ['-t', 'tmpfs', 'none', held]);
    try {
      const { code, stderr } = await stratalog(['gc', '-q', '--root', root]);
      expect(code).toBe(1);
      expect(stderr).toContain('removed 2 directories');
      expect(stderr).toMatch(/cannot remove 1 directory; .*:\n {2}2: .*snapshots\/2\/fs.*EBUSY/);
      expect(entriesOf(root)).toEqual(['1', '2', 'stray']);
      const { stdout } = await stratalog(['inspect', '--json', '--root', root]);
      expect(stdout).toMatch(
        /UnfinishedRemoval[^]*it has failed with EBUSY on [^ ]*snapshots\/2\/fs/,
      );
    } finally {
      execFileSync('umount', [held]);
    }
    // The log has an unfinished removal.
    const { stdout } = await stratalog(['gc', '-q', '--root', root]);
    expect([stdout, entriesOf(root)]).toEqual(['2\n', ['1', 'stray']]);
  });
});

it('shows preallocated directories in one row, and each of them in JSON', async () => {
  const ids = [2, 3, 4, 5];
  const root = await aRoot([
    preparing(1, 'n/1/a'),
    prepared(1),
    { stream: 'daemon', type: 'DirectoriesPreallocated', data: { ids } },
  ]);
  for (const id of [1, ...ids]) aCommitted(root, id);
  const { stdout } = await stratalog(['gc', '--dry-run', '--root', root]);
  const lines = stdout.trimEnd().split('\n');
  expect(lines).toHaveLength(6);
  expect(lines[2]).toMatch(/^2 to 5 +kept +\d+\.\d KiB .* preallocated for a future snapshot/);
  expect(lines[4]).toMatch(/^kept +5, /);
  const json = await stratalog(['gc', '--dry-run', '--json', '--root', root]);
  expect(jsonLines(json.stdout).map(({ entry, reason }) => [entry, reason])).toEqual([
    ['1', 'snapshot'],
    ...ids.map((id) => [String(id), 'preallocated']),
  ]);
});

it('refuses an invalid age', async () => {
  const root = await aRoot([]);
  const { code, stderr } = await stratalog(['gc', '--min-age', 'soon', '--root', root]);
  expect([code, stderr]).toEqual([
    2,
    'stratalog: --min-age "soon": not a duration; use for example 24h\n',
  ]);
});
