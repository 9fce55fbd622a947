/**
 * Goal: what is installed is what the program expects. Method: systemd's own check of the units,
 * and the sample file against the program that reads it.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { parseDuration } from '../../src/daemon/config/config-values.js';
import { defaultConfigText } from '../../src/daemon/config/config-text.js';
import { loadConfig } from '../../src/daemon/config/config.js';

const run = promisify(execFile);
const packaged = (name: string): Promise<string> =>
  readFile(resolve(import.meta.dirname, '../../packaging', name), 'utf8');

/** What systemd says of the units, with the program's path replaced by one that exists. */
async function verified(service: string, socket: string): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'stratalog-units-'));
  try {
    const units = [join(directory, 'stratalog.service'), join(directory, 'stratalog.socket')];
    const text = service.replace(/^ExecStart=\S+/m, `ExecStart=${process.execPath}`);
    await writeFile(units[0] ?? '', text);
    await writeFile(units[1] ?? '', socket);
    const { stdout, stderr } = await run('systemd-analyze', ['verify', '--man=no', ...units]);
    return stdout + stderr;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

test('systemd has nothing to say against the units', async () => {
  const [service, socket] = [
    await packaged('stratalog.service'),
    await packaged('stratalog.socket'),
  ];
  expect(await verified(service, socket)).toBe('');
});

test('systemd would say so if a line were wrong', async () => {
  const [service, socket] = [
    await packaged('stratalog.service'),
    await packaged('stratalog.socket'),
  ];
  const said = await verified(service.replace('RestartSec=', 'RestrtSec='), socket);
  expect(said).toContain("Unknown key 'RestrtSec'");
});

test('nothing in the unit gives the daemon a mount namespace of its own', async () => {
  const lines = (await packaged('stratalog.service'))
    .split('\n')
    .filter((line) => !line.startsWith('#'));
  const hiding =
    /^(Private\w+|Protect\w+|ReadOnlyPaths|ReadWritePaths|InaccessiblePaths|ExecPaths|NoExecPaths|TemporaryFileSystem|Bind\w*Paths|RootDirectory|RootImage|MountFlags|MountImages|DynamicUser|ExtensionImages|\w+Directory)=(.*)/;
  const found = lines.filter((line) => hiding.test(line));
  // These make directories and nothing else while the unit is no DynamicUser.
  expect(found).toEqual([
    'StateDirectory=stratalog',
    'ConfigurationDirectory=stratalog',
    'RuntimeDirectory=stratalog',
  ]);
});

test('a crash is over before the clients of the socket give up, and is never final', async () => {
  const lines = (await packaged('stratalog.service')).split('\n');
  // grpc-go gives a connection a second until the first frame of the server.
  expect(lines).toEqual(
    expect.arrayContaining(['Restart=always', 'RestartSec=100ms', 'StartLimitIntervalSec=0']),
  );
});

test('the units agree with the defaults of the configuration', async () => {
  const [service, socket] = [
    await packaged('stratalog.service'),
    await packaged('stratalog.socket'),
  ];
  const { config } = await loadConfig({ env: {}, readFile: () => packaged('config.toml') });
  expect(socket).toContain(`ListenStream=${config.address}\n`);
  expect(socket).toContain(`SocketMode=0${config.socket.mode.toString(8)}\n`);
  expect(service).toContain(`RequiresMountsFor=${config.root}\n`);
  const stop = /^TimeoutStopSec=(\d+)$/m.exec(service)?.[1] ?? '';
  expect(parseDuration(`${stop}s`)).toBeGreaterThan(2 * config.drainTimeout);
  expect(Number(/^LimitNOFILE=(\d+)$/m.exec(service)?.[1])).toBeGreaterThan(
    10 * config.limits.descriptorsReserve,
  );
});

test('the sample is what config default prints', async () => {
  expect(await packaged('config.toml'), 'run stratalog config default').toBe(defaultConfigText());
});
