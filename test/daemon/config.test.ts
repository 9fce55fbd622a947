/**
 * Goal: a configuration is either understood in full or refused with a message that leads to the
 * line and to the remedy. Method: whole files as text, and the messages as a user reads them.
 */
import { expect, test } from 'vitest';
import {
  loadConfig,
  type ConfigInputs,
  type LoadedConfig,
} from '../../src/daemon/config/config.js';
import { defaultConfigFile } from '../../src/daemon/config/config-file.js';
import { configEntries } from '../../src/daemon/config/config-schema.js';
import {
  containerdConfigText,
  type ContainerdLine,
  containerdLines,
  defaultConfigText,
} from '../../src/daemon/config/config-text.js';
import { UsageError } from '../../src/base/errors.js';
import { parse } from 'smol-toml';

const noSuchFile = Object.assign(new Error('ENOENT: no such file'), { code: 'ENOENT' });

function load(file: string | null, inputs: Partial<ConfigInputs> = {}): Promise<LoadedConfig> {
  return loadConfig({
    env: {},
    readFile: () => (file === null ? Promise.reject(noSuchFile) : Promise.resolve(file)),
    ...inputs,
  });
}

async function mistakes(file: string, inputs: Partial<ConfigInputs> = {}): Promise<string[]> {
  const thrown = await load(file, { configFile: '/c.toml', ...inputs }).catch((e: unknown) => e);
  expect(thrown).toBeInstanceOf(UsageError);
  return (thrown as UsageError).message.split('\n');
}

test('without a file everything has its default', async () => {
  const { config, file, sources } = await load(null);
  expect(file).toBeNull();
  expect(config.root).toBe('/var/lib/stratalog');
  expect(config.address).toBe('/run/stratalog/stratalog.sock');
  expect(config.layerStore).toBeNull();
  expect(config.asyncRemove).toBe(false);
  expect(config.durability).toBe('data');
  expect(config.socket).toEqual({ mode: 0o600 });
  expect(config.limits.budgets).toEqual({
    prepare: 45_000,
    mounts: 15_000,
    commit: 120_000,
    read: 10_000,
    audit: 60_000,
  });
  expect(config.logStore).toEqual({
    segmentSize: 16 * 1024 * 1024,
    checkpointEveryEvents: 10_000,
    historyCheckpointEveryEvents: 250_000,
    retain: null,
  });
  expect(sources.every((source) => source.isDefault)).toBe(true);
});

test('the configuration is frozen throughout', async () => {
  const { config } = await load('mount_options = ["xino=off"]');
  expect(() => Object.assign(config, { root: '/x' })).toThrow(TypeError);
  expect(() => Object.assign(config.limits.budgets, { read: 1 })).toThrow(TypeError);
  expect(() => Object.assign(config.mountOptions, { 0: 'x' })).toThrow(TypeError);
});

test('flags come before the environment, that before the file, that before the defaults', async () => {
  const file = 'root = "/file"\naddress = "/file.sock"\n[log]\nlevel = "warn"\nformat = "text"\n';
  const { config, sources } = await load(file, {
    configFile: '/c.toml',
    env: { STRATALOG_ROOT: '/env', STRATALOG_LOG_LEVEL: 'debug', STRATALOG_ADDRESS: '' },
    flags: new Map([['root', '/flag']]),
  });
  expect([config.root, config.address, config.log.level, config.log.format]).toEqual([
    '/flag',
    '/file.sock',
    'debug',
    'text',
  ]);
  const origins = new Map(sources.map((source) => [source.setting, source.origin]));
  expect(origins.get('root')).toEqual({ from: 'flag', flag: '--root' });
  expect(origins.get('address')).toEqual({ from: 'file', file: '/c.toml', line: 2 });
  expect(origins.get('log.level')).toEqual({
    from: 'environment',
    variable: 'STRATALOG_LOG_LEVEL',
  });
  expect(origins.get('log.format')).toEqual({ from: 'file', file: '/c.toml', line: 5 });
  expect(origins.get('durability')).toEqual({ from: 'default' });
});

