/**
 * Goal: a process is told apart from the next one with its pid, and what it sees of our mounts is
 * found out. Method: real processes, in real mount namespaces and behind chroot(2).
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ProcessId } from '../../src/base/ports.js';
import { startTicks, systemProcesses } from '../../src/host/process/processes.js';
import { WorkerPool } from '../../src/host/threads/workers.js';
import { until } from '../support/daemon.js';

const pool = new WorkerPool();
const processes = systemProcesses(pool);
afterAll(() => pool.close());

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

let directory: string;
beforeEach(() => {
  directory = realpathSync(mkdtempSync(join(tmpdir(), 'stratalog-processes-')));
  cleanups.push(() => {
    rmSync(directory, { recursive: true, force: true });
  });
});

async function started(...command: readonly string[]): Promise<ChildProcess & { pid: number }> {
  const [program = '', ...words] = command;
  const child = spawn(program, words, { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  cleanups.push(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  // It says when it has come as far as it should.
  await new Promise((resolve) => child.stdout.once('data', resolve));
  if (child.pid === undefined) throw new Error('it has no pid');
  return Object.assign(child, { pid: child.pid });
}

const SLEEPS = 'echo; exec sleep 600';
/** Until its input ends. */
const WAITS = 'echo; read x';

function idOf(pid: number): ProcessId {
  const startedAt = processes.startOf(pid);
  if (startedAt === null) throw new Error(`process ${pid} is not there`);
  return { pid, startedAt };
}

function mount(...words: readonly string[]): void {
  execFileSync('mount', words);
  const mountpoint = words.at(-1) ?? '';
  cleanups.push(() => {
    execFileSync('umount', ['--lazy', mountpoint]);
  });
}

/** A directory in which mounts propagate only as a test asks for. */
function ownMount(propagation: 'private' | 'shared'): void {
  mount('--bind', directory, directory);
  execFileSync('mount', [`--make-${propagation}`, directory]);
}

describe('the start of a process', () => {
  it('tells it from every other one', async () => {
    const child = await started('sh', '-c', SLEEPS);
    const id = idOf(child.pid);
    expect(id.startedAt).toMatch(/^[0-9a-f]{8}-\d+$/);
    expect(processes.startOf(child.pid)).toBe(id.startedAt);
    expect(processes.statusOf(id)).toBe('running');
    expect(processes.statusOf({ ...id, startedAt: `${id.startedAt}1` })).toBe('ended');
    const otherBoot = id.startedAt.replace(/^./, (digit) => (digit === '0' ? '1' : '0'));
    expect(processes.statusOf({ ...id, startedAt: otherBoot })).toBe('ended');
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
    expect(processes.statusOf(id)).toBe('ended');
    expect(processes.startOf(id.pid)).toBeNull();
  });

  it('is that of no process for a pid that is none', () => {
    expect([0, -1, 2 ** 22 + 1].map((pid) => processes.startOf(pid))).toEqual([null, null, null]);
  });

  it('is gone with a process that nobody has waited for', async () => {
    // The shell becomes a program that does not wait for its child.
    const parent = await started('sh', '-c', `sleep 0 & ${SLEEPS}`);
    const children = `/proc/${parent.pid}/task/${parent.pid}/children`;
    const zombie = Number(execFileSync('cat', [children], { encoding: 'utf8' }).trim());
    const state = () => execFileSync('cat', [`/proc/${zombie}/stat`], { encoding: 'utf8' });
    await until('it has ended', () => / Z /.test(state()));
    expect(processes.startOf(zombie)).toBeNull();
  });

  const rest = '0 0 0 0 0 0 0 0 0 0 0 0 0 0 0';
  it.each([
    ['a plain name', `7 (sleep) S 1 ${rest} 1 0 4242 0`, '4242'],
    ['a name that looks like the fields after it', `7 (a) Z 1 (b) R 1 ${rest} 1 0 4242 0`, '4242'],
    ['a zombie', `7 (sleep) Z 1 ${rest} 1 0 4242 0`, null],
    ['one whose first thread has ended', `7 (go) Z 1 ${rest} 8 0 4242 0`, '4242'],
    ['one that is being taken away', `7 (sleep) X 1 ${rest} 0 0 4242 0`, null],
    ['what is none', 'nothing of the sort', null],
  ])('is read of %s', (_what, stat, ticks) => {
    expect(startTicks(stat)).toBe(ticks);
  });
});

