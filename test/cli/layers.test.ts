/**
 * Goal: an operator sees which layers are unavailable, why, and when they are retried. Method: the
 * built command on roots with such events.
 */
import { afterEach, beforeAll, expect, it } from 'vitest';
import {
  aRoot,
  builtCli,
  buildLimitMillis,
  cleanUp,
  committed,
  committing,
  jsonLines,
  prepared,
  preparing,
  removing,
  stratalog,
  type TestEvent,
} from './rig.js';

beforeAll(builtCli, buildLimitMillis);
afterEach(cleanUp);

const chain = (digit: string): string => `sha256:${digit.repeat(64)}`;

function aRemote(id: number, ref: string): readonly TestEvent[] {
  const stream = `snapshot-${id}`;
  const remote = { ref, fileSystem: 'layer-store' };
  return [
    preparing(id, `n/${id}/extract`, { remote: { ref, fileSystems: ['layer-store'] } }),
    { stream, type: 'RemoteMountStarted' },
    { stream, type: 'RemoteMounted', data: { fileSystem: 'layer-store' } },
    committed(id, ref, { remote }),
  ];
}

const lost = (id: number, attempts: number, retryAt: string | null): TestEvent => ({
  stream: `snapshot-${id}`,
  type: 'LayerUnavailable',
  data: { reason: `the server of ${id} is\u001b[31m gone`, attempts, retryAt },
});

const restored = (id: number): TestEvent => ({
  stream: `snapshot-${id}`,
  type: 'LayerAvailable',
  data: { how: 'mounted' },
});

const future = '2999-01-01T00:00:00.000000000Z';

const aRootWithLayers = (): Promise<string> =>
  aRoot([
    ...aRemote(1, chain('a')), // 0 to 3
    ...aRemote(2, chain('b')), // 4 to 7
    preparing(3, 'n/3/mine', { remote: { ref: chain('c'), fileSystems: [] } }),
    prepared(3),
    committing(3, 'n/4/mine'),
    committed(3, 'n/4/mine'), // 11
    lost(1, 1, future), // 12
    lost(2, 1, '2020-01-01T00:00:00.000000000Z'),
    restored(2), // 14
    lost(1, 2, future),
    lost(3, 1, null), // 16
    ...aRemote(4, chain('d')),
    removing(4),
  ]);

it('lists remote layers, and unavailable local ones', async () => {
  const root = await aRootWithLayers();
  const { code, stdout } = await stratalog(['layers', '--root', root, '--json']);
  expect(code).toBe(0);
  const rows = jsonLines(stdout);
  expect(rows.map(({ id, state, fileSystem, ref }) => [id, state, fileSystem, ref])).toEqual([
    [1, 'unavailable', 'layer-store', chain('a')],
    [2, 'available', 'layer-store', chain('b')],
    [3, 'unavailable', null, chain('c')],
  ]);
  expect(rows[0]).toMatchObject({ schema: 'stratalog.layer/v1', attempts: 2, retryAt: future });
  expect(rows[1]).toMatchObject({ attempts: 0, reason: null, unavailableSince: null });
});

it('exits 3 with --unavailable if there is one, and shows the next retry', async () => {
  const root = await aRootWithLayers();
  const { code, stdout } = await stratalog(['layers', '--root', root, '--unavailable']);
  expect(code).toBe(3);
  const [heading = '', one = '', other = '', ...more] = stdout.trimEnd().split('\n');
  expect(heading).toMatch(/^SNAPSHOT +STATE +SINCE +TRIES +NEXT RETRY +FROM +REF +NAME +REASON$/);
  expect(one).toMatch(/^1 +unavailable +\d+ s +2 +in \d+ d +layer-store +sha256:a+ /);
  expect(one).toContain('the server of 1 is\\u{1b}[31m gone');
  expect(other).toMatch(/^3 +unavailable +\d+ s +1 +on next use +own directory +sha256:c+ /);
  expect(more).toEqual([]);
});

it('shows a moment in the past, with absolute times', async () => {
  const root = await aRootWithLayers();
  const at = async (moment: string): Promise<unknown[]> => {
    const { stdout } = await stratalog([
      'layers',
      '--unavailable',
      '--root',
      root,
      '--at',
      moment,
      '-q',
    ]);
    return stdout.trimEnd().split('\n');
  };
  expect(await at('14')).toEqual([chain('a'), chain('b')]);
  expect(await at('15')).toEqual([chain('a')]);
  const { code, stdout, stderr } = await stratalog([
    ...['layers', '--unavailable', '--root', root, '--at', '12'],
  ]);
  expect([code, stdout, stderr]).toEqual([0, '', 'stratalog: no unavailable layers\n']);
  const past = await stratalog(['layers', '--unavailable', '--root', root, '--at', '15']);
  expect(past.stdout).toContain(future);
});