test('the file of --config comes before STRATALOG_CONFIG, that before the default', async () => {
  const asked: string[] = [];
  const readFile = (path: string): Promise<string> => {
    asked.push(path);
    return Promise.resolve('');
  };
  const env = { STRATALOG_CONFIG: '/env.toml' };
  await load('', { readFile, env, configFile: '/flag.toml' });
  await load('', { readFile, env });
  await load('', { readFile });
  expect(asked).toEqual(['/flag.toml', '/env.toml', defaultConfigFile]);
});

test('a named file that is missing is an error, the default one is not', async () => {
  await load(null);
  for (const inputs of [{ configFile: '/c.toml' }, { env: { STRATALOG_CONFIG: '/c.toml' } }]) {
    await expect(load(null, inputs)).rejects.toThrow(
      'cannot read configuration file /c.toml: ENOENT',
    );
  }
  const denied = Object.assign(new Error('EACCES: permission denied'), { code: 'EACCES' });
  await expect(load(null, { readFile: () => Promise.reject(denied) })).rejects.toThrow(
    `cannot read configuration file ${defaultConfigFile}: EACCES`,
  );
});

test('every mistake is told at once, by line, with what was meant', async () => {
  const file = [
    'rot = "/x"',
    '[log]',
    'levle = "info"',
    '[limits.budgets]',
    'prepare = "3 s"',
    'level = "info"',
    '[socket]',
    'mode = 600',
    '[xyzzy]',
    'a = 1',
  ].join('\n');
  expect(await mistakes(file)).toEqual([
    '/c.toml:1: rot: unknown setting; did you mean root?',
    '/c.toml:3: log.levle: unknown setting; did you mean log.level?',
    '/c.toml:5: limits.budgets.prepare: expected a duration such as "10s" or "1m30s"',
    '/c.toml:6: limits.budgets.level: unknown setting; did you mean log.level?',
    '/c.toml:8: socket.mode: expected four octal digits in quotes, such as "0600"',
    '/c.toml:9: xyzzy: unknown setting',
  ]);
});

test('a setting in the wrong table, a table in place of a setting, and the reverse', async () => {
  expect(await mistakes('segment_size = "1MiB"')).toEqual([
    '/c.toml:1: segment_size: unknown setting; did you mean log_store.segment_size?',
  ]);
  expect(await mistakes('log = "debug"')).toEqual([
    '/c.toml:1: log: expected table, received string',
  ]);
  expect(await mistakes('[root]\nx = 1')).toEqual([
    '/c.toml:1: root: expected string, received table',
  ]);
});

test('a mistake in the environment or a flag names it', async () => {
  expect(await mistakes('', { env: { STRATALOG_LOG_LEVEL: 'loud' } })).toEqual([
    'STRATALOG_LOG_LEVEL: log.level: expected one of trace, debug, info, warn, error, fatal, panic',
  ]);
  expect(await mistakes('', { flags: new Map([['layer_store', 'relative']]) })).toEqual([
    '--layer-store: layer_store: expected an absolute path, or "" for none',
  ]);
});

