/**
 * Goal: people and scripts can read a log in any state. Method: the built command on real roots, with
 * a working and with a killed daemon.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, expect, it } from 'vitest';
import { until } from '../../scripts/rig/wait.js';
import {
  aDaemon,
  aDirectory,
  appendTo,
  aRoot,
  askedOf,
  builtCli,
  buildLimitMillis,
  cleanUp,
  committed,
  committing,
  daemonStarted,
  jsonLines,
  prepared,
  preparing,
  shell,
  started,
  stratalog,
} from './rig.js';

beforeAll(builtCli, buildLimitMillis);
afterEach(cleanUp);

const aStory = [
  daemonStarted(),
  preparing(1, 'default/1/extract-1 sha256:a'),
  prepared(1),
  committing(1, 'default/2/sha256:a'),
  committed(1, 'default/2/sha256:a'),
  preparing(2, 'default/3/shell\u001b[31m', {
    parent: { id: 1, name: 'default/2/sha256:a' },
    kind: 'view',
  }),
];

it('prints one event per line, with untrusted text escaped', async () => {
  const root = await aRoot(aStory);
  const { code, stdout, stderr } = await stratalog(['log', '--root', root]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const [heading, ...lines] = stdout.trimEnd().split('\n');
  expect(heading?.split(/ +/).slice(1)).toEqual(['TIME', 'STREAM', 'EVENT', 'SUMMARY']);
  expect(lines).toHaveLength(6);
  expect(lines[0]).toMatch(
    /^ +0 {2}\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z {2}daemon +DaemonStarted +release 0\.1\.0 on/,
  );
  expect(lines[2]).toMatch(/snapshot-1 +SnapshotPrepared$/);
  expect(lines[5]).toContain(
    'view default/3/shell\\u{1b}[31m on default/2/sha256:a by default, pid 7',
  );
});

it('prints complete records with --json', async () => {
  const root = await aRoot(aStory);
  const { stdout } = await stratalog(['log', '--root', root, '--json', '--from', '2', '-n', '1']);
  expect(jsonLines(stdout)).toEqual([
    {
      schema: 'stratalog.event/v1',
      position: 2,
      time: expect.stringMatching(/^\d{4}.*\.\d{9}Z$/) as string,
      stream: 'snapshot-1',
      streamVersion: 1,
      type: 'SnapshotPrepared',
      schemaVersion: 1,
      data: {},
    },
  ]);
});

it('filters by range, stream, type and time, with limit and direction', async () => {
  const root = await aRoot(aStory);
  const positions = async (...args: string[]): Promise<number[]> => {
    const { code, stdout, stderr } = await stratalog(['log', '-q', ...args], {
      STRATALOG_ROOT: root,
    });
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    return stdout.split('\n').slice(0, -1).map(Number);
  };
  const timeAt = async (at: string): Promise<string> => {
    const { stdout } = await stratalog(['log', '--root', root, '--json', '--from', at, '-n', '1']);
    return String(jsonLines(stdout)[0]?.['time']);
  };
  expect(await positions('--from', '1', '--to', '3')).toEqual([1, 2]);
  expect(await positions('--after', '3', '--reverse', '-n', '1')).toEqual([5]);
  expect(await positions('--stream', '1', '--reverse')).toEqual([4, 3, 2, 1]);
  expect(await positions('--type', 'SnapshotPrepared,DaemonStarted')).toEqual([0, 2]);
  expect(await positions('--since', await timeAt('4'))).toEqual([4, 5]);
  expect(await positions('--until', await timeAt('1'))).toEqual([0, 1]);
});

it('filters by any name a snapshot ever had, by namespace and by caller', async () => {
  const caller = { namespace: 'k8s.io', pid: 9, uid: 0, lease: 'pull-1' };
  const root = await aRoot([...aStory, preparing(3, 'k8s.io/4/web', { caller })]);
  const positions = async (...args: string[]): Promise<number[]> => {
    const { stdout } = await stratalog(['log', '-q', ...args, '--root', root]);
    return stdout.split('\n').slice(0, -1).map(Number);
  };
  expect(await positions('--key', 'sha256:a')).toEqual([1, 2, 3, 4]);
  expect(await positions('--key', 'sha256:a', '--from', '4')).toEqual([4]);
  expect(await positions('--namespace', 'k8s.io')).toEqual([6]);
  expect(await positions('--caller', 'pid:7')).toEqual([1, 3, 5]);
  expect(await positions('--caller', 'k8s.io', '--reverse')).toEqual([6]);
  expect(await positions('--caller', 'lease:pull-1', '--key', 'sha256:a')).toEqual([]);
}, 30_000);

it('resumes after a position while events are written, without gaps or duplicates', async () => {
  const root = await aRoot(aStory);
  const seen: number[] = [];
  for (const round of [0, 1, 2]) {
    const query = ['log', '-f', '-q', '-n', '30', '--after', String(seen.at(-1) ?? -1)];
    // The first round has no --after: -1 would be taken for a flag.
    const follower = started(
      seen.length === 0
        ? ['log', '-f', '-q', '-n', '30', '--root', root]
        : [...query, '--root', root],
    );
    await appendTo(
      root,
      [...Array(30).keys()].map((at) => preparing(round * 100 + at + 10, `k${round}-${at}`)),
    );
    expect(await follower.ended).toBe(0);
    seen.push(...follower.lines().map(Number));
  }
  expect(seen).toEqual([...Array(90).keys()]);
}, 60_000);

it.each([
  [['--caller', 'pid:me'], '--caller "pid:me": not a caller; use pid:123, uid:0, lease:NAME'],
  [['--follow', '--until', '1h'], '--follow and --until are mutually exclusive'],
  [['--from', 'x'], '--from "x": neither a position nor a time; use 120, 2026-01-31T23:59:59Z'],
  [['--stream', 'snapshots'], 'use daemon, snapshot-12 or 12'],
  [['--type', 'SnapshotCommited'], 'did you mean SnapshotCommitted?'],
  [['--type', 'Foo'], 'unknown event type "Foo"; separate several types by commas'],
  [['--since', 'yesterday'], '--since "yesterday": not a time; use 2026-01-31T23:59:59Z'],
  [['--until', '2026-02-30T00:00:00Z'], 'no such date, time of day or time zone'],
  [['--from', '9007199254740992'], 'out of range; the maximum is 9007199254740991'],
  [['--from', '1', '--after', '1'], '--from and --after are mutually exclusive'],
  [['--follow', '--reverse'], '--follow and --reverse are mutually exclusive'],
  [['--root', '/nonexistent'], '/nonexistent is not a root'],
])('refuses %j with a helpful message', async (args, message) => {
  const root = await aRoot([]);
  const { code, stdout, stderr } = await stratalog(['log', ...args], { STRATALOG_ROOT: root });
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toContain(message);
});

it('prints events of a newer release unchanged', async () => {
  const newer = { stream: 'snapshot-1', type: 'SnapshotFrozen', data: { until: 'tomorrow' } };
  const root = await aRoot([newer, { ...prepared(2), schemaVersion: 9, data: { extra: 1 } }]);
  const { code, stdout } = await stratalog(['log', '--root', root]);
  expect(code).toBe(0);
  expect(stdout).toContain('SnapshotFrozen        (not understood by this release) {"until"');
  expect(stdout).toContain('(not understood by this release) {"extra":1}');
});

it('prints the events before damage, then its place, and exits 3', async () => {
  const root = await aRoot([]);
  await appendTo(root, aStory);
  await appendTo(
    root,
    [...Array(40).keys()].map((n) => preparing(n + 10, `k${n}`)),
  );
  const segments = readdirSync(join(root, 'log')).filter((name) => name.endsWith('.seg'));
  expect(segments.length).toBeGreaterThan(2);
  const second = join(root, 'log', segments.sort()[1] ?? '');
  const bytes = readFileSync(second);
  bytes.writeUInt8(bytes.readUInt8(600) ^ 4, 600);
  writeFileSync(second, bytes);
  const { code, stdout, stderr } = await stratalog(['log', '-q', '--root', root]);
  expect(code).toBe(3);
  const shown = stdout.trimEnd().split('\n').map(Number);
  const first = Number(segments[1]?.slice(0, 20));
  expect(shown).toEqual([...Array(shown.length).keys()]);
  expect(shown.length).toBeGreaterThanOrEqual(first);
  expect(stderr).toContain(`the log is damaged at position ${shown.length} (${segments[1]}`);
  expect(stderr.trimEnd().split('\n')).toHaveLength(1);
});

/** Flips a bit at this fraction of the written part. */
function damageNewest(root: string, share: number): void {
  const path = join(root, 'log', '00000000000000000000.seg');
  const bytes = readFileSync(path);
  const end = bytes.findLastIndex((byte) => byte !== 0);
  const at = Math.floor(end * share);
  bytes.writeUInt8(bytes.readUInt8(at) ^ 4, at);
  writeFileSync(path, bytes);
}

