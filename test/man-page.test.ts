/** Goal: the man page can be read. Method: the two programs that show such pages are asked. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const page = 'packaging/stratalog.1';
/** How bold letters are written for a terminal of paper. */
const overstruck = new RegExp(`.${String.fromCharCode(8)}`, 'g');

const run = promisify(execFile);

it('has nothing that mandoc would complain of', async () => {
  const { stdout, stderr } = await run('mandoc', ['-T', 'lint', page]);
  expect(stdout + stderr).toBe('');
});

it('shows its sections, each flag whole, and the examples as they are typed', async () => {
  const { stdout } = await run('mandoc', ['-T', 'utf8', '-O', 'width=200', page]);
  const text = stdout.replaceAll(overstruck, '');
  for (const heading of ['NAME', 'SYNOPSIS', 'COMMANDS', 'EXIT STATUS', 'ENVIRONMENT', 'FILES']) {
    expect(text).toContain(`\n${heading}\n`);
  }
  expect(text).toContain('-a, --address <socket>');
  expect(text).toContain('stratalog completion bash > /etc/bash_completion.d/stratalog\n');
});

it('is installed by npm', () => {
  const { man, files } = JSON.parse(readFileSync('package.json', 'utf8')) as {
    man: string;
    files: string[];
  };
  expect(man).toBe(`./${page}`);
  expect(files).toContain('packaging');
});
