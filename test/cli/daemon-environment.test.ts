/**
 * Goal: a running daemon depends neither on its working directory nor on its installed files, and
 * reports that it is unhealthy if it cannot start threads. Method: the built command, with its
 * directory or installation deleted, and with a control group that allows no further thread.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, expect, it } from 'vitest';
import { repository } from '../../scripts/rig/daemon.js';
import { serves } from '../../scripts/rig/first-answer.js';
import {
  aDirectory,
  askedOf,
  buildLimitMillis,
  builtCli,
  cleanUp,
  cliPath,
  later,
  stratalog,
} from './rig.js';

beforeAll(builtCli, buildLimitMillis);
afterEach(cleanUp);

interface Served {
  readonly child: ChildProcess;
  readonly address: string;
  readonly stderr: () => string;
}

/** Starts a daemon from the given installation, in the given directory. */
async function served(program: string, cwd: string, flags: readonly string[]): Promise<Served> {
  const directory = await aDirectory();
  const address = join(directory, 's.sock');
  const paths = ['--root', join(directory, 'root'), '--address', address];
  const child = spawn(process.execPath, [program, 'serve', ...paths, ...flags], {
    cwd,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr.on('data', (bytes: Buffer) => (stderr += bytes.toString()));
  later(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  });
  await expect.poll(() => serves(address), { timeout: 30_000 }).toBe(true);
  return { child, address, stderr: () => stderr };
}

/** Each call uses a thread of another pool. */
async function makesALayer(address: string, name: string): Promise<void> {
  const client = askedOf({ address });
  await client.prepare(`${name}-key`);
  await client.commit(name, `${name}-key`);
  await client.remove(name);
}

it('keeps serving when its initial working directory is deleted', async () => {
  const here = join(await aDirectory(), 'here');
  mkdirSync(here);
  writeFileSync(join(here, 'config.toml'), 'preallocated_directories = 7\n');
  const { child, address } = await served(cliPath, here, ['--config', 'config.toml']);
  expect(readlinkSync(`/proc/${child.pid}/cwd`)).toBe('/');
  rmSync(join(here, 'config.toml'));
  rmdirSync(here);
  await makesALayer(address, 'layer');
  expect(await serves(address)).toBe(true);
  child.kill('SIGTERM');
  expect(await once(child, 'exit')).toEqual([0, null]);
}, 60_000);

it.each(['removed', 'replaced by another release'])(
  'keeps serving when its installation is %s',
  async (what) => {
    const installed = join(await aDirectory(), 'stratalog');
    for (const part of [
      'dist/bin',
      'node_modules/koffi',
      'node_modules/@koromix',
      'node_modules/fs-ext',
    ]) {
      cpSync(join(repository, part), join(installed, part), { recursive: true });
    }
    cpSync(join(repository, 'package.json'), join(installed, 'package.json'));
    const bin = join(installed, 'dist', 'bin');
    const flags = ['--config', '/dev/null'];
    const { child, address, stderr } = await served(join(bin, 'stratalog.cjs'), '/', flags);
    if (what === 'removed') rmSync(installed, { recursive: true });
    else {
      rmSync(join(installed, 'node_modules'), { recursive: true });
      for (const name of readdirSync(bin)) {
        writeFileSync(join(bin, name), '(function () { throw new Error("another release"); })');
      }
    }
    await makesALayer(address, 'layer');
    expect(await serves(address)).toBe(true);
    child.kill('SIGTERM');
    expect(await once(child, 'exit'), stderr()).toEqual([0, null]);
    expect(stderr()).not.toContain('worker thread');
  },
  60_000,
);

it('is unhealthy while it cannot start threads, and healthy again when it can', async () => {
  const metrics = join(await aDirectory(), 'metrics.sock');
  const flags = ['--config', '/dev/null', '--metrics-address', metrics];
  const { child, address, stderr } = await served(cliPath, '/', flags);
  const limit = aThreadLimit(child.pid ?? 0);
  limit.forbid();
  // Queries of the past have their own threads, and none has been started yet.
  const query = ['state', '--at', '1', '--address', address];
  const failed = await stratalog(query);
  expect(failed).toMatchObject({ code: 1, stdout: '' });
  expect(failed.stderr).toMatch(/worker thread failed to start: .*EAGAIN; raise .*TasksMax=/);
  expect(await serves(address)).toBe(false);
  const health = await stratalog(['health', '--address', address]);
  expect(health).toMatchObject({ code: 1 });
  expect(health.stdout).toContain('NOT_SERVING');
  expect(await scraped(metrics)).toContain('stratalog_serving{name="server"} 0');
  expect(stderr()).toContain('"msg":"worker thread failed"');
  limit.allow();
  await expect.poll(() => serves(address), { timeout: 30_000 }).toBe(true);
  await expect.poll(stderr).toContain('"msg":"worker threads recovered"');
  expect(await stratalog(query)).toMatchObject({ code: 0 });
}, 90_000);

interface ThreadLimit {
  readonly forbid: () => void;
  readonly allow: () => void;
}

/** Does the same as TasksMax= of a unit: a control group for the process. */
function aThreadLimit(pid: number): ThreadLimit {
  const parent = ['/sys/fs/cgroup/pids', '/sys/fs/cgroup'].find((directory) =>
    controllersOf(directory).includes('pids'),
  );
  if (parent === undefined) throw new Error('no control group with the pids controller');
  const group = join(parent, `stratalog-test-${pid}`);
  mkdirSync(group);
  later(() => {
    writeFileSync(join(parent, 'cgroup.procs'), String(pid));
    rmdirSync(group);
  });
  writeFileSync(join(group, 'cgroup.procs'), String(pid));
  const allow = (threads: string): void => writeFileSync(join(group, 'pids.max'), threads);
  return { forbid: () => allow('1'), allow: () => allow('max') };
}

/** The controller of a cgroup v1 hierarchy, or the controllers enabled in cgroup v2. */
function controllersOf(directory: string): string[] {
  try {
    if (directory.endsWith('/pids') && readdirSync(directory).includes('cgroup.procs')) {
      return ['pids'];
    }
    return readFileSync(join(directory, 'cgroup.subtree_control'), 'utf8').split(/\s+/);
  } catch {
    return [];
  }
}

async function scraped(socketPath: string): Promise<string> {
  const { request } = await import('node:http');
  return new Promise((resolve, reject) => {
    const call = request({ socketPath, path: '/metrics' }, (response) => {
      let text = '';
      response.on('data', (bytes: Buffer) => (text += bytes.toString()));
      response.on('end', () => resolve(text));
    });
    call.on('error', reject);
    call.end();
  });
}
