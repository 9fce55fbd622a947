/**
 * Goal: calls to a service that cannot answer yet wait, within their budgets, and begin in order.
 * Method: a real server and real clients.
 */
import { join } from 'node:path';
import { credentials, status, type ServiceError } from '@grpc/grpc-js';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { CallContext } from '../../src/api/grpc/call-context.js';
import {
  SnapshotsClient,
  type SnapshotsServer,
} from '../../src/api/generated/containerd/services/snapshots/v1/snapshots.js';
import { Health } from '../../src/api/grpc/health.js';
import { startServer, type RunningServer } from '../../src/api/grpc/server.js';
import { budgetNames, strictSnapshotsService } from '../../src/api/snapshots/snapshots-requests.js';
import { WaitingService } from '../../src/api/grpc/waiting-service.js';
import { NotBegun } from '../../src/base/errors.js';
import { aDirectory, asked, cleanUp, later } from './rig.js';

let service: WaitingService;
let server: RunningServer;
let client: SnapshotsClient;
/** Keys of the calls that a handler has seen. */
let begun: string[];

beforeEach(() => {
  begun = [];
});
afterEach(cleanUp);

async function serveWith(budgetMillis: number | null): Promise<void> {
  const path = join(await aDirectory(), 's.sock');
  service = new WaitingService({
    definition: strictSnapshotsService,
    budgetOf: () => budgetMillis,
  });
  server = await startServer({ target: { path }, services: [service], health: new Health() });
  later(() => server.stop(0));
  client = new SnapshotsClient(`unix:${path}`, credentials.createInsecure());
  later(() => client.close());
}

const implementation: Pick<SnapshotsServer, 'stat' | 'list'> = {
  stat: (call, callback) => {
    begun.push(call.request.key);
    callback({ code: status.NOT_FOUND, details: call.request.key });
  },
  list: (call) => {
    begun.push('list');
    call.end();
  },
};

const answered = (): void => service.answerWith({ ...implementation });
const stat = (key: string): Promise<unknown> =>
  asked((done) => client.stat({ snapshotter: '', key }, done));
const listed = (): Promise<ServiceError | null> =>
  new Promise((resolve) => {
    const call = client.list({ snapshotter: '', filters: [] });
    call.on('data', () => undefined);
    call.on('end', () => resolve(null));
    call.on('error', (fault: ServiceError) => resolve(fault));
  });

const arrived = (calls: number) => expect.poll(() => server.load().calls).toBe(calls);

test('calls that waited begin in the order of their arrival, then each at once', async () => {
  await serveWith(null);
  const calls: Promise<unknown>[] = [];
  for (const key of ['a', 'b', 'c']) {
    calls.push(stat(key).catch((fault: unknown) => (fault as ServiceError).details));
    await arrived(calls.length);
  }
  const list = listed();
  await arrived(4);
  expect(begun).toEqual([]);
  answered();
  expect(await Promise.all(calls)).toEqual(['a', 'b', 'c']);
  expect(await list).toBeNull();
  expect(begun).toEqual(['a', 'b', 'c', 'list']);
  await expect(stat('d')).rejects.toMatchObject({ details: 'd' });
});

test('a call whose budget is spent is answered, and never begins', async () => {
  await serveWith(50);
  await expect(stat('late')).rejects.toMatchObject({
    code: status.DEADLINE_EXCEEDED,
    details: 'Stat exceeded its budget of 50 ms; try again',
  });
  expect(await listed()).toMatchObject({ code: status.DEADLINE_EXCEEDED });
  answered();
  await expect(stat('after')).rejects.toMatchObject({ code: status.NOT_FOUND });
  expect(begun).toEqual(['after']);
});

test('a call whose client leaves never begins', async () => {
  await serveWith(null);
  const call = client.stat({ snapshotter: '', key: 'gone' }, () => undefined);
  await arrived(1);
  call.cancel();
  await arrived(0);
  answered();
  await expect(stat('after')).rejects.toMatchObject({ code: status.NOT_FOUND });
  expect(begun).toEqual(['after']);
});

test('all are refused with the reason when it will never answer', async () => {
  await serveWith(null);
  const waiting = stat('early');
  const list = listed();
  await arrived(2);
  service.refuse(new NotBegun('the daemon cannot start: no'));
  const refused = { code: status.UNAVAILABLE, details: 'the daemon cannot start: no' };
  await expect(waiting).rejects.toMatchObject(refused);
  expect(await list).toMatchObject(refused);
  await expect(stat('later')).rejects.toMatchObject(refused);
});

test('the wait counts into the budget of the call that begins after it', async () => {
  await serveWith(null);
  const waiting = stat('a').catch((fault: unknown) => (fault as ServiceError).details);
  await arrived(1);
  await new Promise((resolve) => setTimeout(resolve, 100));
  const slowStat: SnapshotsServer['stat'] = (call, callback) => {
    // All of it is spent: the signal comes before a timer that would be first otherwise.
    const context = new CallContext(call, 'Stat', 100);
    const end = (details: string): void => callback({ code: status.NOT_FOUND, details });
    context.signal.addEventListener('abort', () => end(String(context.signal.reason)));
    setTimeout(() => end('not spent'), 50);
  };
  service.answerWith({ stat: slowStat });
  expect(await waiting).toContain('exceeded its budget of 100 ms');
});

test('each method of the snapshots service has a budget', () => {
  expect(Object.keys(budgetNames).sort()).toEqual(Object.keys(strictSnapshotsService).sort());
});
