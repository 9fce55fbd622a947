/**
 * Goal: a directory that is only inferred to be garbage is deleted if it is unused, and otherwise
 * stays as it is, with the reason told; what cannot be looked at is unknown, and holds up nothing
 * else. Method: real directories, real mounts, a file system that does not answer.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { DirectoryUse, SnapshotDirectories } from '../../src/base/ports.js';
import { snapshotId } from '../../src/base/units.js';
import { snapshotDirectories } from '../../src/host/files/directories.js';
import { WorkerPool } from '../../src/host/threads/workers.js';
import { hungMount } from '../support/hung-mount.js';
import { codeOf, temporaryDirectory, type TemporaryDirectory } from './support.js';

let pool: WorkerPool;
let directory: TemporaryDirectory;
let snapshots: string;
let directories: SnapshotDirectories;

beforeAll(() => {
  pool = new WorkerPool();
});
afterAll(async () => {
  expect(await pool.close()).toBe(0);
});
beforeEach(() => {
  directory = temporaryDirectory();
  snapshots = `${directory.path}/snapshots`;
  fs.mkdirSync(snapshots);
  directories = snapshotDirectories(directory.path, pool);
});
afterEach(() => {
  directory.remove();
});

const at = (path: string): string => `${snapshots}/${path}`;
const make = (path: string): void => void fs.mkdirSync(at(path), { recursive: true });
const mount = (...args: readonly string[]): void => void execFileSync('mount', args);

function aSnapshot(name: string): void {
  make(`${name}/fs`);
  make(`${name}/work`);
}

/** All below a directory, so that a change of anything shows. */
const listing = (path: string): string =>
  execFileSync('find', [path, '-xdev', '-printf', '%P %y %m %s %T@\n']).toString();

/** Looked at, and to be removed: both answer alike, and nothing has changed. */
async function expectUsed(name: string, by: 'content' | 'mount', evidence: RegExp | string) {
  const before = listing(snapshots);
  const [use] = await directories.usesOf([name]);
  const found = use?.kind === 'used' ? use.evidence : '';
  expect(use).toEqual({ kind: 'used', by, evidence: found });
  if (typeof evidence === 'string') expect(found).toBe(evidence);
  else expect(found).toMatch(evidence);
  expect(await directories.removeUnused(name)).toEqual(use);
  expect(listing(snapshots)).toBe(before);
}

async function expectRemoved(name: string): Promise<void> {
  expect(await directories.usesOf([name])).toEqual([{ kind: 'unused' }]);
  expect(await directories.removeUnused(name)).toEqual({ kind: 'absent' });
  expect(fs.existsSync(at(name))).toBe(false);
}

describe('an unused directory is deleted', () => {
  it.each<readonly [string, readonly string[]]>([
    ['as it was preallocated', ['7/fs', '7/work']],
    ['without work, as of a view', ['7/fs']],
    ['of which only the beginning was made', ['7']],
    ['without fs', ['7/work']],
    ['with the empty directories that overlayfs has made', ['7/fs', '7/work/work', '7/work/index']],
  ])('%s', async (_how, paths) => {
    for (const path of paths) make(path);
    await expectRemoved('7');
  });

  it('that an overlay was mounted on and nothing was written to', async () => {
    aSnapshot('1');
    aSnapshot('7');
    make('../merged');
    const options = `lowerdir=${at('1/fs')},upperdir=${at('7/fs')},workdir=${at('7/work')}`;
    mount('-t', 'overlay', 'overlay', '-o', options, `${directory.path}/merged`);
    execFileSync('umount', [`${directory.path}/merged`]);
    expect(fs.readdirSync(at('7/work'))).toEqual(['work']);
    await expectRemoved('7');
  });

  it('and one that is gone is no error', async () => {
    expect(await directories.usesOf(['7'])).toEqual([{ kind: 'absent' }]);
    expect(await directories.removeUnused('7')).toEqual({ kind: 'absent' });
  });
});

