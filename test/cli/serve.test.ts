/**
 * Goal: shutdown completes even if log messages cannot be written. Method: a real daemon whose stderr
 * is a full pipe without a reader, or a full device.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterEach, beforeAll, expect, it, vi } from 'vitest';
import { systemClock } from '../../src/host/process/clock.js';
import { systemDisk } from '../../src/host/files/disk.js';
import { takeLock } from '../../src/log/root/lock.js';
import {
  aDirectory,
  aRoot,
  buildLimitMillis,
  builtCli,
  cleanUp,
  cliPath,
  stratalog,
} from './rig.js';

beforeAll(builtCli, buildLimitMillis);
afterEach(cleanUp);

const stuck = {
  'a full pipe without a reader': 'timeout 1 cat /dev/zero >&2; exec "$@"',
  'a full device': 'exec "$@" 2>/dev/full',
};

it.each(Object.entries(stuck))(
  'serves, and exits on SIGTERM: %s',
  async (_, script) => {
    const directory = await aDirectory();
    const socket = join(directory, 'daemon.sock');
    const serve = ['serve', '--config', '/dev/null', '--address', socket];
    const command = [process.execPath, cliPath, ...serve, '--root', join(directory, 'root')];
    const child = spawn('bash', ['-c', script, 'bash', ...command], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const ended = once(child, 'exit');
    try {
      await vi.waitFor(
        async () => {
          const health = await stratalog(['health', '--address', socket]);
          expect(health).toMatchObject({ code: 0 });
        },
        { timeout: 30_000, interval: 100 },
      );
      child.kill('SIGTERM');
      expect(await ended).toEqual([0, null]);
    } finally {
      child.kill('SIGKILL');
      await ended;
    }
  },
  60_000,
);

it('exits when it cannot start, even if stderr cannot be written', async () => {
  const directory = await aDirectory();
  const serve = `"$@" serve --config /dev/null --address ${directory}/s --root /dev/null 2>/dev/full`;
  const child = spawn('bash', ['-c', serve, 'bash', process.execPath, cliPath], {
    stdio: 'ignore',
  });
  const [code] = (await once(child, 'exit')) as [number];
  expect(code).toBeGreaterThan(0);
}, 60_000);

const holder = { pid: process.pid, host: 'here', command: 'test' };

it('delays its exit after repeated failures, and a signal ends the delay', async () => {
  const directory = await aDirectory();
  const root = await aRoot([]);
  const lock = await takeLock(systemDisk(), systemClock(), root, holder);
  try {
    const flags = ['--config', '/dev/null', '--address', join(directory, 's'), '--root', root];
    const ends: unknown[] = [];
    // Without a service manager, failures are not counted.
    for (let failure = -3; failure <= 4; failure += 1) {
      if (failure === 0) continue;
      const env = failure > 0 ? { NOTIFY_SOCKET: join(directory, 'none') } : {};
      const child = spawn(process.execPath, [cliPath, 'serve', ...flags], {
        stdio: ['ignore', 'ignore', 'pipe'],
        env: { ...process.env, ...env },
      });
      const ended = once(child, 'exit');
      let stderr = '';
      child.stderr.on('data', (bytes: Buffer) => (stderr += bytes.toString()));
      if (failure === 4) {
        await vi.waitFor(() => expect(stderr).toContain('"waitSeconds":10'), { timeout: 30_000 });
        expect(stderr).toContain('"failures":4');
        child.kill('SIGTERM');
      }
      ends.push(await ended);
    }
    expect(ends).toEqual([...Array.from({ length: 6 }, () => [4, null]), [null, 'SIGTERM']]);
  } finally {
    await lock.release();
  }
}, 90_000);