it('reports that it stops at damage in the newest segment, and exits 3', async () => {
  const root = await aRoot(aStory);
  damageNewest(root, 0.5);
  const { code, stdout, stderr } = await stratalog(['log', '-q', '--root', root]);
  const shown = stdout.split('\n').length - 1;
  expect(shown).toBeGreaterThan(0);
  expect(shown).toBeLessThan(6);
  expect(stderr).toMatch(
    new RegExp(
      `^stratalog: the log stops at position ${shown}: 0{20}\\.seg at offset \\d+: .+\\. Run \`stratalog verify\`\\n$`,
    ),
  );
  expect(code).toBe(3);
  for (const part of [
    ['--to', '1'],
    ['-n', '1'],
  ]) {
    const before = await stratalog(['log', '-q', '--root', root, ...part]);
    expect(before).toEqual({ code: 0, stdout: '0\n', stderr: '' });
  }
});

it('reports a torn tail, and exits 0', async () => {
  const root = await aRoot(aStory);
  damageNewest(root, 1);
  const { code, stdout, stderr } = await stratalog(['log', '-q', '--root', root]);
  expect({ code, stdout }).toEqual({ code: 0, stdout: '0\n1\n2\n3\n4\n' });
  expect(stderr).toBe(
    'stratalog: the log ends at position 5 with a torn tail; the next startup cuts it\n',
  );
});

