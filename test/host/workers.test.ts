/**
 * Goal: a call that hangs costs its own thread and nothing else. Method: real threads, blocked in
 * open(2) on a FIFO, which is as stuck as a dead file server and can be set free again.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { InvariantBroken } from '../../src/base/assert.js';
import { HostFault } from '../../src/base/errors.js';
import { jobModule } from '../../src/host/threads/job-module.js';
import { WorkerPool } from '../../src/host/threads/workers.js';
import type * as testJobs from './fixtures/jobs.js';
import { codeOf, temporaryDirectory } from './support.js';
import type { TemporaryDirectory } from './support.js';

const jobs = jobModule<typeof testJobs>(new URL('./fixtures/jobs.js', import.meta.url));
const small = { threads: 1, lostMax: 1, waitingMax: 2 };

let directory: TemporaryDirectory;
let fifo: string;
let pool: WorkerPool;

beforeEach(() => {
  directory = temporaryDirectory();
  fifo = `${directory.path}/fifo`;
  execFileSync('mkfifo', [fifo]);
  pool = new WorkerPool({ mount: small });
});

afterEach(async () => {
  expect(await freeUntil(pool.close())).toBe(0);
  directory.remove();
});

/** Opening both ends sets every reader free that waits in open(2) now. */
function freeAll(): void {
  fs.closeSync(fs.openSync(fifo, 'r+'));
}

const run = <Name extends keyof typeof testJobs>(
  name: Name,
  input: Parameters<(typeof testJobs)[Name]>[0],
  lane: 'fast' | 'mount' = 'mount',
  signal?: AbortSignal,
) => pool.run(jobs, name, input as never, { lane, path: '/job', signal });

/** How many jobs have come to the point where they hang. */
function arrived(): number {
  return fs.existsSync(`${fifo}.readers`) ? fs.statSync(`${fifo}.readers`).size : 0;
}

/** Frees every job until all of them are done: each opening frees only those that wait already. */
async function freeUntil<Value>(done: Promise<Value>): Promise<Value> {
  const freeing = setInterval(freeAll, 10);
  try {
    return await done;
  } finally {
    clearInterval(freeing);
  }
}

/** Lost threads may only be about to open the FIFO, so it is opened until all are back. */
async function freed(): Promise<void> {
  await freeUntil(until(() => pool.state('mount').lost === 0));
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 25_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error('waited in vain');
    await sleep(5);
  }
}

test('carries plain data, bytes and big numbers there and back', async () => {
  const input = {
    text: 'ü',
    bytes: new Uint8Array([0, 255]),
    big: 2n ** 70n,
    map: new Map([[1, 2]]),
  };
  expect(await run('echo', input)).toEqual(input);
});

test('a fault keeps its class, code and path across the thread border', async () => {
  const error = await run('failWith', 'ESTALE').catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(HostFault);
  expect(error).toMatchObject({ code: 'ESTALE', path: '/somewhere', operation: 'test' });
});

test('a broken invariant stays a broken invariant', async () => {
  await expect(run('breakInvariant', undefined as never)).rejects.toBeInstanceOf(InvariantBroken);
});

test('a hanging job does not delay the other lanes', async () => {
  const hanging = run('openFifo', fifo);
  await run('echo', 1, 'fast');
  await until(() => arrived() === 1);
  for (let count = 0; count < 100; count += 1) await run('echo', count, 'fast');
  expect(pool.state('mount').running).toBe(1);
  expect(await freeUntil(hanging)).toBe('opened');
});

test('hanging jobs leave the log its libuv threads', async () => {
  const pools = new WorkerPool();
  const hanging = Array.from({ length: 8 }, () =>
    pools.run(jobs, 'openFifo', fifo, { lane: 'mount', path: fifo }),
  );
  await until(() => arrived() === 8);
  for (let count = 0; count < 20; count += 1) await fs.promises.stat(directory.path);
  expect(await freeUntil(Promise.all(hanging))).toHaveLength(8);
  expect(await pools.close()).toBe(0);
});

