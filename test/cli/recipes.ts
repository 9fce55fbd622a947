/** The recipes of docs/export.md, extracted from the page, and helpers for their tests. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { repository } from '../../scripts/rig/daemon.js';
import { aDirectory, daemonStarted, prepared, preparing, stratalog, type Outcome } from './rig.js';

export const golden = join(repository, 'test/golden/v0.1.0/root');
const expected = JSON.parse(readFileSync(join(golden, '../expected.json'), 'utf8')) as {
  readonly records: readonly unknown[];
};
/** The number of records in the golden log. */
export const goldenRecords = expected.records.length;
const page = readFileSync(join(repository, 'docs/export.md'), 'utf8');
export const blocks = (language: string): string[] =>
  [...page.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, 'gm'))].map(
    ([, block = '']) => block,
  );

/** Runs a line of bash in a directory, without `stratalog` in PATH. */
export function bash(line: string, cwd: string): Promise<Outcome> {
  return new Promise((resolve) => {
    const options = { cwd, timeout: 25_000 };
    const child = execFile('bash', ['-c', line], options, (_error, stdout, stderr) => {
      resolve({ code: child.exitCode ?? -1, stdout, stderr });
    });
  });
}

export const manyEvents = [daemonStarted()].concat(
  [...Array(20).keys()].flatMap((n) => [preparing(n + 1, `n/${n}/größe "${n}"`), prepared(n + 1)]),
);

export async function exported(root: string, name: string, ...more: string[]): Promise<string> {
  const file = join(await aDirectory(), name);
  const { code, stderr } = await stratalog(['export', '--root', root, '-o', file, ...more]);
  expect({ code, stderr }).toMatchObject({ code: 0 });
  return file;
}
