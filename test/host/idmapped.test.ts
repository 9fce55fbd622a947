/** Idmapped mounts on the real kernel: what they show, what they replace, and where they cannot be made. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { IdmappedClone, IdmappedMounts } from '../../src/base/ports.js';
import { systemIdmappedMounts } from '../../src/host/mounts/idmapped.js';
import { openUserNamespace } from '../../src/host/mounts/user-namespace.js';
import { WorkerPool } from '../../src/host/threads/workers.js';
import { until } from '../support/daemon.js';
import {
  codeOf,
  mountpointsBelow,
  temporaryDirectory,
  type TemporaryDirectory,
} from './support.js';

const MAPS = { uids: '0:100000:65536', gids: '0:200000:10,10:300000:5' };

let pool: WorkerPool;
let directory: TemporaryDirectory;
let mounts: IdmappedMounts;

beforeAll(() => {
  pool = new WorkerPool();
});
afterAll(async () => {
  expect(await pool.close()).toBe(0);
});
beforeEach(() => {
  directory = temporaryDirectory();
  mounts = systemIdmappedMounts(`${directory.path}/idmapped`, pool);
});
afterEach(() => {
  for (const mountpoint of mountpointsBelow(directory.path).reverse()) {
    execFileSync('umount', ['-l', mountpoint]);
  }
  directory.remove();
});

const ownerOf = (path: string) => {
  const { uid, gid } = fs.lstatSync(path);
  return `${uid}:${gid}`;
};

/** A directory with files of some owners. */
function source(name: string): string {
  const path = `${directory.path}/${name}`;
  fs.mkdirSync(`${path}/sub`, { recursive: true });
  for (const [file, uid, gid] of [
    ['root', 0, 0],
    ['user', 1000, 12],
    ['unmapped', 70_000, 70_000],
  ] as const) {
    fs.writeFileSync(`${path}/${file}`, file);
    fs.chownSync(`${path}/${file}`, uid, gid);
  }
  return path;
}

/** A clone of what is at a path, on `idmapped/m/<name>`. */
const clone = (path: string, name: string, isMount = false): IdmappedClone => ({
  source: path,
  mountpoint: `${mounts.directory}/m/${name}`,
  isMount,
});

const mount = (...args: readonly string[]) => execFileSync('mount', args, { stdio: 'pipe' });

/** A tmpfs mounted on a directory of its own. */
function mounted(name: string): string {
  const path = `${directory.path}/${name}`;
  fs.mkdirSync(path);
  mount('-t', 'tmpfs', 'tmpfs', path);
  fs.writeFileSync(`${path}/${name}`, name);
  return path;
}

describe('a clone with mapped ids', () => {
  it('shows the owners that the maps give, is read-only, and leaves its source as it is', async () => {
    const path = source('layer');
    const one = clone(path, '1');
    expect(await mounts.missing([one])).toEqual([one]);
    await mounts.attach(MAPS, [one]);
    expect(await mounts.missing([one])).toEqual([]);
    const shown = ['root', 'user', 'unmapped'].map((file) => ownerOf(`${one.mountpoint}/${file}`));
    expect(shown).toEqual(['100000:200000', '101000:300002', '65534:65534']);
    expect(ownerOf(`${path}/user`)).toBe('1000:12');
    expect(() => fs.writeFileSync(`${one.mountpoint}/new`, '')).toThrow('EROFS');
    fs.writeFileSync(`${path}/later`, '');
    expect(ownerOf(`${one.mountpoint}/later`)).toBe('100000:200000');
  });

  it('does not show what is mounted in its source later, nor earlier without being told to', async () => {
    const path = source('layers');
    mount('-t', 'tmpfs', 'tmpfs', `${path}/sub`);
    fs.writeFileSync(`${path}/sub/hidden`, '');
    await mounts.attach(MAPS, [clone(path, 'snapshots')]);
    expect(fs.readdirSync(`${mounts.directory}/m/snapshots/sub`)).toEqual([]);
    fs.mkdirSync(`${path}/other`);
    mount('-t', 'tmpfs', 'tmpfs', `${path}/other`);
    fs.writeFileSync(`${path}/other/hidden`, '');
    expect(fs.readdirSync(`${mounts.directory}/m/snapshots/other`)).toEqual([]);
  });

  it('of a mount shows the mounts in it too', async () => {
    const path = mounted('outer');
    fs.mkdirSync(`${path}/inner`);
    mount('-t', 'tmpfs', 'tmpfs', `${path}/inner`);
    fs.writeFileSync(`${path}/inner/file`, '');
    await mounts.attach(MAPS, [clone(path, '7', true)]);
    expect(ownerOf(`${mounts.directory}/m/7/inner/file`)).toBe('100000:200000');
  });

  it('is missing, and made again, when its source was mounted anew', async () => {
    const path = mounted('layer');
    const one = clone(path, '1', true);
    await mounts.attach(MAPS, [one]);
    execFileSync('umount', [path]);
    mount('-t', 'tmpfs', 'tmpfs', path);
    fs.writeFileSync(`${path}/second`, '');
    expect(fs.readdirSync(one.mountpoint)).toEqual(['layer']);
    expect(await mounts.missing([one])).toEqual([one]);
    await mounts.attach(MAPS, [one]);
    expect(fs.readdirSync(one.mountpoint)).toEqual(['second']);
    expect(mountpointsBelow(mounts.directory)).toEqual([one.mountpoint]);
  });

  it('is missing where an ordinary bind of its source is in its place', async () => {
    const one = clone(source('layer'), '1');
    fs.mkdirSync(one.mountpoint, { recursive: true });
    mount('--bind', one.source, one.mountpoint);
    expect(await mounts.missing([one])).toEqual([one]);
  });

  it('does not hold up the unmount of its source', async () => {
    const path = mounted('layer');
    await mounts.attach(MAPS, [clone(path, '1', true)]);
    execFileSync('umount', [path]);
    expect(mountpointsBelow(directory.path)).toEqual([`${mounts.directory}/m/1`]);
  });
});

