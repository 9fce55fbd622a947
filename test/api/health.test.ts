/** Goal: probes see what is true, at once. Method: the generated client of the standard service. */
import { status } from '@grpc/grpc-js';
import { afterEach, expect, test } from 'vitest';
import {
  HealthCheckResponse_ServingStatus as Serving,
  type HealthClient,
} from '../../src/api/generated/grpc/health/v1/health.js';
import { Health, snapshotsServiceName, type HealthState } from '../../src/api/health.js';
import { aServer, asked, cleanUp } from './rig.js';

afterEach(cleanUp);

const check = async (client: HealthClient, service: string): Promise<Serving> =>
  (await asked<{ status: Serving }>((done) => client.check({ service }, done))).status;

test('each name is asked for by itself, and an unknown one is NotFound', async () => {
  const rig = await aServer({});
  const client = rig.healthClient();
  expect(await check(client, '')).toBe(Serving.NOT_SERVING);
  rig.health.set('', true);
  rig.health.set('log', true);
  expect(await check(client, '')).toBe(Serving.SERVING);
  expect(await check(client, 'log')).toBe(Serving.SERVING);
  expect(await check(client, snapshotsServiceName)).toBe(Serving.NOT_SERVING);
  await expect(check(client, 'no.such.Service')).rejects.toMatchObject({ code: status.NOT_FOUND });
  const list = await asked<{ statuses: Map<string, { status: Serving }> }>((done) =>
    client.list({}, done),
  );
  expect(new Map([...list.statuses].map(([name, value]) => [name, value.status]))).toEqual(
    new Map([
      ['', Serving.SERVING],
      [snapshotsServiceName, Serving.NOT_SERVING],
      ['log', Serving.SERVING],
    ]),
  );
});

test('a watcher gets the state at once, then each change and nothing else', async () => {
  const rig = await aServer({});
  rig.health.setAll(true);
  const seen: Serving[] = [];
  const watch = rig.healthClient().watch({ service: '' });
  watch.on('data', (message: { status: Serving }) => seen.push(message.status));
  watch.on('error', () => undefined);
  await expect.poll(() => seen).toEqual([Serving.SERVING]);
  rig.health.set('log', false);
  rig.health.set('', true);
  rig.health.report('event loop', 'late');
  rig.health.report('file descriptors', 'few');
  rig.health.report('event loop', null);
  await expect.poll(() => seen).toEqual([Serving.SERVING, Serving.NOT_SERVING]);
  rig.health.report('file descriptors', null);
  await expect.poll(() => seen).toEqual([Serving.SERVING, Serving.NOT_SERVING, Serving.SERVING]);
  watch.cancel();
});

test('faults of two sources do not overwrite each other, and reasons are told', () => {
  const health = new Health();
  const states: HealthState[] = [];
  health.changes.subscribe((state) => states.push(state));
  health.setAll(true);
  health.report('log', 'the log is read-only: EIO', ['', 'log']);
  health.report('event loop', '3000 ms late');
  health.report('event loop', null);
  expect(health.state.serving).toEqual({ '': false, [snapshotsServiceName]: true, log: false });
  expect([...health.state.reasons]).toEqual([['log', 'the log is read-only: EIO']]);
  health.report('log', null);
  health.report('log', null);
  expect(health.state.serving).toEqual({ '': true, [snapshotsServiceName]: true, log: true });
  expect(states).toHaveLength(6);
});