describe('the program of a process', () => {
  it('is the same when it is started again, and another with other words', async () => {
    const [first, again] = [await started('sh', '-c', WAITS), await started('sh', '-c', WAITS)];
    const other = await started('sh', '-c', `${WAITS};`);
    const [program = null, ...others] = await Promise.all(
      [first, again, other].map(({ pid }) => processes.programOf(pid)),
    );
    expect(program).toMatch(/^sh-[0-9a-f]{8}$/);
    expect(others[0]).toBe(program);
    expect(others[1]).toMatch(/^sh-[0-9a-f]{8}$/);
    expect(others[1]).not.toBe(program);
  });

  it('is found as long as a process runs it', async () => {
    // Its command line is this test's own.
    const named = await started('sh', '-c', WAITS, directory);
    const program = (await processes.programOf(named.pid)) ?? '';
    expect(await processes.findProgram(program)).toEqual(idOf(named.pid));
    const ended = new Promise((resolve) => named.once('exit', resolve));
    named.kill('SIGKILL');
    await ended;
    expect(await processes.findProgram(program)).toBeNull();
    expect(await processes.programOf(named.pid)).toBeNull();
    // This process itself is no other one.
    expect(await processes.findProgram((await processes.programOf(process.pid)) ?? '')).not.toEqual(
      idOf(process.pid),
    );
  });
});

describe('what a process sees of our mounts', () => {
  const tmpfs = (name: string): string => {
    const mountpoint = join(directory, name);
    mkdirSync(mountpoint);
    mount('-t', 'tmpfs', 'none', mountpoint);
    return mountpoint;
  };

  it('is the same in the same mount namespace', async () => {
    const child = await started('sh', '-c', SLEEPS);
    expect(processes.mountViewOf(idOf(child.pid))).toBe('ours');
    expect(processes.mountViewOf(idOf(process.pid))).toBe('ours');
    const mountpoint = tmpfs('later');
    expect(await processes.hiddenFrom(child.pid, [mountpoint])).toEqual([]);
  });

  it('is unknown of a process that has ended, or whose pid another one has', async () => {
    const child = await started('sh', '-c', SLEEPS);
    const id = idOf(child.pid);
    expect(processes.mountViewOf({ ...id, startedAt: '00000000-1' })).toBe('unknown');
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
    expect(processes.mountViewOf(id)).toBe('unknown');
  });

  it.each(['private', 'slave'])('ends with the moment it left ours, as %s', async (propagation) => {
    ownMount('private');
    const before = tmpfs('before');
    const unshare = ['unshare', '--mount', '--propagation', propagation];
    const child = await started(...unshare, 'sh', '-c', SLEEPS);
    const after = tmpfs('after');
    expect(processes.mountViewOf(idOf(child.pid))).toBe('other');
    expect(await processes.hiddenFrom(child.pid, [before, after])).toEqual([after]);
    const table = await processes.mountsOf(child.pid);
    const seen = table.map(({ mountpoint }) => mountpoint);
    expect([seen.includes(before), seen.includes(after)]).toEqual([true, false]);
  });

  it('goes on where mounts propagate to it', async () => {
    ownMount('shared');
    const unshare = ['unshare', '--mount', '--propagation', 'slave'];
    const child = await started(...unshare, 'sh', '-c', SLEEPS);
    const after = tmpfs('after');
    expect(processes.mountViewOf(idOf(child.pid))).toBe('other');
    expect(await processes.hiddenFrom(child.pid, [after])).toEqual([]);
    const ours = await processes.mountsOf(process.pid);
    const theirs = await processes.mountsOf(child.pid);
    const [from, to] = [ours, theirs].map((table) =>
      table.find(({ mountpoint }) => mountpoint === directory),
    );
    expect(from?.peerGroup).toEqual(expect.any(Number));
    expect([to?.peerGroup, to?.master]).toEqual([null, from?.peerGroup]);
  });

  it('is hidden by what it has mounted over it', async () => {
    ownMount('private');
    const before = tmpfs('before');
    const covers = `mount -t tmpfs none ${directory} && ${SLEEPS}`;
    const child = await started(
      'unshare',
      '--mount',
      '--propagation',
      'private',
      'sh',
      '-c',
      covers,
    );
    expect(await processes.hiddenFrom(child.pid, [before])).toEqual([before]);
    // The mount table alone would not show it.
    const table = await processes.mountsOf(child.pid);
    expect(table.some(({ mountpoint }) => mountpoint === before)).toBe(true);
  });

  it('is another behind chroot(2), though the mount namespace is the same', async () => {
    const jail = join(directory, 'jail');
    mkdirSync(join(jail, 'bin'), { recursive: true });
    execFileSync('cp', ['/bin/busybox', join(jail, 'bin', 'sh')]);
    writeFileSync(join(directory, 'file'), '');
    const child = await started('chroot', jail, '/bin/sh', '-c', WAITS);
    expect(processes.mountViewOf(idOf(child.pid))).toBe('other');
    expect(await processes.hiddenFrom(child.pid, [directory])).toEqual([directory]);
    const shown = join(jail, directory);
    mkdirSync(shown, { recursive: true });
    mount('--rbind', directory, shown);
    expect(await processes.hiddenFrom(child.pid, [directory])).toEqual([]);
  });
});