describe('where one cannot be made', () => {
  it('a layer has lost its mount: the directory would show an empty layer', async () => {
    const one = clone(source('layer'), '1', true);
    await expect(mounts.attach(MAPS, [one])).rejects.toThrow(`nothing is mounted on ${one.source}`);
    expect(mountpointsBelow(directory.path)).toEqual([]);
  });

  it('the file system has none: the fault names call and source', async () => {
    const attempt = mounts.attach(MAPS, [clone(source('layer'), '1'), clone('/proc', '2', true)]);
    await expect(attempt).rejects.toMatchObject({
      ...{ operation: 'mount_setattr', path: '/proc', code: 'EINVAL' },
    });
  });

  it('the maps are wrong: nothing is mounted, and the child is gone', async () => {
    const maps = { uids: '0:1000:10,5:2000:10', gids: '0:0:1' };
    const attempt = mounts.attach(maps, [clone(source('layer'), '1')]);
    await expect(attempt).rejects.toMatchObject({ operation: 'unshare', code: 'EINVAL' });
    expect(mountpointsBelow(directory.path)).toEqual([]);
    expect(children()).toEqual([]);
  });

  it('there is no unshare(1): the fault says what to install', async () => {
    const { PATH } = process.env;
    process.env['PATH'] = directory.path;
    try {
      await expect(openUserNamespace(MAPS)).rejects.toThrow(
        /unshare.*not found; install util-linux/,
      );
    } finally {
      process.env['PATH'] = PATH;
    }
  });

  it('unshare(1) makes no namespace: the fault says what it says', async () => {
    const { PATH } = process.env;
    fs.writeFileSync(
      `${directory.path}/unshare`,
      '#!/bin/sh\necho "unshare: unshare failed: No space left on device" >&2; exit 1\n',
      { mode: 0o755 },
    );
    process.env['PATH'] = `${directory.path}:${PATH}`;
    try {
      await expect(openUserNamespace(MAPS)).rejects.toThrow('No space left on device');
    } finally {
      process.env['PATH'] = PATH;
    }
  });
});

describe('the process that lends its namespace', () => {
  it('is gone when the namespace is open', async () => {
    const namespace = await openUserNamespace(MAPS);
    expect(children()).toEqual([]);
    expect(fs.readlinkSync(`/proc/self/fd/${namespace.fd}`)).toMatch(/^user:/);
    await namespace.close();
  });

  it('is gone when nobody waits any more', async () => {
    const controller = new AbortController();
    const attempt = openUserNamespace(MAPS, controller.signal);
    controller.abort(new Error('the client has gone'));
    await expect(attempt).rejects.toThrow('the client has gone');
    expect(children()).toEqual([]);
  });

  it('ends with a process that is killed before it is open', async () => {
    // The same two programs as a child, whose parent dies without a word.
    const parent = spawn('sh', ['-c', 'unshare --user cat & echo $!; exec sleep 1000'], {
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    const [line] = (await once(parent.stdout, 'data')) as [Buffer];
    const pid = Number(line.toString());
    parent.kill('SIGKILL');
    parent.stdin.end();
    await until('it has ended', () => !fs.existsSync(`/proc/${pid}`));
  });
});

describe('a detach', () => {
  it('removes mount and directory, and the directory of the maps with the last', async () => {
    const [one, two] = [clone(source('a'), '1'), clone(source('b'), '2')];
    await mounts.attach(MAPS, [one, two]);
    expect([...(await mounts.list())].sort()).toEqual(['m', 'm/1', 'm/2']);
    await mounts.detach(one.mountpoint);
    expect(await mounts.list()).toEqual(['m', 'm/2']);
    await mounts.detach(two.mountpoint);
    await mounts.detach(two.mountpoint);
    expect(await mounts.list()).toEqual([]);
    expect(mountpointsBelow(directory.path)).toEqual([]);
  });

  it('takes a mount away that is in use', async () => {
    const one = clone(source('a'), '1');
    await mounts.attach(MAPS, [one]);
    const file = fs.openSync(`${one.mountpoint}/root`, 'r');
    await mounts.detach(one.mountpoint);
    expect(await mounts.list()).toEqual([]);
    fs.closeSync(file);
  });

  it('deletes no files that are in the place of a mount', async () => {
    const one = clone(source('a'), '1');
    fs.mkdirSync(one.mountpoint, { recursive: true });
    fs.writeFileSync(`${one.mountpoint}/file`, 'not ours');
    expect(await codeOf(mounts.detach(one.mountpoint))).toBe('ENOTEMPTY');
    expect(fs.readFileSync(`${one.mountpoint}/file`, 'utf8')).toBe('not ours');
  });
});

/** Processes that this one has started and that have not ended. */
function children(): string[] {
  const text = fs.readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim();
  return text.split(' ').filter((pid) => {
    if (pid === '') return false;
    return fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('cat');
  });
}
