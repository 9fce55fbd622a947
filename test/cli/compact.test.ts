/**
 * Goal: checkpoint and compact work on a stopped root and do nothing to a root in use; a daemon starts
 * on the result, and it verifies. Method: the built command and the real daemon on real roots.
 */
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, expect, it } from 'vitest';
import {
  aCommitted,
  aDaemon,
  aDaemonToBe,
  appendTo,
  aRoot,
  askedOf,
  builtCli,
  buildLimitMillis,
  cleanUp,
  clockFrom,
  daemonStarted,
  jsonLines,
  prepared,
  preparing,
  stratalog,
} from './rig.js';

beforeAll(builtCli, buildLimitMillis);
afterEach(cleanUp);

const limit = { timeout: 90_000 };
const manyEvents = [daemonStarted()].concat(
  [...Array(30).keys()].flatMap((n) => [preparing(n + 1, `n/${n}/key`), prepared(n + 1)]),
);

const namesIn = (root: string, ending: string): string[] =>
  readdirSync(join(root, 'log'))
    .filter((name) => name.endsWith(ending))
    .sort();

/** Detects any write. */
const filesOf = (root: string) =>
  readdirSync(join(root, 'log'))
    .sort()
    .map((name) => {
      const path = join(root, 'log', name);
      return [name, statSync(path).mtimeMs, readFileSync(path).toString('base64')];
    });

it('writes a checkpoint that the next open uses', limit, async () => {
  const root = await aRoot(manyEvents);
  const { code, stdout } = await stratalog(['checkpoint', '--root', root, '--json']);
  expect(code).toBe(0);
  expect(jsonLines(stdout)).toEqual([
    { schema: 'stratalog.checkpoint/v1', root, position: 61, snapshots: 30 },
  ]);
  expect(namesIn(root, '.checkpoint')).toEqual(['00000000000000000061.checkpoint']);
  const events = await stratalog(['log', '--root', root, '--type', 'CheckpointTaken']);
  expect(events.stdout).toContain('of position 61, 30 snapshots');
  expect(await stratalog(['verify', '--root', root])).toMatchObject({ code: 0 });
});

it('cuts a torn tail as startup does, and records it', limit, async () => {
  const root = await aRoot(manyEvents);
  const [last = ''] = namesIn(root, '.seg').slice(-1);
  const path = join(root, 'log', last);
  const bytes = readFileSync(path);
  const end = bytes.findLastIndex((byte) => byte !== 0);
  bytes.fill(0xab, (end + 8) & ~7, (end + 40) & ~7);
  writeFileSync(path, bytes);
  const { code, stderr } = await stratalog(['checkpoint', '--root', root]);
  expect(code).toBe(0);
  expect(stderr).toContain('an unfinished append was cut from the end of the log');
  const events = await stratalog(['log', '--root', root, '--type', 'TailCut', '--json']);
  expect(jsonLines(events.stdout)).toHaveLength(1);
  expect(namesIn(root, '.broken')).toHaveLength(1);
});

it('shows what would be dropped, and changes nothing with --dry-run', limit, async () => {
  const root = await aRoot(manyEvents);
  const before = filesOf(root);
  const { code, stdout } = await stratalog([
    'compact',
    '--root',
    root,
    '--before',
    '40',
    '--dry-run',
  ]);
  expect(code).toBe(0);
  const [, second = '', third = ''] = namesIn(root, '.seg');
  const keepFrom = Math.max(...[second, third].map(Number.parseFloat).filter((at) => at <= 40));
  expect(stdout).toContain(`positions 0 to ${keepFrom}; the log then begins at ${keepFrom}`);
  expect(stdout).toMatch(/states +all past states/);
  expect(stdout).toMatch(/the first events of \d+ existing snapshots/);
  expect(filesOf(root)).toEqual(before);
  const unconfirmed = await stratalog(['compact', '--root', root, '--before', '40']);
  expect(unconfirmed.code).toBe(2);
  expect(unconfirmed.stderr).toContain(
    'nothing was dropped: no terminal to prompt on; use --yes to confirm',
  );
  expect(filesOf(root)).toEqual(before);
  const beyond = await stratalog(['compact', '--root', root, '--before', '9999', '--dry-run']);
  expect(beyond).toMatchObject({ code: 1, stdout: '' });
  expect(beyond.stderr).toContain('the log ends at position 61: 9999 does not exist yet');
  for (const [moment, exit] of [
    ['0', 0],
    ['2020-01-01T00:00:00Z', 0],
    ['62', 1],
    ['9999', 1],
    ['2026-02-30T00:00:00Z', 2],
    ['yesterday', 2],
  ] as const) {
    const other = await stratalog(['compact', '--root', root, '--before', moment, '--yes']);
    expect({ moment, code: other.code }).toEqual({ moment, code: exit });
  }
  expect(filesOf(root)).toEqual(before);
});

