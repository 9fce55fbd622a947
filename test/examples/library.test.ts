/** The example is what most readers see of the library first: it runs, and leaves nothing. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'stratalog-test-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

it('runs the library example as printed in the README', () => {
  const printed = execFileSync(process.execPath, ['--import', 'tsx', 'examples/library.ts'], {
    encoding: 'utf8',
    env: { ...process.env, TMPDIR: directory },
  });
  expect(printed.split('\n')).toEqual([
    'remote: TargetReady',
    // Which options this kernel needs is not the example's business.
    expect.stringMatching(/^container: overlay with \d options$/),
    'committed: sha256:example',
    'committed: result on sha256:example',
    '',
  ]);
  expect(readdirSync(directory).filter((name) => name.startsWith('stratalog-'))).toEqual([]);
  expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(directory);
});
