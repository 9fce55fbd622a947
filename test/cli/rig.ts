/** The built command, roots with real events, and a daemon, for the tests of this folder. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createHash, randomUUID } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { credentials, type ServiceError } from '@grpc/grpc-js';
import { Daemon, repository, type DaemonOptions } from '../../scripts/rig/daemon.js';
import { Workspace } from '../../scripts/rig/workspace.js';
import { SnapshotsClient } from '../../src/api/generated/containerd/services/snapshots/v1/snapshots.js';
import type { Clock } from '../../src/base/ports.js';
import { streamVersion, unixNanos } from '../../src/base/units.js';
import { systemClock } from '../../src/host/process/clock.js';
import { systemDisk } from '../../src/host/files/disk.js';
import { openLog } from '../../src/log/log.js';
import type { EventBody } from '../../src/log/types.js';

const cleanups: (() => unknown)[] = [];

/** For `afterEach`: cleans up in reverse order. */
export async function cleanUp(): Promise<void> {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
}

/** Registers a cleanup, which runs before those registered earlier. */
export function later(cleanup: () => unknown): void {
  cleanups.push(cleanup);
}

export async function aDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'stratalog-cli-'));
  cleanups.push(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

export const cliPath = join(repository, 'dist', 'bin', 'stratalog.cjs');
/** The last file that a build writes. */
const builtLast = join(repository, 'dist', 'bin', 'program.code');

/** For `beforeAll`: builds the command if it is missing or older than its sources. */
export async function builtCli(): Promise<void> {
  const name = createHash('sha256').update(repository).digest('hex').slice(0, 12);
  const lock = join(tmpdir(), `stratalog-build-${name}`);
  for (;;) {
    if (isBuilt()) return;
    if (tryLock(lock)) break;
    await sleep(200);
  }
  try {
    if (isBuilt()) return;
    await promisify(execFile)('npm', ['run', '--silent', 'build'], { cwd: repository });
  } finally {
    rmSync(lock, { recursive: true, force: true });
  }
}

export const buildLimitMillis = 240_000;

function tryLock(path: string): boolean {
  try {
    mkdirSync(path);
    return true;
  } catch {
    // Left by a test run that was killed.
    const age = Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0);
    if (age > buildLimitMillis) rmSync(path, { recursive: true, force: true });
    return false;
  }
}

function isBuilt(): boolean {
  if (!existsSync(builtLast)) return false;
  const source = join(repository, 'src');
  const newest = readdirSync(source, { recursive: true, encoding: 'utf8' })
    .filter((path) => /\.(ts|html|css|svg)$/.test(path))
    .map((path) => statSync(join(source, path), { throwIfNoEntry: false })?.mtimeMs ?? 0)
    .reduce((one, other) => Math.max(one, other), 0);
  return statSync(builtLast).mtimeMs >= newest;
}

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const plainEnvironment = { PATH: process.env['PATH'] ?? '' };

