/**
 * Goal: the output of `config` can be used verbatim. Method: the command itself, and the real
 * containerd, which reads its part.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parse } from 'smol-toml';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { containerdConfigText, defaultConfigText } from '../../src/daemon/config/config-text.js';

const run = promisify(execFile);
let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'stratalog-config-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function config(args: readonly string[], env: Record<string, string> = {}): Promise<Outcome> {
  const program = `
    const { configCommand } = await import('./src/cli/run/config.ts');
    await configCommand().parseAsync(process.argv.slice(1), { from: 'user' });`;
  const node = ['--import', 'tsx', '--input-type=module', '-e', program, '--', ...args];
  const options = { env: { PATH: process.env['PATH'] ?? '', ...env } };
  const done = run(process.execPath, node, options).then(
    (output) => ({ code: 0, ...output }),
    (thrown: unknown) => thrown as Outcome,
  );
  const { code, stdout, stderr } = await done;
  return { code, stdout, stderr };
}

test('the default is printed completely and passes the check', async () => {
  const printed = await config(['default']);
  expect(printed).toEqual({ code: 0, stdout: defaultConfigText(), stderr: '' });
  const file = join(directory, 'config.toml');
  await writeFile(file, printed.stdout);
  expect(await config(['check', '--config', file])).toEqual({
    code: 0,
    stdout: `${file}: ok\nall settings have their defaults\n`,
    stderr: '',
  });
});

test('the check shows the origin of each changed setting', async () => {
  const file = join(directory, 'config.toml');
  await writeFile(file, '# mine\nasync_remove = true\nroot = "/var/lib/stratalog"\n');
  const env = { STRATALOG_CONFIG: file, STRATALOG_LOG_LEVEL: 'debug' };
  const { stdout } = await config(['check', '-a', '/x.sock'], env);
  expect(stdout.split('\n')).toEqual([
    `${file}: ok`,
    'address = "/x.sock"  (--address)',
    `async_remove = true  (${file}:2)`,
    'log.level = "debug"  (STRATALOG_LOG_LEVEL)',
    'all other settings have their defaults',
    '',
  ]);
  const json: unknown = JSON.parse((await config(['check', '--json'], env)).stdout);
  expect(json).toEqual({
    schema: 'stratalog.config-check/v1',
    ok: true,
    file,
    settings: [
      { setting: 'async_remove', value: true, origin: { from: 'file', file, line: 2 } },
      {
        setting: 'log.level',
        value: 'debug',
        origin: { from: 'environment', variable: 'STRATALOG_LOG_LEVEL' },
      },
    ],
  });
});

test('an invalid or missing file fails the check, on stderr, without a stack trace', async () => {
  const file = join(directory, 'config.toml');
  await writeFile(file, 'durabilty = "data"\n');
  expect(await config(['check', '--config', file])).toEqual({
    code: 2,
    stdout: '',
    stderr: `${file}:1: durabilty: unknown setting; did you mean durability?\n`,
  });
  const missing = await config(['check', '--json', '--config', join(directory, 'none.toml')]);
  expect(missing.code).toBe(2);
  expect(JSON.parse(missing.stdout)).toMatchObject({ ok: false, mistakes: [expect.any(String)] });
});

test('the capability remap-ids is printed if this host has it, and the probe leaves no files', async () => {
  const root = join(directory, 'not/yet');
  const printed = await config(['containerd', '--root', root]);
  const capabilities = ['proxy_plugins', 'stratalog', 'capabilities'];
  expect(parse(printed.stdout)).toHaveProperty(capabilities, ['remap-ids']);
  expect(await readdir(directory)).toEqual([]);
  const file = join(directory, 'config.toml');
  await writeFile(file, 'remap_ids = false\n');
  const off = await config(['containerd', '--root', root, '--config', file]);
  expect(parse(off.stdout)).not.toHaveProperty(capabilities);
  expect(off.stdout).toContain('remap_ids = false');
  // The probe cannot create files in procfs.
  const elsewhere = await config(['containerd', '--root', '/proc/sys/stratalog']);
  expect(elsewhere.code).toBe(0);
  expect(parse(elsewhere.stdout)).not.toHaveProperty(capabilities);
  expect(elsewhere.stdout).toContain('# capabilities = ["remap-ids"]');
});

test('an unknown release line of containerd is a usage error', async () => {
  const refused = await config(['containerd', '--containerd-version', '1.5']);
  expect(refused.code).not.toBe(0);
  expect(refused.stderr).toContain('Allowed choices are 1.6, 1.7, 2.x');
});

test('a built-in snapshotter name is refused, because containerd would not start', async () => {
  const refused = await config(['containerd', '--name', 'overlayfs']);
  expect(refused.code).not.toBe(0);
  expect(refused.stdout).toBe('');
  expect(refused.stderr).toContain('overlayfs is a built-in snapshotter of containerd');
  // As in the containerd of the distribution.
  const paths = { root: '/srv/s', address: '/run/s.sock' };
  const printed = containerdConfigText(paths, {
    name: 'stratalog',
    line: '1.6',
    whyNoIdMapping: null,
  });
  const file = join(directory, 'containerd.toml');
  const state = `root = "${directory}/root"\nstate = "${directory}/state"\n`;
  const own = 'disabled_plugins = ["io.containerd.snapshotter.v1.overlayfs"]\n';
  const grpc = `[grpc]\naddress = "${directory}/containerd.sock"\n`;
  const named = printed
    .replaceAll('stratalog]', 'overlayfs]')
    .replace('proxy_plugins.stratalog.', 'proxy_plugins.overlayfs.');
  await writeFile(file, `${state}${own}${named}${grpc}`);
  await expect(run('containerd', ['--config', file])).rejects.toThrow('id already registered');
  for (const name of ['', 'native', 'erofs']) {
    expect(() => containerdConfigText(paths, { name, line: '2.x', whyNoIdMapping: null })).toThrow(
      'choose',
    );
  }
});

test('containerd accepts the printed configuration', async () => {
  const printed = await config(['containerd', '--containerd-version', '1.6', '--root', '/srv/s']);
  const file = join(directory, 'containerd.toml');
  await writeFile(file, printed.stdout);
  const { stdout } = await run('containerd', ['--config', file, 'config', 'dump']);
  expect(parse(stdout)).toMatchObject({
    version: 2,
    proxy_plugins: {
      stratalog: { type: 'snapshot', address: '/run/stratalog/stratalog.sock' },
    },
    plugins: {
      'io.containerd.grpc.v1.cri': {
        containerd: { snapshotter: 'stratalog', disable_snapshot_annotations: false },
      },
    },
  });
  expect(printed.stdout).toContain('root = "/srv/s"');
});