it.each([[[]], [['--reverse']], [['--to', '3']]])(
  'reports that no event matches %j',
  async (more) => {
    const root = await aRoot(aStory);
    const args = ['log', '--root', root, '--type', 'TailCut', ...more];
    const { code, stdout, stderr } = await stratalog(args);
    expect({ code, stderr }).toEqual({
      code: 0,
      stderr: 'stratalog: no event matches; the log ends at position 6\n',
    });
    expect(stdout.split('\n')).toHaveLength(2);
  },
);

it('exits silently when its reader is gone', async () => {
  const root = await aRoot([...Array(1000).keys()].map((n) => preparing(n + 1, `key-${n}`)));
  for (const command of ['log --json', 'log', 'verify', 'inspect']) {
    const line = `stratalog ${command} --root ${root} | head -1; echo "\${PIPESTATUS[0]}"`;
    const { stdout, stderr } = await shell(line);
    expect(stderr, command).toBe('');
    expect(stdout.split('\n'), command).toHaveLength(3);
    // As for SIGPIPE. inspect and verify may write all lines before the pipe is closed, and have findings.
    const code = stdout.split('\n')[1];
    expect(command.startsWith('log') ? ['141'] : ['0', '3', '141'], command).toContain(code);
  }
});

it('does not follow from a position past the end', async () => {
  const root = await aRoot(aStory);
  const beyond = await stratalog(['log', '-f', '--root', root, '--after', '500']);
  expect(beyond).toMatchObject({ code: 1, stdout: '' });
  expect(beyond.stderr).toContain('501 does not exist yet');
});

it(
  'follows a running daemon across a crash and a restart, and resumes',
  { timeout: 60_000 },
  async () => {
    const daemon = await aDaemon();
    const client = askedOf(daemon);
    const following = started([
      'log',
      '--root',
      daemon.root,
      '--follow',
      '--json',
      '--since',
      '1h',
    ]);
    await until('the startup is shown', () => following.lines().length >= 1);
    await client.prepare('default/1/a');
    await client.commit('default/2/b', 'default/1/a');
    const typesOf = (lines: string[]): unknown[] =>
      jsonLines(lines.join('\n')).map(({ type }) => type);
    await until('the commit is shown', () =>
      following.lines().join().includes('SnapshotCommitted'),
    );
    await daemon.crash();
    await daemon.start();
    const shown = () =>
      typesOf(following.lines()).filter((type) => type !== 'DirectoriesPreallocated');
    await until('the second startup is shown', () => shown().length >= 6);
    expect(shown().slice(0, 6)).toEqual([
      'DaemonStarted',
      'SnapshotPreparing',
      'SnapshotPrepared',
      'SnapshotCommitting',
      'SnapshotCommitted',
      'DaemonStarted',
    ]);
    following.child.kill('SIGINT');
    expect(await following.ended).toBe(0);

    const second = jsonLines(following.lines().join('\n')).findLast(
      ({ type }) => type === 'DaemonStarted',
    );
    const at = Number(second?.['position']);
    const after = ['--after', String(at - 1), '-n', '2'];
    const resumed = started(['log', '--root', daemon.root, '-f', '-q', ...after]);
    await until('the startup is shown again', () => resumed.lines().length >= 1);
    await askedOf(daemon).prepare('default/4/d', 'default/2/b');
    expect(await resumed.ended).toBe(0);
    expect(resumed.lines()).toEqual([String(at), String(at + 1)]);
  },
);

it('reads the configured root', async () => {
  const root = await aRoot([daemonStarted()]);
  const file = join(await aDirectory(), 'config.toml');
  writeFileSync(file, `root = "${root}"\n`);
  const { code, stdout } = await stratalog(['log', '-q', '--config', file]);
  expect({ code, stdout }).toEqual({ code: 0, stdout: '0\n' });
});