describe('a directory with content is kept', () => {
  it.each<readonly [string, () => void, string]>([
    ['a file', () => fs.writeFileSync(at('7/fs/file'), 'x'), 'fs is not empty'],
    ['an empty file', () => fs.writeFileSync(at('7/fs/file'), ''), 'fs is not empty'],
    ['an empty directory', () => make('7/fs/etc'), 'fs is not empty'],
    [
      'a whiteout',
      () => execFileSync('mknod', [at('7/fs/gone'), 'c', '0', '0']),
      'fs is not empty',
    ],
    ['a file in work', () => fs.writeFileSync(at('7/work/file'), 'x'), 'work is not empty'],
    [
      'what a copy-up has begun',
      () => {
        make('7/work/work');
        fs.writeFileSync(at('7/work/work/#1'), 'x');
      },
      'work is not empty',
    ],
    [
      'a third entry',
      () => fs.writeFileSync(at('7/notes'), 'x'),
      'it contains entries other than fs and work',
    ],
    [
      'a link in place of fs',
      () => {
        fs.rmdirSync(at('7/fs'));
        fs.symlinkSync('/etc', at('7/fs'));
      },
      'fs is not a directory',
    ],
  ])('%s', async (_what, change, evidence) => {
    aSnapshot('7');
    change();
    await expectUsed('7', 'content', evidence);
  });

  it('a file, a link, and a directory of another program under its own name', async () => {
    fs.writeFileSync(at('notes.txt'), 'mine');
    fs.symlinkSync('/etc', at('link'));
    make('mine/data');
    await expectUsed('notes.txt', 'content', 'it is not a directory');
    await expectUsed('link', 'content', 'it is not a directory');
    await expectUsed('mine', 'content', 'it contains entries other than fs and work');
  });
});

describe('an empty directory that a mount uses is kept', () => {
  const merged = (): string => {
    fs.mkdirSync(`${directory.path}/merged`);
    return `${directory.path}/merged`;
  };

  it('as upperdir, lowerdir and workdir of an overlay', async () => {
    for (const name of ['1', '2', '3', '4']) aSnapshot(name);
    const place = merged();
    const options = `lowerdir=${at('2/fs')}:${at('1/fs')},upperdir=${at('3/fs')},workdir=${at('3/work')}`;
    mount('-t', 'overlay', 'overlay', '-o', options, place);
    await expectUsed('1', 'mount', `the mount on ${place} uses it as lowerdir`);
    await expectUsed('2', 'mount', `the mount on ${place} uses it as lowerdir`);
    await expectUsed('3', 'mount', `the mount on ${place} uses it as upperdir`);
    await expectRemoved('4');
    // What the log has as removed goes even so: containerd requires it.
    await directories.remove('3');
    expect(fs.existsSync(at('3'))).toBe(false);
  });

  it('as a lowerdir in the relative form that containerd shortens long lists to', async () => {
    for (const name of ['1', '2', '3']) aSnapshot(name);
    const place = merged();
    const options = `lowerdir=2/fs:1/fs,upperdir=${at('3/fs')},workdir=${at('3/work')}`;
    execFileSync('mount', ['-t', 'overlay', 'overlay', '-o', options, place], { cwd: snapshots });
    await expectUsed('1', 'mount', /lowerdir/);
    execFileSync('umount', [place]);
    // A view: no upper directory tells where the list begins.
    execFileSync('mount', ['-t', 'overlay', 'overlay', '-o', 'lowerdir=2/fs:1/fs', place], {
      cwd: snapshots,
    });
    await expectUsed('2', 'mount', /lowerdir/);
  });

  it('as the source of a bind mount, of itself or of something below', async () => {
    aSnapshot('1');
    aSnapshot('2');
    const place = merged();
    mount('--bind', at('1'), place);
    await expectUsed('1', 'mount', `the mount on ${place} uses it as bind source`);
    execFileSync('umount', [place]);
    mount('--bind', at('2/fs'), place);
    await expectUsed('2', 'mount', `the mount on ${place} uses it as bind source`);
    await expectRemoved('1');
  });

  it('as a mount point, at it or below it', async () => {
    for (const name of ['1', '2', '3']) aSnapshot(name);
    mount('-t', 'tmpfs', 'tmpfs', at('1'));
    mount('-t', 'tmpfs', 'tmpfs', at('2/fs'));
    mount('--bind', at('3/fs'), at('3/work'));
    await expectUsed('1', 'mount', `something is mounted on ${at('1')}`);
    await expectUsed('2', 'mount', `something is mounted on ${at('2/fs')}`);
    await expectUsed('3', 'mount', `something is mounted on ${at('3/work')}`);
  });

  it('when the root is reached through a link, by either path', async () => {
    const link = `${directory.path}-link`;
    fs.symlinkSync(directory.path, link);
    try {
      const throughLink = snapshotDirectories(link, pool);
      aSnapshot('1');
      aSnapshot('2');
      const place = merged();
      make('../other');
      const lower = `lowerdir=${link}/snapshots/1/fs:${directory.path}/other`;
      mount('-t', 'overlay', 'overlay', '-o', lower, place);
      mount('-t', 'tmpfs', 'tmpfs', at('2/fs'));
      const uses = await throughLink.usesOf(['1', '2']);
      expect(uses).toMatchObject([{ by: 'mount' }, { by: 'mount' }]);
    } finally {
      fs.unlinkSync(link);
    }
  });

  it('and a requested deletion with its content is refused as well', async () => {
    aSnapshot('1');
    fs.writeFileSync(at('1/fs/file'), 'x');
    const place = merged();
    mount('--bind', at('1/fs'), place);
    const request = () => directories.remove('1', undefined, { unlessUsed: true });
    expect(await codeOf(request())).toBe('EBUSY');
    expect(fs.readdirSync(at('1/fs'))).toEqual(['file']);
    execFileSync('umount', [place]);
    await request();
    expect(fs.existsSync(at('1'))).toBe(false);
  });
});

