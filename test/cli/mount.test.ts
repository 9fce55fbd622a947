/**
 * Goal: a snapshot is mounted read-only with its current content, and nothing is left after the
 * unmount. Method: the built command on the root of a daemon, with real overlays.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, expect, it } from 'vitest';
import { until } from '../../scripts/rig/wait.js';
import {
  aCommitted,
  aDaemon,
  aDirectory,
  aRoot,
  askedOf,
  builtCli,
  buildLimitMillis,
  cleanUp,
  committed,
  committing,
  prepared,
  preparing,
  started,
  stratalog,
} from './rig.js';

beforeAll(builtCli, buildLimitMillis);
afterEach(cleanUp);

interface Stack {
  readonly root: string;
  /** TMPDIR, where the mountpoints are created. */
  readonly tmp: string;
  readonly mount: (...args: string[]) => ReturnType<typeof stratalog>;
  readonly asked: ReturnType<typeof askedOf>;
}

/** 1 below 2 below the active 3; each hides a file of the one below. */
async function aStack(): Promise<Stack> {
  const daemon = await aDaemon({ config: 'preallocated_directories = 0\n' });
  const { root } = daemon;
  const asked = askedOf(daemon);
  const write = (id: number, name: string, text: string): void => {
    writeFileSync(join(root, 'snapshots', String(id), 'fs', name), text);
  };
  await asked.prepare('n/1/a');
  write(1, 'a', 'low');
  write(1, 'gone', 'low');
  await asked.commit('n/2/a', 'n/1/a');
  await asked.prepare('n/3/b', 'n/2/a');
  write(2, 'a', 'high');
  execFileSync('mknod', [join(root, 'snapshots', '2', 'fs', 'gone'), 'c', '0', '0']);
  await asked.commit('n/4/b', 'n/3/b');
  await asked.prepare('n/5/c', 'n/4/b');
  write(3, 'own', 'mine');
  const tmp = await aDirectory();
  const mount = (...args: string[]) =>
    stratalog(['mount', '--root', root, ...args], { TMPDIR: tmp });
  return { root, tmp, mount, asked };
}

function mountsIn(directory: string): string[] {
  const table = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  return table.filter((line) => line.split(' ')[4]?.startsWith(directory));
}

it('mounts an active snapshot with its layers for a command, and unmounts when it exits', async () => {
  const { mount, tmp } = await aStack();
  const look = await mount('n/5/c', '--', 'sh', '-c', 'ls; cat a own; touch x; echo; pwd; exit 7');
  expect(look.stdout).toMatch(/^a\nown\nhighmine\n\/.*stratalog-mount-/);
  expect(look.stderr).toContain('Read-only file system');
  expect(look.code).toBe(7);
  expect([mountsIn(tmp), readdirSync(tmp)]).toEqual([[], []]);
});

it('mounts a single layer, by id or name, with noexec', async () => {
  const { mount, root, tmp } = await aStack();
  const script = 'cat a gone; cat /proc/self/mountinfo | grep " $STRATALOG_MOUNT " | cut -d" " -f6';
  for (const name of ['1', 'n/2/a', 'a']) {
    const { stdout } = await mount(name, '--', 'sh', '-c', script);
    expect(stdout).toMatch(/^lowlowro,/);
    for (const flag of ['nodev', 'nosuid', 'noexec']) expect(stdout).toContain(flag);
  }
  const target = join(tmp, 'here');
  mkdirSync(target);
  const executable = await mount('1', target, '--exec', '--', 'sh', '-c', script);
  expect(executable.stdout).not.toContain('noexec');
  expect([mountsIn(tmp), readdirSync(tmp)]).toEqual([[], ['here']]);
  expect(readdirSync(join(root, 'snapshots', '1', 'fs')).sort()).toEqual(['a', 'gone']);
});

it('mounts a chain whose paths do not fit in the mount options', async () => {
  const count = 150;
  const events = Array.from({ length: count }, (_, index) => {
    const id = index + 1;
    const parent = id === 1 ? null : { id: id - 1, name: `n/${id - 1}/l` };
    return [
      preparing(id, `n/${id}/k`, { parent }),
      prepared(id),
      committing(id, `n/${id}/l`),
      committed(id, `n/${id}/l`, { parent }),
    ];
  });
  const root = await aRoot(events.flat());
  for (let id = 1; id <= count; id += 1) {
    aCommitted(root, id);
    writeFileSync(join(root, 'snapshots', String(id), 'fs', `of-${id}`), '');
  }
  const { code, stdout, stderr } = await stratalog([
    ...['mount', '--root', root, `n/${count}/l`, '--', 'sh', '-c', 'ls | wc -l'],
  ]);
  expect([code, stdout.trim(), stderr]).toEqual([0, String(count), '']);
  expect(mountsIn(root)).toEqual([]);
});

