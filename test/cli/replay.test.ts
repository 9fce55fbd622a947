/** Goal: replay works as lines, and interactively on a terminal. Method: the built command under script(1). */
import { spawn } from 'node:child_process';
import { afterEach, beforeAll, expect, it, vi } from 'vitest';
import {
  aRoot,
  buildLimitMillis,
  builtCli,
  cleanUp,
  cliPath,
  committed,
  committing,
  jsonLines,
  prepared,
  preparing,
  shell,
  stratalog,
} from './rig.js';

beforeAll(builtCli, buildLimitMillis);
afterEach(cleanUp);

const aStory = [
  preparing(1, 'one'),
  prepared(1),
  committing(1, 'layer'),
  committed(1, 'layer'),
  preparing(2, 'two', { parent: { id: 1, name: 'layer' } }),
  prepared(2),
];

it('prints each event with its transition, the tree after it, or JSON', async () => {
  const root = await aRoot(aStory);
  const of = (...args: string[]) => stratalog(['replay', '--root', root, ...args]);
  const frames = await of('--from', '3', '--to', '5', '--frames');
  expect(frames.code).toBe(0);
  expect(frames.stdout).toMatch(
    / 3 .* SnapshotCommitted {2}committing → committed\.available {2}as/,
  );
  expect(frames.stdout).toMatch(
    /\n {5}1 {2}layer {2}committed\.available\n\* {4}2 {2}↳ two {2}prepar/,
  );
  const steps = jsonLines((await of('--json', '--from', '4')).stdout);
  expect(steps).toMatchObject([
    { schema: 'stratalog.replay-step/v1', position: 4, before: null, after: 'preparing' },
    { position: 5, name: 'two', before: 'preparing', after: 'active' },
  ]);
  const wrong = await of('--speed', 'fast');
  expect({ code: wrong.code, stdout: wrong.stdout }).toEqual({ code: 2, stdout: '' });
  expect(wrong.stderr).toContain('--speed "fast": not a speed; use for example 10x');
  for (const flag of ['--from', '--to']) {
    const beyond = await of(flag, '9999', '--json');
    expect(beyond).toMatchObject({ code: 1, stdout: '' });
    expect(beyond.stderr).toBe('stratalog: the log ends at position 6: 9999 does not exist yet\n');
  }
}, 60_000);

it('reports what to do about a malformed event, and one of a newer release', async () => {
  const malformed = await aRoot([...aStory, { stream: 'snapshot-3', type: 'SnapshotPreparing' }]);
  for (const args of [['replay', '--frames'], ['state'], ['gc', '--dry-run'], ['inspect']]) {
    const { code, stderr } = await stratalog([...args, '--root', malformed]);
    expect({ args, code }).toEqual({ args, code: 3 });
    expect(stderr).toContain('is malformed; run `stratalog verify` for all that is wrong');
  }
  const newer = await aRoot([{ ...preparing(1, 'one'), schemaVersion: 99 }]);
  const { code, stderr } = await stratalog(['state', '--root', newer]);
  expect(code).toBe(5);
  expect(stderr).toContain('run the release that wrote the log, or a later one');
});

it('steps forward and back by keys, and restores the terminal', async () => {
  const root = await aRoot(aStory);
  const command = `stty rows 20 cols 90; stratalog replay --step --root ${root}; stty -a`;
  const { stdout } = await shell(
    `export -f stratalog; printf nnpGq | SHELL=$BASH script -qec '${command}' /dev/null`,
  );
  const [, shown = ''] = stdout.split('\u001b[?1049h\u001b[?25l');
  const [pictures = '', after = ''] = shown.split('\u001b[?25h\u001b[?1049l');
  const positions = [...pictures.matchAll(/position (\d+) of 6/g)].map(([, at]) => Number(at));
  expect(positions).toEqual([0, 1, 2, 1, 6]);
  expect(pictures).toContain('↳ two  active');
  // The terminal is not in raw mode.
  expect(after).toMatch(/[^-]icanon/);
  expect(after).toMatch(/[^-]echo /);
}, 60_000);

it('plays to the end with the recorded delays', async () => {
  const root = await aRoot(aStory);
  // At the steady pace this would take eight minutes per event; the recorded delays are short.
  const play = `'${process.execPath}' '${cliPath}' replay --speed 0.001x --root '${root}'`;
  const command = `stty rows 20 cols 90; ${play}`;
  const child = spawn('script', ['-qec', command, '/dev/null'], { env: { SHELL: '/bin/bash' } });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  let shown = '';
  child.stdout.on('data', (bytes: Buffer) => {
    shown += bytes.toString();
  });
  try {
    await vi.waitFor(() => expect(shown).toContain('position 6 of 6'), { timeout: 50_000 });
    child.stdin.write('q');
    expect(await ended).toBe(0);
  } finally {
    child.kill('SIGKILL');
    await ended;
  }
  expect(shown).toMatch(/playing 0\.001x/);
}, 60_000);