describe('what cannot be looked at is unknown', () => {
  it('and each of the others is looked at', async () => {
    aSnapshot('1');
    aSnapshot('2');
    const hung = hungMount(at('2/fs'));
    try {
      aSnapshot('3');
      fs.writeFileSync(at('3/fs/file'), '');
      const uses = await directories.usesOf(['1', '2', '3', 'no\ufffdname', '..']);
      expect(uses).toEqual([
        { kind: 'unused' },
        { kind: 'used', by: 'mount', evidence: `something is mounted on ${at('2/fs')}` },
        { kind: 'used', by: 'content', evidence: 'fs is not empty' },
        { kind: 'unknown', operation: 'open', path: at('no\ufffdname'), code: 'EILSEQ' },
        { kind: 'unknown', operation: 'open', path: at('..'), code: 'EINVAL' },
      ] satisfies DirectoryUse[]);
      expect(await directories.removeUnused('1')).toEqual({ kind: 'absent' });
    } finally {
      hung.end();
    }
  });

  it('also by a list of all, where a server that is mounted on one does not answer', async () => {
    for (const name of ['1', '2', '3']) aSnapshot(name);
    fs.rmdirSync(at('3/work'));
    const hung = hungMount(at('2'));
    try {
      const found = [...(await directories.list())].sort((a, b) => (a.name < b.name ? -1 : 1));
      expect(found.map(({ parts }) => parts)).toEqual([
        { kind: 'seen', fs: true, work: true },
        { kind: 'hidden' },
        { kind: 'seen', fs: true, work: false },
      ]);
      expect(await directories.hasFs(snapshotId(1))).toBe(true);
      expect(await codeOf(directories.hasFs(snapshotId(2)))).toBe('EBUSY');
      expect(await directories.hasFs(snapshotId(9))).toBe(false);
    } finally {
      hung.end();
    }
  });

  it('and a failed rmdir is a fault with path and errno, not a use', async () => {
    aSnapshot('1');
    execFileSync('chattr', ['+i', at('1')]);
    try {
      const failed = await directories.removeUnused('1').catch((thrown: unknown) => thrown);
      expect(failed).toMatchObject({ code: 'EPERM', path: at('1/fs') });
      expect(fs.readdirSync(at('1')).sort()).toEqual(['fs', 'work']);
    } finally {
      execFileSync('chattr', ['-i', at('1')]);
    }
    await expectRemoved('1');
  });
});

it('looks at ten thousand in slices, and an abort ends it', async () => {
  const names = Array.from({ length: 10_000 }, (_, index) => String(index));
  for (const name of names.slice(0, 20)) make(name);
  const uses = await directories.usesOf(names);
  expect(uses).toHaveLength(names.length);
  expect(uses.filter(({ kind }) => kind === 'unused')).toHaveLength(20);
  const controller = new AbortController();
  const looking = directories.usesOf(names, controller.signal);
  controller.abort(new Error('enough'));
  await expect(looking).rejects.toThrow('enough');
});
