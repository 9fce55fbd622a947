/** Goal: probes see what is true, at once. Method: the generated client of the standard service. */
import { Metadata, status, type ClientUnaryCall, type ServiceError } from '@grpc/grpc-js';
import { afterEach, expect, test } from 'vitest';
import {
  HealthCheckResponse_ServingStatus as Serving,
  type HealthClient,
} from '../../src/api/generated/grpc/health/v1/health.js';
import { reasonsIn } from '../../src/api/grpc/health-reasons.js';
import { Health, snapshotsServiceName, type HealthState } from '../../src/api/grpc/health.js';
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
      ['directories', Serving.NOT_SERVING],
      ['mounts', Serving.NOT_SERVING],
      ['clients', Serving.NOT_SERVING],
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
  const advisory = { directories: true, mounts: true, clients: true };
  const well = { '': true, [snapshotsServiceName]: true, log: true, ...advisory };
  expect(health.state.serving).toEqual({ ...well, '': false, log: false });
  expect([...health.state.reasons]).toEqual([['log', 'the log is read-only: EIO']]);
  health.report('log', null);
  health.report('log', null);
  expect(health.state.serving).toEqual(well);
  expect(states).toHaveLength(6);
});

test('why something does not serve travels with the answers', async () => {
  const rig = await aServer({});
  rig.health.setAll(true);
  const client = rig.healthClient();
  const reasonsOf = (begin: (done: (error: ServiceError | null) => void) => ClientUnaryCall) =>
    new Promise((resolve, reject) => {
      let reasons: unknown = null;
      const call = begin((error) => {
        if (error === null) resolve(reasons);
        else reject(error);
      });
      call.on('metadata', (metadata) => {
        reasons = reasonsIn(metadata);
      });
    });
  expect(await reasonsOf((done) => client.list({}, done))).toEqual([]);
  rig.health.report('shared socket', 'process 1 (größer)', ['clients']);
  rig.health.report('hidden mounts', 'x'.repeat(5_000), ['mounts']);
  const told = [{ reason: 'process 1 (größer)', affects: ['clients'] }];
  // The second is longer than clients would take.
  expect(await reasonsOf((done) => client.list({}, done))).toEqual(told);
  expect(await reasonsOf((done) => client.check({ service: 'clients' }, done))).toEqual(told);
  // A person's affair is none of a probe's.
  expect(await check(client, '')).toBe(Serving.SERVING);
  expect(await check(client, 'clients')).toBe(Serving.NOT_SERVING);
});

test('reasons of another form are none', () => {
  const metadata = new Metadata();
  expect(reasonsIn(metadata)).toEqual([]);
  for (const text of ['no JSON', '{"reason":1}', '[{"reason":"x"}]']) {
    metadata.set('stratalog-reasons-bin', Buffer.from(text));
    expect(reasonsIn(metadata)).toEqual([]);
  }
});