test('an aborted job rejects at once with the reason, and another thread takes over', async () => {
  const controller = new AbortController();
  const hanging = run('openFifo', fifo, 'mount', controller.signal);
  await until(() => arrived() === 1);
  const reason = new Error('enough');
  const start = performance.now();
  controller.abort(reason);
  await expect(hanging).rejects.toBe(reason);
  expect(pool.state('mount')).toEqual({ running: 1, waiting: 0, lost: 0 });
  // This one waits until the thread is known to hang.
  expect(await run('echo', 'after')).toBe('after');
  expect(performance.now() - start).toBeGreaterThan(900);
  expect(pool.state('mount')).toEqual({ running: 0, waiting: 0, lost: 1 });
  await freed();
});

test('refuses with EAGAIN and the number once too many threads hang, and recovers', async () => {
  for (let count = 0; count < 2; count += 1) {
    const controller = new AbortController();
    const hanging = run('openFifo', fifo, 'mount', controller.signal);
    controller.abort(new Error('enough'));
    await expect(hanging).rejects.toThrow('enough');
    await until(() => pool.state('mount').lost === count + 1);
  }
  const refused = await run('echo', 1).catch((thrown: unknown) => thrown);
  expect(refused).toMatchObject({ code: 'EAGAIN', path: '/job' });
  expect(String(refused)).toContain('2 threads hang in the lane mount');
  expect(await run('echo', 'other lane', 'fast')).toBe('other lane');
  await freed();
  expect(await run('echo', 'again')).toBe('again');
});

test('a burst of jobs that are given up at once costs the other callers nothing', async () => {
  const burst = new WorkerPool();
  const options = { lane: 'fast', path: '/job' } as const;
  try {
    const givenUp: Promise<unknown>[] = [];
    for (let count = 0; count < 300; count += 1) {
      const controller = new AbortController();
      const { signal } = controller;
      givenUp.push(burst.run(jobs, 'echo', count, { ...options, signal }));
      setTimeout(() => {
        controller.abort(new Error('enough'));
      }, count % 12);
    }
    const outcomes = Promise.allSettled(givenUp);
    // Behind the burst, so that all threads have jobs that are given up.
    const numbers = Array.from({ length: 30 }, (_each, index) => index);
    const others = numbers.map((number) => burst.run(jobs, 'echo', number, options));
    expect(await Promise.all(others)).toEqual(numbers);
    await outcomes;
    expect(await burst.run(jobs, 'echo', 'after', options)).toBe('after');
    expect(burst.state('fast').lost).toBe(0);
  } finally {
    await burst.close();
  }
});

test('a job that ends soon after it was given up does not cost its thread', async () => {
  const controller = new AbortController();
  const hanging = run('openFifo', fifo, 'mount', controller.signal);
  await until(() => arrived() === 1);
  controller.abort(new Error('enough'));
  await expect(hanging).rejects.toThrow('enough');
  const behind = run('echo', 'behind');
  expect(pool.state('mount')).toEqual({ running: 1, waiting: 1, lost: 0 });
  expect(await freeUntil(behind)).toBe('behind');
  await sleep(1_200);
  expect(pool.state('mount')).toEqual({ running: 0, waiting: 0, lost: 0 });
});

test('a job given up while it waits costs no thread', async () => {
  const running = new AbortController();
  const waiting = new AbortController();
  const outcomes = Promise.allSettled([
    run('openFifo', fifo, 'mount', running.signal),
    run('openFifo', fifo, 'mount', waiting.signal),
  ]);
  waiting.abort(new Error('enough'));
  expect(pool.state('mount')).toEqual({ running: 1, waiting: 0, lost: 0 });
  running.abort(new Error('enough'));
  await until(() => pool.state('mount').lost === 1);
  expect(pool.state('mount')).toEqual({ running: 0, waiting: 0, lost: 1 });
  expect((await outcomes).map((each) => each.status)).toEqual(['rejected', 'rejected']);
  await freed();
});