it('is not misled by a clock that was ahead, and reports it', limit, async () => {
  const lives = (from: number) =>
    [...Array(12).keys()].flatMap((n) => [
      preparing(from + n, `n/${from + n}/key`),
      prepared(from + n),
    ]);
  const root = await aRoot(lives(1), clockFrom('2020-01-01T00:00:00Z'));
  await appendTo(root, lives(21), clockFrom('2090-06-01T00:00:00Z'));
  await appendTo(root, lives(41), clockFrom('2021-01-01T00:00:00Z'));
  const compact = ['compact', '--root', root, '--dry-run'];
  const sealed = namesIn(root, '.seg').slice(0, -1);
  const all = await stratalog([...compact, '--before', '30d']);
  expect(all.stdout).toContain(`segments    ${sealed.length},`);
  expect(all.stdout).toMatch(
    /clock: warning: \d segments? with times in the future, up to 2090-06-01T/,
  );
  // Records written while the clock was ahead count as no older than the records before them.
  const early = await stratalog([...compact, '--before', '2020-06-01T00:00:00Z', '--json']);
  const [plan] = jsonLines(early.stdout);
  expect(plan?.['segments']).not.toContain(sealed.at(-1));
  expect(plan).toMatchObject({
    clock: { aheadTo: expect.stringMatching(/^2090-06-01/) as string },
  });
  const none = await stratalog([...compact, '--before', '2019-01-01T00:00:00Z']);
  expect(none.stdout).toContain('nothing to drop');
  // A clock that is behind makes no record old.
  await appendTo(root, lives(61), clockFrom('2091-01-01T00:00:00Z'));
  const behind = await stratalog([...compact, '--before', '1s']);
  expect(behind.stdout).toMatch(
    /clock: warning: the time is .*, but the newest record is from 2091-01-01/,
  );
  const done = await stratalog(['compact', '--root', root, '--before', '30d', '--yes']);
  expect(done).toMatchObject({ code: 0 });
  expect((await stratalog(['verify', '--root', root])).code).toBe(0);
});

it(
  'drops segments below a checkpoint that it writes, and a daemon starts on the result',
  limit,
  async () => {
    const daemon = await aDaemonToBe();
    const { root } = daemon;
    await appendTo(root, [
      ...manyEvents.slice(0, 21),
      { stream: 'snapshot-1', type: 'SnapshotRemoving', data: { deferred: false, caller: {} } },
      ...manyEvents.slice(21),
    ]);
    mkdirSync(join(root, 'snapshots'));
    for (let id = 1; id <= 30; id++) {
      aCommitted(root, id);
      mkdirSync(join(root, 'snapshots', String(id), 'work'));
    }
    const args = ['compact', '--root', root, '--before', '0s', '--yes', '--json'];
    const { code, stdout } = await stratalog(args);
    expect(code).toBe(0);
    const [done] = jsonLines(stdout);
    expect(done).toMatchObject({ schema: 'stratalog.compact/v1', done: true, checkpoint: 62 });
    const unknown = await stratalog(['state', '--root', root, '--at', '61']);
    expect(unknown.code).toBe(1);
    expect(unknown.stderr).toContain('the oldest known state is at 62');
    const [first = ''] = namesIn(root, '.seg');
    expect(Number.parseFloat(first)).toBe(done?.['keepFrom']);
    expect(done?.['keepFrom']).toBeGreaterThan(0);
    expect(Number(done?.['records'])).toBe(done?.['keepFrom']);
    expect(await stratalog(['verify', '--root', root])).toMatchObject({ code: 0 });
    const types = await stratalog(['log', '--root', root, '--json', '--from', '62']);
    expect(jsonLines(types.stdout).map(({ type }) => type)).toEqual([
      'CheckpointTaken',
      'SegmentsRetired',
    ]);
    await daemon.start();
    await askedOf(daemon).prepare('n/100/new');
    await daemon.stop();
    expect(await stratalog(['verify', '--root', root])).toMatchObject({ code: 0 });
  },
);

it('does not touch a root in use, and names the process', limit, async () => {
  const daemon = await aDaemon();
  await askedOf(daemon).prepare('n/1/key');
  const verified = await stratalog(['verify', '--root', daemon.root]);
  const checkpoint = await stratalog(['checkpoint', '--root', daemon.root]);
  expect(checkpoint.code).toBe(4);
  expect(checkpoint.stderr).toMatch(/is in use by process \d+, started /);
  // Fails even though there is nothing to drop.
  const idle = await stratalog(['compact', '--root', daemon.root, '--before', '1', '--yes']);
  expect(idle).toMatchObject({ code: 4, stdout: '' });
  expect(idle.stderr).toMatch(/is in use by process \d+, started /);
  const dry = await stratalog(['compact', '--root', daemon.root, '--before', '1', '--dry-run']);
  expect(dry.code).toBe(0);
  expect((await stratalog(['verify', '--root', daemon.root])).stdout).toBe(verified.stdout);
});
