/**
 * Goal: no command exits with 0 without its result. Method: the built command in a deleted working
 * directory, and a program whose event loop runs empty.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { afterEach, beforeAll, expect, it } from 'vitest';
import { EXIT } from '../../src/cli/exit-codes.js';
import { aDirectory, aRoot, buildLimitMillis, builtCli, cleanUp, cliPath } from './rig.js';

beforeAll(builtCli, buildLimitMillis);
afterEach(cleanUp);

it('a pending command whose event loop is empty exits with an internal error', () => {
  const fixture = join(import.meta.dirname, 'fixtures', 'stalls.ts');
  const ended = spawnSync(process.execPath, ['--import', 'tsx', fixture], { encoding: 'utf8' });
  expect(ended).toMatchObject({ status: EXIT.broken, stdout: 'half of a result\n' });
  expect(ended.stderr).toContain('internal error');
});

it('commands refuse a deleted working directory and say what to do', async () => {
  const root = await aRoot([]);
  const directory = await aDirectory();
  const words = ['serve', 'health', 'log', 'state', 'inspect', 'repair', 'gc', 'export'];
  // One shell for all commands: each starts in the deleted directory.
  const script = [
    `mkdir "${directory}/gone" && cd "${directory}/gone" && rmdir "${directory}/gone"`,
    ...words.map(
      (word) => `"$@" ${word} --root ${root} 2>"${directory}/${word}"; echo "${word} $?"`,
    ),
    `cd /; for word in ${words.join(' ')}; do grep -c "working directory.*getcwd: ENOENT.*'cd /'" "${directory}/$word"; done`,
  ].join('\n');
  const ended = spawnSync('bash', ['--norc', '-c', script, 'bash', process.execPath, cliPath], {
    encoding: 'utf8',
    timeout: 100_000,
  });
  const lines = ended.stdout.trimEnd().split('\n');
  expect(lines).toEqual([
    ...words.map((word) => `${word} ${EXIT.failed}`),
    ...words.map(() => '1'),
  ]);
}, 120_000);