/** Runs the built command, without the environment of the tests. */
export function stratalog(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Outcome> {
  return outcomeOf(process.execPath, [cliPath, ...args], env);
}

/** Runs a line of shell in which `stratalog` is the built command. */
export function shell(line: string): Promise<Outcome> {
  const program = `stratalog() { "${process.execPath}" "${cliPath}" "$@"; }\n${line}`;
  return outcomeOf('bash', ['--norc', '-c', program], {});
}

function outcomeOf(
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<Outcome> {
  return new Promise((resolve) => {
    const options = { env: { ...plainEnvironment, ...env }, timeout: 25_000 };
    const child = execFile(program, [...args], options, (_error, stdout, stderr) => {
      resolve({ code: child.exitCode ?? -1, stdout, stderr });
    });
  });
}

/** A running command, and its output so far. */
export interface Running {
  readonly child: ChildProcess;
  lines(): string[];
  readonly ended: Promise<number | null>;
}

export interface StartOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** `pipe`: stays open until the child is killed. */
  readonly stdin?: 'ignore' | 'pipe';
}

export function started(
  args: readonly string[],
  { env = {}, stdin = 'ignore' }: StartOptions = {},
): Running {
  const child = spawn(process.execPath, [cliPath, ...args], {
    env: { ...plainEnvironment, ...env },
    stdio: [stdin, 'pipe', 'pipe'],
  });
  let text = '';
  child.stdout?.on('data', (bytes: Buffer) => {
    text += bytes.toString();
  });
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  cleanups.push(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  return { child, lines: () => text.split('\n').slice(0, -1), ended };
}

/** Parses one JSON object per line. */
export function jsonLines(text: string): Record<string, unknown>[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

export interface TestEvent {
  readonly stream: string;
  readonly type: string;
  readonly data?: EventBody;
  readonly schemaVersion?: number;
}

/** Appends real events to a root on the real disk, each durable in its own sync group. */
export async function appendTo(
  root: string,
  events: readonly TestEvent[],
  clock: Clock = systemClock(),
): Promise<void> {
  const versions = new Map<string, number>();
  const { log } = await openLog({
    root,
    disk: systemDisk(),
    clock,
    uuid: randomUUID,
    writtenBy: 'stratalog 0.1.0',
    segmentBytes: 4096,
    onCheckpoint: () => Promise.resolve(),
    onRecords: (batch) => {
      for (const record of batch) versions.set(record.stream, record.streamVersion + 1);
    },
    onWarning: () => undefined,
  });
  try {
    for (const { stream, type, data = {}, schemaVersion = 1 } of events) {
      const version = versions.get(stream) ?? 0;
      versions.set(stream, version + 1);
      const expectedVersion = streamVersion(version);
      const event = { stream, expectedVersion, type, schemaVersion, data };
      await log.append([event], { sync: true }).durable;
    }
  } finally {
    await log.close();
  }
}

/** A clock that starts at the given time and runs normally. */
export function clockFrom(begin: string): Clock {
  const clock = systemClock();
  const offset = BigInt(Date.parse(begin)) * 1_000_000n - clock.now();
  return { ...clock, now: () => unixNanos(clock.now() + offset) };
}

/** A new root with these events in its log, and an empty `snapshots`. */
export async function aRoot(events: readonly TestEvent[], clock?: Clock): Promise<string> {
  const root = join(await aDirectory(), 'root');
  await appendTo(root, events, clock);
  mkdirSync(join(root, 'snapshots'));
  return root;
}

const caller = { namespace: 'default', pid: 7 };

export const preparing = (id: number, key: string, more: EventBody = {}): TestEvent => ({
  stream: `snapshot-${id}`,
  type: 'SnapshotPreparing',
  data: {
    ...{ id, kind: 'active', key, parent: null, labels: {}, remote: null, idMapping: null },
    ...{ caller, ...more },
  },
});

export const prepared = (id: number): TestEvent => ({
  stream: `snapshot-${id}`,
  type: 'SnapshotPrepared',
});

export const committing = (id: number, name: string): TestEvent => ({
  stream: `snapshot-${id}`,
  type: 'SnapshotCommitting',
  data: { name, labels: {}, parent: null, caller },
});

export const committed = (id: number, name: string, more: EventBody = {}): TestEvent => ({
  stream: `snapshot-${id}`,
  type: 'SnapshotCommitted',
  data: {
    ...{ name, labels: {}, usage: { size: 4096, inodes: 2 }, parent: null, remote: null },
    ...{ owner: { uid: 0, gid: 0 }, durability: 'data', ...more },
  },
});

export const removing = (id: number, deferred = false): TestEvent => ({
  stream: `snapshot-${id}`,
  type: 'SnapshotRemoving',
  data: { deferred, caller },
});

export const daemonStarted = (settings: EventBody = {}): TestEvent => ({
  stream: 'daemon',
  type: 'DaemonStarted',
  data: {
    ...{ release: '0.1.0', node: 'v20', pid: 1, epoch: 1, replayed: 0, checkpoint: null },
    settings,
  },
});

/** Creates the directory of a committed snapshot. */
export function aCommitted(root: string, id: number): void {
  mkdirSync(join(root, 'snapshots', String(id), 'fs'), { recursive: true });
}

/** The real daemon, not started. */
export async function aDaemonToBe(options: DaemonOptions = {}): Promise<Daemon> {
  const workspace = await Workspace.create('stratalog-cli-');
  cleanups.push(() => workspace.close());
  return Daemon.stratalog(workspace, options);
}

/** The real daemon, started. */
export async function aDaemon(options: DaemonOptions = {}): Promise<Daemon> {
  const daemon = await aDaemonToBe(options);
  await daemon.start();
  return daemon;
}

export interface Asked {
  prepare(key: string, parent?: string): Promise<unknown>;
  commit(name: string, key: string): Promise<unknown>;
  remove(key: string): Promise<unknown>;
}

/** A client that makes the calls of containerd. */
export function askedOf(daemon: Pick<Daemon, 'address'>): Asked {
  const client = new SnapshotsClient(`unix:${daemon.address}`, credentials.createInsecure());
  cleanups.push(() => {
    client.close();
  });
  const of = { snapshotter: 'stratalog', labels: new Map<string, string>() };
  return {
    prepare: (key, parent = '') => promised((done) => client.prepare({ ...of, key, parent }, done)),
    commit: (name, key) =>
      promised((done) => client.commit({ ...of, name, key, parent: '' }, done)),
    remove: (key) => promised((done) => client.remove({ ...of, key }, done)),
  };
}

function promised(
  call: (done: (error: ServiceError | null, response: unknown) => void) => unknown,
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    call((error, response) => {
      if (error) reject(error);
      else resolve(response);
    });
  });
}