test('jobs that wait are refused, too, when the last thread is lost', async () => {
  const controllers = [new AbortController(), new AbortController()];
  const outcomes = Promise.allSettled(
    controllers.map((each) => run('openFifo', fifo, 'mount', each.signal)),
  );
  const behind = codeOf(run('echo', 1));
  // The first loss gives the second job a thread of its own, and the second abort loses that.
  for (const [index, each] of controllers.entries()) {
    await until(() => arrived() === index + 1);
    each.abort(new Error('enough'));
  }
  expect(await behind).toBe('EAGAIN');
  expect((await outcomes).map((each) => each.status)).toEqual(['rejected', 'rejected']);
  await freed();
});

test('refuses more waiting jobs than the lane holds', async () => {
  const hanging = run('openFifo', fifo);
  const waiting = [run('echo', 1), run('echo', 2)];
  const refused = await run('echo', 3).catch((thrown: unknown) => thrown);
  expect(refused).toMatchObject({ code: 'EAGAIN' });
  expect(String(refused)).toContain('2 jobs are queued');
  expect(await freeUntil(hanging)).toBe('opened');
  expect(await Promise.all(waiting)).toEqual([1, 2]);
});

test('tells a long job that nobody waits any more', async () => {
  const marker = `${directory.path}/marker`;
  const controller = new AbortController();
  const spinning = run('spinUntilAborted', marker, 'mount', controller.signal);
  controller.abort(new Error('enough'));
  await expect(spinning).rejects.toThrow('enough');
  await until(() => fs.existsSync(marker));
  await until(() => pool.state('mount').lost === 0);
});

test('survives the crash of a thread: its job fails, the next one runs', async () => {
  expect(await codeOf(run('die', undefined as never))).toBe('EOWNERDEAD');
  expect(await run('echo', 'alive')).toBe('alive');
  expect(pool.state('mount')).toEqual({ running: 0, waiting: 0, lost: 0 });
});

test('an unknown job fails by its name', async () => {
  const unknown = jobModule<{ missing(): void }>(new URL('./fixtures/jobs.js', import.meta.url));
  const options = { lane: 'fast', path: '/job' } as const;
  await expect(pool.run(unknown, 'missing', undefined, options)).rejects.toThrow('no job missing');
});

test('input that cannot be cloned fails that job alone', async () => {
  await expect(run('echo', () => 1)).rejects.toThrow('could not be cloned');
  expect(await run('echo', 1)).toBe(1);
});

test('an aborted signal starts nothing', async () => {
  await expect(run('echo', 1, 'mount', AbortSignal.abort(new Error('before')))).rejects.toThrow(
    'before',
  );
  expect(pool.state('mount').running).toBe(0);
});

test('close cancels what runs and waits, counts what hangs, and refuses the rest', async () => {
  const closing = new WorkerPool({ mount: small });
  const options = { lane: 'mount', path: '/job' } as const;
  const hanging = closing.run(jobs, 'openFifo', fifo, options);
  const waiting = closing.run(jobs, 'echo', 1, options);
  const codes = Promise.all([codeOf(hanging), codeOf(waiting)]);
  await until(() => arrived() === 1);
  await sleep(50);
  expect(await closing.close()).toBe(1);
  expect(await codes).toEqual(['ECANCELED', 'ECANCELED']);
  expect(await codeOf(closing.run(jobs, 'echo', 1, options))).toBe('ECANCELED');
  freeAll();
});

const loader = ['--import', 'tsx'];
const fixture = (name: string): string => new URL(`./fixtures/${name}`, import.meta.url).pathname;

test('a process whose threads idle ends by itself', () => {
  const ended = spawnSync(process.execPath, [...loader, fixture('ends-by-itself.ts')], {
    encoding: 'utf8',
    timeout: 20_000,
  });
  expect(ended).toMatchObject({ status: 0, stdout: 'true\n' });
});

test('a process with a hanging thread ends by endProcess', () => {
  const ended = spawnSync(process.execPath, [...loader, fixture('ends-while-hanging.ts'), fifo], {
    encoding: 'utf8',
    timeout: 20_000,
  });
  expect(ended).toMatchObject({ status: 41 });
});
