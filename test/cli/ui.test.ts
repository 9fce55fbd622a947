/** Goal: `ui` listens where it is told to, only near by unless it is told plainly, and ends well. */
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

it('refuses an address that other machines reach, and what is no address', async () => {
  const root = await aRoot([daemonStarted()]);
  const far = await stratalog(['ui', '--root', root, '--listen', '0.0.0.0:0']);
  expect(far).toMatchObject({ code: 2, stdout: '' });
  expect(far.stderr).toContain('use ssh -L, or say --allow-remote as well');
  const wrong = ['here', '127.0.0.1', 'example.org:80', '127.0.0.1:99999'];
  const refused = wrong.map((listen) => stratalog(['ui', '--root', root, '--listen', listen]));
  for (const { code, stderr } of await Promise.all(refused)) {
    expect(code).toBe(2);
    expect(stderr).toContain('say 127.0.0.1:7420');
  }
});

it('prints its link, with a new token each time, and ends with 0 when interrupted', async () => {
  const root = await aRoot([daemonStarted()]);
  const links: unknown[] = [];
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    const running = started(['ui', '--root', root, '--json']);
    await expect.poll(() => running.lines().length, { timeout: 15_000 }).toBe(1);
    const [told] = jsonLines(running.lines().join('\n'));
    expect(told).toMatchObject({ schema: 'stratalog.ui/v1' });
    links.push(told?.['url']);
    running.child.kill(signal);
    expect(await running.ended).toBe(0);
  }
  expect(String(links[0])).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/\?token=[\w-]{32}$/);
  expect(new URL(String(links[0])).search).not.toBe(new URL(String(links[1])).search);
});
