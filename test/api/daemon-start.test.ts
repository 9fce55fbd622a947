/** A start that cannot bind all its addresses ends, and leaves the root to the next one. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { serves } from '../../scripts/rig/first-answer.js';

let directory: string;
let children: ChildProcess[];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'stratalog-start-'));
  children = [];
});
afterEach(async () => {
  for (const child of children) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  rmSync(directory, { recursive: true });
});

/** From the sources, so that no build has to stand beside it. */
function serve(...flags: readonly string[]) {
  const paths = ['--root', join(directory, 'root'), '--address', join(directory, 's.sock')];
  const argv = ['--import', 'tsx', 'src/cli.ts', 'serve', ...paths, ...flags];
  const child = spawn(process.execPath, argv, { stdio: ['ignore', 'ignore', 'pipe'] });
  children.push(child);
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  return { child, stderr: () => stderr };
}

it('ends with the name of the setting when the metrics address is taken, and serves next time', async () => {
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  const { port } = taken.address() as AddressInfo;
  try {
    const failed = serve('--metrics-address', `127.0.0.1:${port}`);
    const [code] = (await once(failed.child, 'exit')) as [number | null];
    expect(code, failed.stderr()).toBe(2);
    expect(failed.stderr()).toContain('cannot serve metrics_address');
    expect(existsSync(join(directory, 's.sock'))).toBe(false);
  } finally {
    taken.close();
  }
  const { child, stderr } = serve();
  const isServed = () => serves(join(directory, 's.sock'));
  await expect.poll(isServed, { timeout: 20_000 }).toBe(true);
  child.kill('SIGTERM');
  const [code] = (await once(child, 'exit')) as [number | null];
  expect(code, stderr()).toBe(0);
});
