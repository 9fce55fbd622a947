/**
 * Goal: one query finds our lines and containerd's, and logging never stops the daemon. Method:
 * real processes whose stderr is read, or is not.
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const run = promisify(execFile);

const program = (options: string, body: string): string[] => [
  '--import',
  'tsx',
  '--input-type=module',
  '-e',
  `const { openLogger } = await import('./src/daemon/observe/logger.ts');
   const { systemClock } = await import('./src/host/process/clock.ts');
   const { logger, flushed } = openLogger({ clock: systemClock(), ${options} });
   ${body}`,
];

async function logged(options: string, body: string, env?: NodeJS.ProcessEnv): Promise<string[]> {
  const { stderr, stdout } = await run(process.execPath, program(options, body), {
    env: { ...process.env, ...env },
  });
  expect(stdout).toBe('');
  return stderr.trimEnd().split('\n');
}

const json = `level: 'info', format: 'auto'`;

test("JSON lines have containerd's field names", async () => {
  const before = Date.now();
  const lines = await logged(
    json,
    `logger.debug('not shown');
     logger.info({ position: 7, key: 'k8s.io/1/a b' }, 'prepared');
     logger.warn({ error: new Error('mount: EIO', { cause: new Error('disk gone') }) }, 'cannot mount');
     logger.panic('belief broken');`,
  );
  const parsed = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  const time: unknown = expect.any(String);
  expect(parsed).toEqual([
    { time, level: 'info', msg: 'prepared', position: 7, key: 'k8s.io/1/a b' },
    { time, level: 'warning', msg: 'cannot mount', error: 'mount: EIO: disk gone' },
    { time, level: 'panic', msg: 'belief broken' },
  ]);
  for (const { time } of parsed) {
    expect(time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/);
    expect(Date.parse(String(time))).toBeGreaterThanOrEqual(before - 1);
  }
});

test('one line for each failure, and the stack only for those who debug', async () => {
  const body = `logger.error(new Error('broken'), 'failed'); logger.info({ error: 'text' }, 'x');`;
  const [line = '', second = ''] = await logged(json, body);
  expect(JSON.parse(line)).toMatchObject({ level: 'error', msg: 'failed', error: 'broken' });
  expect(line).not.toContain('    at ');
  expect(JSON.parse(second)).toMatchObject({ error: 'text' });
  const [debugged = ''] = await logged(`level: 'debug', format: 'json'`, body);
  expect((JSON.parse(debugged) as { error: string }).error).toContain('    at ');
});

test('text is one readable line, without colour where there is no terminal', async () => {
  const lines = await logged(
    `level: 'trace', format: 'text'`,
    `logger.child({ snapshot: 7 }).info({ key: 'a b', count: 3, path: '/x/y' }, 'prepared "it"');
     logger.warn('odd\\nline \\u001b[31m');`,
  );
  expect(lines[0]).toMatch(/^\S+Z INFO prepared "it" snapshot=7 key="a b" count=3 path=\/x\/y$/);
  expect(lines[1]).toMatch(/^\S+Z WARNING odd\\nline \\u001b\[31m$/);
});

test('text that goes to a pipe has colours only where they are forced', async () => {
  const prepared = (environment: Readonly<Record<string, string>>) =>
    logged(`level: 'info', format: 'text'`, `logger.info('prepared');`, environment);
  const [plain = ''] = await prepared({ CI: 'true' });
  expect(plain).toMatch(/^\S+Z INFO prepared$/);
  const [forced = ''] = await prepared({ FORCE_COLOR: '1' });
  expect(forced).toContain('\u001b[32mINFO\u001b[39m prepared');
  const [refused = ''] = await prepared({ FORCE_COLOR: '1', NO_COLOR: '1' });
  expect(refused).toMatch(/^\S+Z INFO prepared$/);
});

test('what was logged before the exit is written', async () => {
  const lines = await logged(
    json,
    `for (let n = 0; n < 2000; n += 1) logger.info({ n }, 'line'); process.exit(0);`,
  );
  expect(lines).toHaveLength(2000);
  const isKilled = (body: string): Promise<string> =>
    logged(json, `${body} process.kill(process.pid, 9);`).then(
      () => 'it was not killed',
      (thrown: unknown) => (thrown as { stderr: string }).stderr,
    );
  // All threads that write are busy with something else.
  const busy = `const { pbkdf2 } = await import('node:crypto');
    for (let n = 0; n < 8; n += 1) pbkdf2('a', 'b', 200_000, 64, 'sha512', () => {});`;
  expect(await isKilled(`${busy} logger.info('x'); await flushed(60_000);`)).toContain('"msg":"x"');
  // With nothing to write it does not wait for ever.
  expect(await isKilled('await flushed(60_000);')).toBe('');
});

test('a reader of stderr that does not read does not stop the daemon', async () => {
  const body = `
    const line = 'x'.repeat(1000);
    for (let n = 0; n < 20_000; n += 1) {
      logger.info(line);
      if (n % 1000 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    process.stdout.write('still alive');
    setInterval(() => undefined, 1000);`;
  const child = spawn(process.execPath, program(json, body), { stdio: ['ignore', 'pipe', 'pipe'] });
  try {
    const [data] = (await once(child.stdout, 'data')) as [Buffer];
    expect(data.toString()).toBe('still alive');
  } finally {
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
});
