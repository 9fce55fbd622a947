/**
 * Goal: a thread that cannot start, or dies, is reported with its cause, costs its job and nothing
 * else, and is forgotten once another one starts. Method: real threads in a process whose working
 * directory is deleted: Node.js starts none there.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { HostFault } from '../../src/base/errors.js';
import { jobModule } from '../../src/host/threads/job-module.js';
import { WorkerPool } from '../../src/host/threads/workers.js';
import type * as testJobs from './fixtures/jobs.js';
import { temporaryDirectory, type TemporaryDirectory } from './support.js';

const jobs = jobModule<typeof testJobs>(new URL('./fixtures/jobs.js', import.meta.url));
const start = process.cwd();

let directory: TemporaryDirectory;
let pool: WorkerPool;
let reports: (string | null)[];

beforeEach(() => {
  directory = temporaryDirectory();
  reports = [];
  const size = { threads: 2, lostMax: 1, waitingMax: 10 };
  pool = new WorkerPool({ mount: size, fast: size }, (reason) => reports.push(reason));
});

afterEach(async () => {
  process.chdir(start);
  await pool.close();
  directory.remove();
});

const run = <Name extends keyof typeof testJobs>(
  name: Name,
  input: Parameters<(typeof testJobs)[Name]>[0],
  lane: 'fast' | 'mount' = 'mount',
) => pool.run(jobs, name, input as never, { lane, path: '/job' });

function deleteWorkingDirectory(): void {
  const gone = `${directory.path}/gone`;
  fs.mkdirSync(gone);
  process.chdir(gone);
  fs.rmdirSync(gone);
}

test('a thread that does not start fails its job with the cause, and is reported', async () => {
  deleteWorkingDirectory();
  const fault = await run('echo', 1).catch((thrown: unknown) => thrown);
  expect(fault).toBeInstanceOf(HostFault);
  // Not ENOENT, which would say that what the job is about is not there.
  expect(fault).toMatchObject({ operation: 'echo', path: '/job', code: 'EOWNERDEAD' });
  expect(String(fault)).toMatch(
    /echo \/job: worker thread failed to start: the working directory was deleted .*; run from another directory$/,
  );
  expect(reports).toEqual([
    expect.stringMatching(/^worker thread failed to start: the working directory was deleted/),
  ]);
  // Each further job is tried, and the same report is not repeated.
  await expect(run('echo', 2)).rejects.toThrow('failed to start');
  expect(reports).toHaveLength(1);
});

test('threads are tried until one starts again, without any job', async () => {
  deleteWorkingDirectory();
  await expect(run('echo', 1)).rejects.toThrow('failed to start');
  process.chdir(directory.path);
  await expect.poll(() => reports, { timeout: 20_000 }).toHaveLength(2);
  expect(reports[1]).toBeNull();
  expect(await run('echo', 2)).toBe(2);
});

test('the threads that are left do the work of those that do not start', async () => {
  const fifo = `${directory.path}/fifo`;
  execFileSync('mkfifo', [fifo]);
  const first = run('openFifo', fifo);
  await expect.poll(() => fs.existsSync(`${fifo}.readers`), { timeout: 20_000 }).toBe(true);
  deleteWorkingDirectory();
  const others = [run('echo', 1), run('echo', 2)];
  await expect.poll(() => reports, { timeout: 20_000 }).toHaveLength(1);
  // No thread is left in the other lane.
  await expect(run('echo', 3, 'fast')).rejects.toThrow('failed to start');
  expect(pool.state('mount')).toEqual({ running: 1, waiting: 2, lost: 0 });
  fs.closeSync(fs.openSync(fifo, 'r+'));
  expect(await Promise.all([first, ...others])).toEqual(['opened', 1, 2]);
});

test('a thread that dies is reported until another one has started', async () => {
  await expect(run('die', undefined as never)).rejects.toThrow(
    'die /job: worker thread died: the thread ended with code 3',
  );
  await expect.poll(() => reports, { timeout: 20_000 }).toHaveLength(2);
  expect(reports).toEqual(['worker thread died: the thread ended with code 3', null]);
  expect(await run('echo', 1)).toBe(1);
});

test('a pool that is closed tries no further thread', async () => {
  deleteWorkingDirectory();
  await expect(run('echo', 1)).rejects.toThrow('failed to start');
  await pool.close();
  process.chdir(directory.path);
  await expect(run('echo', 2)).rejects.toMatchObject({ code: 'ECANCELED' });
  expect(reports).toHaveLength(1);
});
