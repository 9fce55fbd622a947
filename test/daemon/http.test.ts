/** Goal: what an operator asks of a running daemon is answered. Method: real requests. */
import { lstat } from 'node:fs/promises';
import { request } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { startDebug, startMetrics } from '../../src/daemon/observe/debug.js';
import type { RunningHttp } from '../../src/daemon/observe/http.js';
import { Metrics } from '../../src/daemon/observe/metrics.js';
import { aDirectory, cleanUp, later } from '../api/rig.js';

afterEach(cleanUp);

interface Answer {
  readonly code: number;
  readonly type: string;
  readonly body: string;
}

function get(socketPath: string, path: string, method = 'GET'): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const call = request({ socketPath, path, method, agent: false }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text: string) => (body += text));
      response.on('end', () => {
        const type = response.headers['content-type'] ?? '';
        resolve({ code: response.statusCode ?? 0, type, body });
      });
      response.on('error', reject);
    });
    call.on('error', reject);
    call.end();
  });
}

const closing = (http: RunningHttp): RunningHttp => {
  later(() => http.close());
  return http;
};

async function aDebugSocket(): Promise<string> {
  const path = join(await aDirectory(), 'debug.sock');
  const actors = [{ snapshot: 7, effect: 'mountRemote', ageMillis: 12, position: 2n ** 60n }];
  closing(await startDebug(path, { actors: () => actors, vars: () => ({ logPosition: 42 }) }));
  return path;
}

const aMetrics = (): Metrics => new Metrics({ version: '0.1.0', processMetrics: true });

test('metrics have the names and labels that dashboards know', async () => {
  const metrics = aMetrics();
  metrics.request('Prepare', 'OK', 0.02);
  metrics.request('Prepare', 'OK', 0.2);
  metrics.request('Stat', 'NotFound', 0.0001);
  metrics.appended(3, 0.0003);
  metrics.effectFailed('mountRemote');
  let checkpointAge: number | null = null;
  let snapshots = [
    { kind: 'committed', state: 'available', count: 5 },
    { kind: 'active', state: 'active', count: 2 },
  ];
  metrics.readFrom({
    logPosition: () => 1234,
    logBytes: () => 65_536,
    checkpointAgeSeconds: () => checkpointAge,
    snapshots: () => snapshots,
    layersUnavailable: () => 1,
    directoryProblems: () => ({ setAside: 0, failing: 0 }),
    connections: () => 1,
    callsInFlight: () => 0,
    auditStreams: () => 0,
    clientFaults: () => ({ 'hidden mounts': 1, 'shared socket': 0 }),
    serving: () => ({ '': true, log: false }),
  });
  const http = closing(await startMetrics({ host: '127.0.0.1', port: 0 }, metrics));
  if ('path' in http.address) throw new Error('not a port');
  const url = `http://127.0.0.1:${http.address.port}/metrics`;
  const response = await fetch(url);
  expect(response.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/);
  const lines = (await response.text()).split('\n');
  expect(lines).toEqual(
    expect.arrayContaining([
      'stratalog_snapshot_requests_total{method="Prepare",code="OK"} 2',
      'stratalog_snapshot_requests_total{method="Stat",code="NotFound"} 1',
      'stratalog_snapshot_request_duration_seconds_bucket{le="0.025",method="Prepare"} 1',
      'stratalog_snapshot_request_duration_seconds_count{method="Prepare"} 2',
      'stratalog_log_group_commit_events_sum 3',
      'stratalog_log_append_duration_seconds_count 1',
      'stratalog_effect_failures_total{effect="mountRemote"} 1',
      'stratalog_log_position 1234',
      'stratalog_log_bytes 65536',
      'stratalog_snapshots{kind="committed",state="available"} 5',
      'stratalog_snapshots{kind="active",state="active"} 2',
      'stratalog_layers_unavailable 1',
      'stratalog_serving{name="server"} 1',
      'stratalog_serving{name="log"} 0',
      'stratalog_build_info{version="0.1.0"} 1',
    ]),
  );
  expect(lines.some((line) => line.startsWith('process_open_fds '))).toBe(true);
  expect(lines.filter((line) => line.startsWith('stratalog_checkpoint_age_seconds '))).toEqual([]);

  checkpointAge = 12.5;
  snapshots = [{ kind: 'active', state: 'active', count: 1 }];
  const again = (await (await fetch(url)).text()).split('\n');
  expect(again).toContain('stratalog_checkpoint_age_seconds 12.5');
  expect(again.filter((line) => line.startsWith('stratalog_snapshots{'))).toEqual([
    'stratalog_snapshots{kind="active",state="active"} 1',
  ]);
});

