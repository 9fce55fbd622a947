/** The example is what most readers see of the library first: it runs, and leaves nothing. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, expect, it } from 'vitest';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'stratalog-test-'));
});
afterEach(() => {
  // Whatever a failed run left mounted; nothing is deleted through a mount.
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  const ours = mounts
    .map((line) => line.split(' ')[4] ?? '')
    .filter((at) => at.startsWith(directory));
  for (const at of ours.reverse()) execFileSync('umount', [at]);
  rmSync(directory, { recursive: true });
});

it('runs the library example', () => {
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

it('runs what the README prints', () => {
  const layer = join(directory, 'layer');
  mkdirSync(layer);
  writeFileSync(join(layer, 'hello'), '');
  const [, printedCode = ''] = /```ts\n([^]*?)```/.exec(readFileSync('README.md', 'utf8')) ?? [];
  const library = pathToFileURL('src/api/library.ts').href;
  const program = join(directory, 'readme.mts');
  writeFileSync(
    program,
    printedCode
      .replace("'stratalog'", `'${library}'`)
      .replace('/srv/layer', layer)
      .replace('/var/lib/mine', join(directory, 'root')),
  );
  const printed = execFileSync(process.execPath, ['--import', 'tsx', program], {
    encoding: 'utf8',
  });
  expect(printed.split('\n')).toEqual([
    'overlay',
    'committed sha256:example ',
    'committed result sha256:example',
    '',
  ]);
  expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(directory);
});
