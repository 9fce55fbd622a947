/**
 * Goal: an export can be checked without Stratalog, and an import restores the same log. Method: the
 * built command on real roots. The recipes of docs/export.md are extracted from the page and run on
 * sound and on modified exports.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  copyFileSync,
  createReadStream,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeAll, expect, it } from 'vitest';
import { until } from '../../scripts/rig/wait.js';
import { withOutputFile } from '../../src/cli/evidence/new-file.js';
import { readTar } from '../../src/cli/evidence/read-tar.js';
import { systemClock } from '../../src/host/process/clock.js';
import { systemDisk } from '../../src/host/files/disk.js';
import { importLog } from '../../src/export/import/import-log.js';
import {
  aDaemon,
  aDirectory,
  aRoot,
  askedOf,
  builtCli,
  buildLimitMillis,
  cleanUp,
  jsonLines,
  shell,
  started,
  stratalog,
} from './rig.js';
import { bash, blocks, exported, golden, goldenRecords, manyEvents } from './recipes.js';

beforeAll(builtCli, buildLimitMillis);
afterEach(cleanUp);

/** Imports in this process, without starting the command. */
async function refusalOf(file: string, root: string): Promise<string> {
  const world = {
    disk: systemDisk(),
    clock: systemClock(),
    writtenBy: 'stratalog 0.1.0',
    readTar,
    removeTree: (path: string) => rm(path, { recursive: true, force: true }),
  };
  try {
    await importLog(world, createReadStream(file), root);
    return 'none';
  } catch (thrown) {
    return thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : '';
  }
}

const headOf = async (root: string): Promise<unknown> =>
  jsonLines((await stratalog(['verify', '--json', '--root', root])).stdout).at(-1)?.['chain'];