test('metrics on a unix socket; a busy port is a fault that names it', async () => {
  const path = join(await aDirectory(), 'metrics.sock');
  closing(await startMetrics({ path }, aMetrics()));
  expect((await lstat(path)).mode & 0o777).toBe(0o660);
  expect((await get(path, '/metrics')).body).toContain('stratalog_build_info');
  const http = closing(await startMetrics({ host: '127.0.0.1', port: 0 }, aMetrics()));
  await expect(startMetrics(http.address, aMetrics())).rejects.toThrow(/^listen 127.*EADDRINUSE$/);
});

test('unknown paths and methods are refused, with what there is', async () => {
  const path = await aDebugSocket();
  const unknown = await get(path, '/nothing');
  expect(unknown.code).toBe(404);
  expect(unknown.body).toContain('/debug/profile');
  expect((await get(path, '/debug/vars', 'POST')).code).toBe(405);
});

test('the debug socket is for its owner alone', async () => {
  expect((await lstat(await aDebugSocket())).mode & 0o777).toBe(0o600);
});

test('actors and vars are JSON', async () => {
  const path = await aDebugSocket();
  const actors = await get(path, '/debug/actors');
  expect(actors.type).toBe('application/json');
  expect(JSON.parse(actors.body)).toEqual([
    { snapshot: 7, effect: 'mountRemote', ageMillis: 12, position: '1152921504606846976' },
  ]);
  const vars = JSON.parse((await get(path, '/debug/vars')).body) as Record<string, unknown>;
  expect(vars).toMatchObject({ pid: process.pid, logPosition: 42 });
  expect(vars['descriptors']).toBeGreaterThan(3);
  expect(vars['memory']).toHaveProperty('heapUsed');
});

test('a profile holds what ran meanwhile', async () => {
  const path = await aDebugSocket();
  const busy = setInterval(function burnsTimeForTheProfile() {
    const end = performance.now() + 20;
    while (performance.now() < end);
  }, 25);
  later(() => clearInterval(busy));
  const answer = await get(path, '/debug/profile?seconds=0.5');
  const profile = JSON.parse(answer.body) as {
    nodes: { callFrame: { functionName: string } }[];
    startTime: number;
    endTime: number;
  };
  const names = profile.nodes.map((node) => node.callFrame.functionName);
  expect(names).toContain('burnsTimeForTheProfile');
  expect(profile.endTime - profile.startTime).toBeGreaterThan(400_000);
});

test('one profile at a time, and one whose client left makes room', async () => {
  const path = await aDebugSocket();
  const socket = connect(path);
  socket.write('GET /debug/profile?seconds=60 HTTP/1.1\r\nhost: x\r\n\r\n');
  await expect.poll(async () => (await get(path, '/debug/profile?seconds=0.01')).code).toBe(409);
  socket.destroy();
  await expect.poll(async () => (await get(path, '/debug/profile?seconds=0.01')).code).toBe(200);
  for (const seconds of ['0', '-1', 'x', '301', 'Infinity']) {
    expect((await get(path, `/debug/profile?seconds=${seconds}`)).code).toBe(400);
  }
});

test('the loop delay over a moment sees a block', async () => {
  const path = await aDebugSocket();
  // The first block may come before the server has begun to look, so they go on until it answers.
  const blocks = setInterval(() => {
    const end = performance.now() + 150;
    while (performance.now() < end);
  }, 50);
  const answer = await get(path, '/debug/loop?seconds=0.4').finally(() => {
    clearInterval(blocks);
  });
  const seen = JSON.parse(answer.body) as { delayMillis: { max: number } };
  expect(seen.delayMillis.max).toBeGreaterThan(120);
});

test('a heap snapshot is whole and has its form', async () => {
  const path = await aDebugSocket();
  const { body } = await get(path, '/debug/heap');
  const heap = JSON.parse(body) as { snapshot: { node_count: number }; nodes: number[] };
  expect(heap.snapshot.node_count).toBeGreaterThan(1000);
});
