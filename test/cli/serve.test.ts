/**
 * Goal: a stop ends, whatever becomes of the messages. Method: a real daemon whose stderr is a pipe
 * that was filled before it began, and that nobody reads.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterEach, beforeAll, expect, it, vi } from 'vitest';
import { aDirectory, buildLimitMillis, builtCli, cleanUp, cliPath, stratalog } from './rig.js';

beforeAll(builtCli, buildLimitMillis);
afterEach(cleanUp);

const filled = 'timeout 1 cat /dev/zero >&2; exec "$@"';

it('serves, and ends when it is told to, though nobody reads its stderr', async () => {
  const directory = await aDirectory();
  const socket = join(directory, 'daemon.sock');
  const serve = ['serve', '--config', '/dev/null', '--address', socket];
  const command = [process.execPath, cliPath, ...serve, '--root', join(directory, 'root')];
  const child = spawn('bash', ['-c', filled, 'bash', ...command], {
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
}, 60_000);