test('TOML that does not parse is told with its line', async () => {
  expect(await mistakes('root = "/x"\nlog = [\n')).toEqual([
    expect.stringMatching(/^\/c\.toml:\d: invalid TOML: .+: "/),
  ]);
});

test('values out of range and options that would break mounts are refused', async () => {
  for (const option of ['lowerdir+=/etc', 'datadir+=/etc', 'uidmap=0:1:2']) {
    expect(await mistakes(`mount_options = ["${option}"]`)).toHaveLength(1);
  }
  for (const option of ['', 'xino=off,upperdir=/etc', 'a b', '=x']) {
    expect(await mistakes(`mount_options = ["${option}"]`)).toEqual([
      expect.stringContaining('expected one option'),
    ]);
  }
  expect(await mistakes('mount_options = ["xino=off", "lowerdir=/x"]')).toEqual([
    '/c.toml:1: mount_options.1: the snapshotter sets this option itself',
  ]);
  expect(await mistakes('[log_store]\nsegment_size = "4KiB"')).toEqual([
    '/c.toml:2: log_store.segment_size: expected a size such as "64MiB", from 1MiB to 1GiB',
  ]);
  expect(await mistakes('[limits]\nconnections = 0')).toEqual([
    expect.stringContaining('/c.toml:2: limits.connections: '),
  ]);
  expect(await mistakes('remap_ids = "yes"')).toEqual([
    '/c.toml:1: remap_ids: expected true, false or "auto"',
  ]);
  expect(await mistakes('[log_store]\nretain = "a while"')).toEqual([
    '/c.toml:2: log_store.retain: expected "forever" or a duration such as "90d"',
  ]);
});

test('a budget that would cut off the work behind it is refused', async () => {
  expect(await mistakes('[effects]\nmount_timeout = "2m"')).toEqual([
    expect.stringContaining('limits.budgets.prepare: must be longer than effects.mount_timeout'),
  ]);
  await load('[effects]\nmount_timeout = "2m"\n[limits.budgets]\nprepare = "3m"');
});

test('a key named __proto__ is a mistake like any other and changes nothing', async () => {
  expect(await mistakes('[__proto__]\nroot = "/x"')).toEqual([
    expect.stringContaining('__proto__: unknown setting'),
  ]);
  expect(Object.prototype).not.toHaveProperty('root');
});

test('the sample says nothing but the defaults, has every setting, and explains each', async () => {
  const sample = await load(defaultConfigText());
  const empty = await load('');
  expect(sample.config).toEqual(empty.config);
  expect(sample.sources.map((source) => source.isDefault)).not.toContain(false);
  for (const entry of configEntries()) {
    expect(entry.description, entry.path.join('.')).toMatch(/\.$/);
    const line =
      entry.kind === 'group' ? `[${entry.path.join('.')}]` : `${entry.path.at(-1) ?? ''} =`;
    expect(defaultConfigText()).toContain(line);
  }
  for (const line of defaultConfigText().split('\n')) expect(line.length).toBeLessThanOrEqual(100);
  const uncommented = defaultConfigText().replaceAll(/^# ([a-z_]+ = .*)$/gm, '$1');
  expect((await load(uncommented)).config.socket).toEqual({ mode: 0o600, uid: 0, gid: 0 });
});

test("containerd's side is TOML, exports the root, and never asks for rebase", () => {
  for (const line of containerdLines) {
    const side = { name: 'my.snapshots', line, whyNoIdMapping: 'not on this kernel' };
    const text = containerdConfigText({ root: '/r "q"', address: '/a' }, side);
    expect(text).not.toContain('rebase');
    expect(parse(text)).toMatchObject({
      version: line === '2.x' ? 3 : 2,
      proxy_plugins: {
        'my.snapshots': { type: 'snapshot', address: '/a', exports: { root: '/r "q"' } },
      },
    });
    expect(parse(text)['proxy_plugins']).not.toHaveProperty(['my.snapshots', 'capabilities']);
  }
});

test("containerd's side has the capability to map ids where this host has it, else the reason", () => {
  const textOf = (line: ContainerdLine, whyNoIdMapping: string | null) =>
    containerdConfigText({ root: '/r', address: '/a' }, { name: 's', line, whyNoIdMapping });
  const capabilities = ['proxy_plugins', 's', 'capabilities'];
  for (const line of ['1.7', '2.x'] as const) {
    expect(parse(textOf(line, null))).toHaveProperty(capabilities, ['remap-ids']);
    const without = textOf(line, 'mounting an overlay\nfailed with EINVAL');
    expect(parse(without)).not.toHaveProperty(capabilities);
    expect(without.replaceAll(/\n +#/g, '')).toContain('mounting an overlay failed with EINVAL');
    expect(without).toContain('  # capabilities = ["remap-ids"]\n');
  }
  // Its proxy plugins have none.
  expect(textOf('1.6', null)).not.toContain('capabilities');
});
