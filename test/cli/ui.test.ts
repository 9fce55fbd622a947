/** Goal: `ui` only listens on a local address unless --allow-remote is given, and exits cleanly. */
import { afterEach, beforeAll, expect, it } from 'vitest';
import {
  aRoot,
  builtCli,
  buildLimitMillis,
  cleanUp,
  daemonStarted,
  jsonLines,
  started,
  stratalog,
} from './rig.js';

beforeAll(builtCli, buildLimitMillis);
afterEach(cleanUp);

it('refuses an address that other machines can reach, and an invalid one', async () => {
  const root = await aRoot([daemonStarted()]);
  const far = await stratalog(['ui', '--root', root, '--listen', '0.0.0.0:0']);
  expect(far).toMatchObject({ code: 2, stdout: '' });
  expect(far.stderr).toContain('use ssh -L, or add --allow-remote');
  const wrong = ['here', '127.0.0.1', 'example.org:80', '127.0.0.1:99999'];
  const refused = wrong.map((listen) => stratalog(['ui', '--root', root, '--listen', listen]));
  for (const { code, stderr } of await Promise.all(refused)) {
    expect(code).toBe(2);
    expect(stderr).toContain('use for example 127.0.0.1:7420');
  }
});

it('prints its link, with a new token each time, and exits with 0 when interrupted', async () => {
  const root = await aRoot([daemonStarted()]);
  const links: unknown[] = [];
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    const running = started(['ui', '--root', root, '--json']);
    await expect.poll(() => running.lines().length, { timeout: 15_000 }).toBe(1);
    const [line] = jsonLines(running.lines().join('\n'));
    expect(line).toMatchObject({ schema: 'stratalog.ui/v1' });
    links.push(line?.['url']);
    running.child.kill(signal);
    expect(await running.ended).toBe(0);
  }
  expect(String(links[0])).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/\?token=[\w-]{32}$/);
  expect(new URL(String(links[0])).search).not.toBe(new URL(String(links[1])).search);
});