it('warns that a container is writing to the snapshot, and mounts it', async () => {
  const { root, mount } = await aStack();
  const at = await aDirectory();
  const path = (part: string): string => join(root, 'snapshots', part);
  const options = `upperdir=${path('3/fs')},workdir=${path('3/work')},lowerdir=${path('2/fs')}:${path('1/fs')}`;
  execFileSync('mount', ['-t', 'overlay', 'overlay', '-o', `index=off,${options}`, at]);
  try {
    writeFileSync(join(at, 'late'), 'late');
    const { code, stdout, stderr } = await mount('3', '--', 'cat', 'late');
    expect([code, stdout]).toEqual([0, 'late']);
    expect(stderr).toContain('snapshot is in use');
  } finally {
    execFileSync('umount', [at]);
  }
});

it('unmounts a target behind a link, and only mounts on an empty directory', async () => {
  const { mount, tmp } = await aStack();
  const [target, link] = [join(tmp, 'target'), join(tmp, 'link')];
  mkdirSync(target);
  symlinkSync(target, link);
  const linked = await mount('2', link, '--', 'cat', 'a');
  expect([linked.code, linked.stdout, mountsIn(tmp)]).toEqual([0, 'high', []]);
  writeFileSync(join(target, 'mine'), 'x');
  for (const place of [target, link, join(target, 'mine'), join(target, 'none')]) {
    const refused = await mount('2', place, '--', 'true');
    expect([refused.code, refused.stdout, mountsIn(tmp)]).toEqual([2, '', []]);
    expect(refused.stderr).toMatch(
      /cannot mount on "[^"]+": (directory is not empty|ENOTDIR|ENOENT)/,
    );
  }
});

it('stays mounted until a signal', async () => {
  const { root, tmp } = await aStack();
  const running = started(['mount', '--root', root, '2'], { env: { TMPDIR: tmp }, stdin: 'pipe' });
  await until('it prints the mountpoint', () => Promise.resolve(running.lines().length > 0));
  const [path = ''] = running.lines();
  expect(readFileSync(join(path, 'a'), 'utf8')).toBe('high');
  expect(readdirSync(path)).toEqual(['a']);
  running.child.kill('SIGTERM');
  expect(await running.ended).toBe(0);
  expect([mountsIn(tmp), readdirSync(tmp)]).toEqual([[], []]);
});

it('is unmounted when the process is killed', async () => {
  const { root, tmp } = await aStack();
  const running = started(['mount', '--root', root, '2'], { env: { TMPDIR: tmp }, stdin: 'pipe' });
  await until('it prints the mountpoint', () => Promise.resolve(running.lines().length > 0));
  expect(mountsIn(tmp)).toHaveLength(1);
  running.child.kill('SIGKILL');
  await until('the mount is gone', () => Promise.resolve(readdirSync(tmp).length === 0));
  expect(mountsIn(tmp)).toEqual([]);
});

it('mounts the layers of a moment in the past, or shows what removed one', async () => {
  const { root, mount, asked } = await aStack();
  const { stdout } = await stratalog(['log', '--root', root, '--json']);
  const end = stdout.trimEnd().split('\n').length;
  await asked.remove('n/5/c');
  await asked.remove('n/4/b');
  const low = await mount('n/2/a', '--at', String(end), '--', 'cat', 'a');
  expect([low.code, low.stdout]).toEqual([0, 'low']);
  expect(low.stderr).toContain('their files are the current ones');
  const gone = await mount('n/5/c', '--', 'ls');
  expect(gone.code).toBe(1);
  expect(gone.stderr).toContain('removed earlier: 3');
  rmSync(join(root, 'snapshots', '3'), { recursive: true, force: true });
  const then = await mount('n/5/c', '--at', String(end), '--', 'ls');
  expect(then.code).toBe(1);
  expect(then.stderr).toMatch(
    /cannot mount layer n\/5\/c: \S+snapshots\/3\/fs does not exist: SnapshotRemoving .*at position \d+, 20/,
  );
  const never = await mount('nothing', '--', 'ls');
  expect([never.code, never.stderr.includes('has the id, key, name or digest "nothing"')]).toEqual([
    1,
    true,
  ]);
});
