/** The example follows a real daemon's log, is ended, and goes on exactly where it stopped. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeAll, expect, it } from 'vitest';
import { aDaemon, aDirectory, askedOf, builtCli, buildLimitMillis, cleanUp } from '../cli/rig.js';

beforeAll(builtCli, buildLimitMillis);
afterEach(cleanUp);

async function example(...args: readonly string[]): Promise<string[]> {
  const words = ['--import', 'tsx', 'examples/audit.ts', ...args];
  const { stdout } = await promisify(execFile)(process.execPath, words);
  return stdout.split('\n').slice(0, -1);
}

it('goes on where it stopped, also when the daemon was killed in between', async () => {
  const daemon = await aDaemon({ config: 'preallocated_directories = 0\n' });
  const client = askedOf(daemon);
  await client.prepare('one');
  const file = join(await aDirectory(), 'position');
  const first = await example(daemon.address, file, '2');
  await daemon.crash();
  await daemon.start();
  const second = await example(daemon.address, file, '2');
  const positions = [...first, ...second].map((line) => Number(line.split(' ')[0]));
  expect(positions).toEqual([0, 1, 2, 3]);
  expect(first.map((line) => line.split(' ').slice(2))).toEqual([
    ['daemon', 'DaemonStarted'],
    ['snapshot-1', 'SnapshotPreparing'],
  ]);
  expect(second[0]).toContain('SnapshotPrepared');
  expect(second[1]).toContain('DaemonStarted');
}, 60_000);