it('passes the recipe, and fails it wherever it is modified', { timeout: 90_000 }, async () => {
  const [recipe = ''] = blocks('bash');
  const directory = await aDirectory();
  const script = join(directory, 'verify-export.sh');
  writeFileSync(script, recipe);
  const file = await exported(golden, 'log.jsonl');
  const sound = await bash(`bash ${script} ${file}`, directory);
  expect(sound).toEqual({
    code: 0,
    stdout: `sound: ${goldenRecords} records up to position ${goldenRecords}, chain head ${String(await headOf(golden))}\n`,
    stderr: '',
  });
  const part = await exported(golden, 'part.jsonl', '--from', '20', '--to', '25');
  expect((await bash(`bash ${script} ${part}`, directory)).stdout).toMatch(/^sound: \d records/);

  const few = await exported(golden, 'few.jsonl', '--to', '14');
  const text = readFileSync(few, 'utf8');
  const lines = text.split('\n');
  const [, first = '', second = ''] = lines;
  const last = lines.at(-2) ?? '';
  const sum = /"sha256":"([0-9a-f]{64})"/.exec(last)?.[1] ?? '';
  /** With a recomputed sum in the last line. */
  const resummed = (changed: string): string => {
    const body = changed.slice(0, changed.lastIndexOf('{"schema":"stratalog.export-end'));
    const again = execFileSync('sha256sum', { input: body }).toString().slice(0, 64);
    return changed.replace(sum, again);
  };
  const changed = [
    text.replace('größer', 'grösser'),
    text.replace('"epoch":1', '"epoch":2'),
    text.replace(/"records":1\d/, '"records":9'),
    text.replace(`${second}\n`, ''),
    text.slice(0, -100),
    `${text}\n`,
    resummed(text.replace('größer', 'grösser')),
    resummed(text.replace('"flags":0', '"flags":65536')),
    resummed(text.replace('"streamVersion":0', '"streamVersion":4294967296')),
    resummed(text.replace('"position":5', '"position":6,"position":5')),
    resummed(text.replace(`${first}\n${second}\n`, `${second}\n${first}\n`)),
    resummed(text.replace(',"data":{', ',"data":{},"data":{')),
    resummed(text.replace('"time":"17', '"time":"a[$(touch pwned)]17')),
    resummed(text.replace(/"release":"stratalog/, '"note":1,"release":"stratalog')),
  ];
  const outcomes = await Promise.all(
    changed.map(async (other, index) => {
      const path = join(directory, `changed-${index}.jsonl`);
      writeFileSync(path, other);
      expect(other, String(index)).not.toBe(text);
      const byRecipe = await bash(`bash ${script} ${path}`, directory);
      const root = join(directory, `root-${index}`);
      const byImport = await refusalOf(path, root);
      expect(existsSync(root)).toBe(false);
      return [byRecipe.code, byImport.split(':')[0]];
    }),
  );
  expect(outcomes.slice(0, -1)).toEqual(outcomes.slice(0, -1).map(() => [1, 'ExportInvalid']));
  // Only import refuses an unknown field in the header.
  expect(outcomes.at(-1)?.[1]).toBe('ExportInvalid');
  expect(existsSync(join(directory, 'pwned'))).toBe(false);
});

it.each(['jsonl', 'tar'])(
  'is imported from %s as the same log',
  { timeout: 90_000 },
  async (format) => {
    const root = await aRoot(manyEvents);
    const file = await exported(root, `log.${format}`, '--format', format);
    const back = join(await aDirectory(), 'back');
    const head = await headOf(root);
    const imported = await stratalog(['import', file, '--root', back, '--json']);
    expect(imported).toMatchObject({ code: 0, stderr: '' });
    expect(jsonLines(imported.stdout)).toMatchObject([
      { schema: 'stratalog.import/v1', root: back, position: 41, chain: head, complete: true },
    ]);
    expect(await stratalog(['verify', '--root', back])).toMatchObject({ code: 0 });
    expect(await headOf(back)).toBe(head);
    expect(readdirSync(back).sort()).toEqual(['identity.json', 'log']);
    const piped = join(await aDirectory(), 'piped');
    mkdirSync(piped);
    const line = `stratalog export --root ${back} --format ${format} | stratalog import - --root ${piped}`;
    expect(await shell(line)).toMatchObject({ code: 0 });
    expect(await headOf(piped)).toBe(head);
  },
);

it('unpacks to files that sha256sum verifies', async () => {
  const directory = await aDirectory();
  copyFileSync(await exported(golden, 'log.tar', '--format', 'tar'), join(directory, 'log.tar'));
  const unpack = blocks('sh').find((block) => block.includes('sha256sum -c')) ?? 'false';
  const names = readdirSync(join(golden, 'log')).sort();
  const filesOf = (ending: string): readonly string[] =>
    names.filter((name) => name.endsWith(ending)).map((name) => `log/${name}: OK`);
  expect(filesOf('.seg').length).toBeGreaterThan(1);
  expect(filesOf('.checkpoint')).toHaveLength(1);
  const { code, stdout } = await bash(unpack, directory);
  expect(code).toBe(0);
  expect(stdout.split('\n')).toEqual([
    'identity.json: OK',
    ...filesOf('.seg'),
    ...filesOf('.checkpoint'),
    'export.json: OK',
    '',
  ]);
  expect(await headOf(join(directory, 'look'))).toBe(await headOf(golden));
});

it('refuses a tar that is not an export, and leaves no files', async () => {
  const directory = await aDirectory();
  await bash(`tar -xf ${await exported(golden, 'log.tar', '--format', 'tar')}`, directory);
  const repack = (name: string, options: string): void => {
    execFileSync('bash', ['-c', `tar -cf ${name} ${options}`], { cwd: directory });
  };
  const files = 'MANIFEST export.json identity.json log';
  symlinkSync('/etc/passwd', join(directory, 'link'));
  writeFileSync(join(directory, 'more'), 'x');
  repack('good.tar', `./MANIFEST export.json identity.json ./log`);
  repack('link.tar', `${files} link`);
  repack('linked.tar', `--transform s,^link,log/00000000000000000099.seg, ${files} link`);
  repack('more.tar', `${files} more`);
  repack('up.tar', `-P --transform s,^more,../more, ${files} more`);
  repack('absolute.tar', `-P --transform s,^more,/tmp/stratalog-more, ${files} more`);
  repack('twice.tar', `${files} identity.json`);
  repack('extra.tar', `--transform s,^more,log/00000000000000000099.checkpoint, ${files} more`);
  repack('bare.tar', 'export.json identity.json log');
  repack('short.tar', 'MANIFEST export.json identity.json log/00000000000000000000.seg');
  execFileSync('bash', ['-c', 'gzip -k good.tar; head -c 9000 good.tar > cut.tar'], {
    cwd: directory,
  });
  const good = join(directory, 'roots', 'good');
  mkdirSync(join(directory, 'roots'));
  expect(await refusalOf(join(directory, 'good.tar'), good)).toBe('none');
  const bad = readdirSync(directory).filter((name) => name.includes('.tar') && name !== 'good.tar');
  expect(bad).toHaveLength(11);
  const outcomes = await Promise.all(
    bad.map((name) => refusalOf(join(directory, name), `${good}-${name}`)),
  );
  for (const [index, found] of outcomes.entries()) {
    expect(found, bad[index]).toMatch(/^ExportInvalid: .+$/);
  }
  expect(readdirSync(join(directory, 'roots'))).toEqual(['good']);
  expect(existsSync('/tmp/stratalog-more')).toBe(false);
});

it('reports a truncated tar as an invalid export, wherever it is cut', async () => {
  const directory = await aDirectory();
  const whole = readFileSync(await exported(golden, 'log.tar', '--format', 'tar'));
  // After the last entry there is only padding.
  const end = whole.findLastIndex((byte) => byte !== 0);
  for (let length = 300; length < end; length += 700) {
    const cut = join(directory, `${length}.tar`);
    writeFileSync(cut, whole.subarray(0, length));
    const found = await refusalOf(cut, join(directory, 'root'));
    expect(found, `${length} bytes`).toMatch(/^ExportInvalid: (?!.*layer).+$/);
  }
});

it('never overwrites, and says what to do', { timeout: 90_000 }, async () => {
  const file = await exported(golden, 'log.jsonl');
  const before = readFileSync(file, 'utf8');
  const again = await stratalog(['export', '--root', golden, '-o', file]);
  expect(again).toMatchObject({ code: 2, stdout: '' });
  expect(again.stderr).toContain('file exists; choose another name');
  expect(readFileSync(file, 'utf8')).toBe(before);
  const root = await aRoot(manyEvents);
  const into = await stratalog(['import', file, '--root', root]);
  expect(into.code).toBe(2);
  expect(into.stderr).toContain('is not empty, and import does not merge');
  const directory = await aDirectory();
  mkdirSync(join(directory, 'root.importing'));
  const late = await stratalog(['import', file, '--root', join(directory, 'root')]);
  expect(late).toMatchObject({ code: 2 });
  expect(readdirSync(directory)).toEqual(['root.importing']);
  writeFileSync(join(directory, 'log.jsonl.exporting'), 'other');
  const blocked = await stratalog(['export', '--root', golden, '-o', join(directory, 'log.jsonl')]);
  expect(blocked.code).toBe(2);
  expect(blocked.stderr).toContain('file exists, from a running or killed export');
  expect(readdirSync(directory)).toEqual(['log.jsonl.exporting', 'root.importing']);
  for (const args of [
    ['export', '--root', golden, '-o', ''],
    ['import', file, '--root', ''],
    ['import', 'no-such-file', '--root', join(directory, 'a')],
    ['import', file, '--root', join(directory, 'a/b/c')],
    ['export', '--root', golden, '--from', '9', '--to', '3'],
    ['export', '--root', golden, '--format', 'tar', '--from', '9'],
    ['verify', '--root', golden, '--against', 'no-such-file'],
    ['verify', '--root', golden, '--public-key', file],
    ['attest', '--root', golden, '--key', file],
  ]) {
    const { code, stderr } = await stratalog(args);
    expect({ args, code, stderr }).toMatchObject({ code: 2 });
    expect(stderr).toMatch(/^stratalog: .+\n$/);
  }
});

it.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)(
  'leaves no files of an import ended by %s, and exits by that signal',
  async (signal) => {
    const directory = await aDirectory();
    const text = readFileSync(await exported(golden, 'log.jsonl'));
    const args = ['import', '-', '--root', join(directory, 'root')];
    const { child } = started(args, { stdin: 'pipe' });
    child.stdin?.write(text.subarray(0, text.length / 2));
    await until('the import has begun', () => existsSync(join(directory, 'root.importing', 'log')));
    const ended = once(child, 'exit');
    child.kill(signal);
    expect(await ended).toEqual([null, signal]);
    expect(readdirSync(directory)).toEqual([]);
  },
);

it('leaves no files of an export ended by a signal, and publishes only complete files', async () => {
  const directory = await aDirectory();
  const file = join(directory, 'log.jsonl');
  const fixture = new URL('./fixtures/exports-for-ever.ts', import.meta.url).pathname;
  const child = spawn(process.execPath, ['--import', 'tsx', fixture, file], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    await once(child.stdout, 'data');
    expect(readdirSync(directory)).toEqual(['log.jsonl.exporting']);
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    expect(await ended).toEqual([null, 'SIGTERM']);
    expect(readdirSync(directory)).toEqual([]);
  } finally {
    child.kill('SIGKILL');
  }
});

it('does not overwrite a file that was created meanwhile', async () => {
  const directory = await aDirectory();
  const file = join(directory, 'log.jsonl');
  const writing = withOutputFile(file, async (target) => {
    await target.write('ours');
    writeFileSync(file, 'other');
  });
  await expect(writing).rejects.toThrow(`cannot create ${file}: file exists`);
  expect(readdirSync(directory)).toEqual(['log.jsonl']);
  expect(readFileSync(file, 'utf8')).toBe('other');
});

it('ends at damage in the log, with exit code 3', async () => {
  const root = await aRoot(manyEvents);
  const [, second = ''] = readdirSync(join(root, 'log')).sort();
  const path = join(root, 'log', second);
  const bytes = readFileSync(path);
  bytes.writeUInt8(bytes.readUInt8(700) ^ 16, 700);
  writeFileSync(path, bytes);
  const { code, stdout, stderr } = await stratalog(['export', '--root', root]);
  expect(code).toBe(3);
  expect(stderr).toMatch(
    /the export ends before position \d+: \d+\.seg at offset \d+: a record fails/,
  );
  expect(jsonLines(stdout).at(-1)).toMatchObject({ complete: false });
  const file = join(await aDirectory(), 'sound.jsonl');
  writeFileSync(file, stdout);
  const back = join(await aDirectory(), 'back');
  const imported = await stratalog(['import', file, '--root', back]);
  expect(imported.code).toBe(0);
  expect(imported.stderr).toContain('was damaged at position');
  expect(await stratalog(['verify', '--root', back])).toMatchObject({ code: 0 });
});

it('exports completely while a daemon writes', { timeout: 60_000 }, async () => {
  const daemon = await aDaemon();
  const client = askedOf(daemon);
  const state = { isOver: false };
  const working = (async () => {
    for (let n = 0; !state.isOver; n++) {
      await client.prepare(`n/${n}/key`);
      await client.remove(`n/${n}/key`);
    }
  })();
  try {
    for (const format of ['jsonl', 'tar']) {
      const file = await exported(daemon.root, `log.${format}`, '--format', format);
      const back = join(await aDirectory(), 'back');
      const imported = await stratalog(['import', file, '--root', back]);
      expect(imported).toMatchObject({ code: 0, stderr: '' });
      const { stdout } = await stratalog(['verify', '--root', back]);
      const [, head = ''] = /chain head ([0-9a-f]{64})/.exec(stdout) ?? [];
      const proof = await stratalog(['verify', '--root', daemon.root, '--against', head]);
      expect(proof).toMatchObject({ code: 0 });
    }
  } finally {
    state.isOver = true;
    await working;
  }
});
