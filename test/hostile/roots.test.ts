/**
 * Goal: a root that cannot work is refused with what it is and what to do, and is left as it was;
 * one that only loses something is served with a warning. Method: real file systems and mounts
 * below a temporary directory, opened by the command or by the library.
 *
 * XFS with ftype=0 needs a kernel with XFS and its old format; ext4 without `filetype` is alike.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { newSnapshotter } from '../../src/api/library.js';
import { checkCase, treeOf, type HostileCase } from './case.js';
import { ask, serve } from './cli.js';
import { makeRoot, open, Rooms } from './rooms.js';

let rooms: Rooms;
let sound: string;
beforeAll(async () => {
  rooms = new Rooms();
  sound = path.join(rooms.directory('sound'), 'root');
  await makeRoot(sound);
});
afterAll(() => rooms.close());

/** `at` is the root to open, `round` what must not change. */
interface Place {
  at: string;
  round: string;
}

const anywhere = (): Place => {
  const round = rooms.directory();
  return { at: path.join(round, 'root'), round };
};
const outside = (place: Place, round: string, ...below: string[]): void => {
  place.round = round;
  place.at = path.join(round, ...below);
};
const opening = ({ at }: Place) => open(at);
const serving = ({ at }: Place) => serve(at, path.join(rooms.path, 'daemon.sock'));

let runningRoot: string | null = null;

/** A running daemon's root; everything that may be confused with it is tried while it runs. */
async function running(): Promise<string> {
  if (runningRoot !== null) return runningRoot;
  const root = rooms.copyOf(sound);
  const snapshotter = await newSnapshotter({ root, fileSystem: null });
  await snapshotter.recovered;
  rooms.later(() => snapshotter.close());
  return (runningRoot = root);
}

const nested =
  /is inside .*, the root of another snapshotter, which deletes.*choose a root outside/;

const cases: readonly HostileCase<Place>[] = [
  {
    name: 'a file',
    given: ({ at }) => fs.writeFileSync(at, 'mine'),
    when: serving,
    expected: {
      code: 2,
      message: [/root as root: not a directory.*move it away or choose another/],
    },
  },
  {
    name: 'a pipe',
    given: ({ at }) => execFileSync('mkfifo', [at]),
    when: opening,
    expected: { code: 2, message: [/as root: not a directory/] },
  },
  {
    name: 'below a file',
    given: (place) => {
      fs.writeFileSync(place.at, 'mine');
      place.at = path.join(place.at, 'below');
    },
    when: serving,
    expected: { code: 1, message: [/EEXIST/, /expected a directory: move the existing file away/] },
  },
  {
    name: 'a link to nothing',
    given: ({ at }) => fs.symlinkSync('/nowhere/at/all', at),
    when: serving,
    expected: { code: 2, message: [/root as root: dangling symlink; create its target/] },
  },
  {
    name: 'a link in a circle',
    given: ({ at }) => fs.symlinkSync(at, at),
    when: serving,
    expected: { code: 1, message: [/ELOOP/, /a symlink loop: remove it/] },
  },
  {
    name: 'a relative path, of the command',
    when: () => serve('relative/root', path.join(rooms.path, 'daemon.sock')),
    expected: { code: 2, message: [/--root: root: expected an absolute path/] },
  },
  {
    name: 'a relative path, of the library',
    when: () => open('relative/root'),
    expected: { code: 2, message: [/expected an absolute path, got relative\/root/] },
  },
  {
    name: 'behind a link to a path with a comma',
    given: (place) => {
      fs.mkdirSync(path.join(place.round, 'with,comma'));
      fs.symlinkSync('with,comma', place.at);
    },
    when: serving,
    expected: { code: 2, message: [/cannot use .*with,comma as root/, /choose another directory/] },
  },
  {
    name: 'a new one on a read-only file system',
    given: (place) => outside(place, rooms.mount('tmpfs', 'ro'), 'root'),
    when: serving,
    expected: { code: 1, message: [/EROFS.*root/, /mounted read-only: find the cause/] },
  },
  {
    name: 'a used one that became read-only',
    given: (place) => {
      outside(place, rooms.copyOf(sound));
      rooms.readOnly(place.at);
    },
    when: serving,
    expected: { code: 1, message: [/log\/lock: EROFS/, /find the cause \(findmnt, dmesg\)/] },
  },
  {
    name: 'a new one on an overlay',
    given: (place) => {
      const [lower, upper, work] = ['lower', 'upper', 'work'].map((name) => rooms.directory(name));
      const options = `lowerdir=${lower ?? ''},upperdir=${upper ?? ''},workdir=${work ?? ''}`;
      outside(place, rooms.mount('overlay', options), 'root');
    },
    when: serving,
    expected: {
      code: 2,
      message: [/is on an overlay itself; choose a root on the underlying file system/],
    },
  },
  {
    name: 'on a file system without d_type',
    given: (place) => {
      const image = path.join(rooms.directory('image'), 'ext4');
      fs.writeFileSync(image, '');
      fs.truncateSync(image, 16 * 2 ** 20);
      execFileSync('mkfs.ext4', ['-q', '-O', '^filetype', '-E', 'lazy_itable_init=0', image]);
      outside(place, rooms.mount('ext4', 'loop', undefined, image), 'root');
    },
    when: serving,
    expected: {
      code: 2,
      message: [/\(d_type\)/, /choose another file system, or format XFS with ftype=1/],
    },
  },
  {
    name: 'in the middle of another root that is in use',
    given: async (place) => outside(place, await running(), 'inner'),
    when: serving,
    expected: { code: 2, message: [nested] },
  },
  {
    name: 'beside the snapshots of another root, where it would be deleted as an orphan',
    given: async (place) => outside(place, await running(), 'snapshots', '77'),
    when: serving,
    expected: { code: 2, message: [nested] },
  },
  {
    name: 'in a snapshot of another root',
    given: async (place) => outside(place, await running(), 'snapshots', '1', 'fs', 'var', 'root'),
    when: serving,
    untouched: ({ round }) => treeOf(`${round}/log`),
    expected: { code: 2, message: [nested] },
  },
  {
    name: 'of another daemon',
    given: async (place) => outside(place, await running()),
    when: serving,
    expected: { code: 4, message: [new RegExp(`in use by process ${process.pid}, started 20`)] },
  },
  {
    name: "containerd's own, of its overlayfs snapshotter",
    given: ({ at }) => {
      fs.mkdirSync(`${at}/snapshots/1/fs`, { recursive: true });
      fs.writeFileSync(`${at}/metadata.db`, 'bolt');
    },
    when: serving,
    expected: {
      code: 1,
      message: [/not a new root: bring identity.json back.*or choose an empty/],
    },
  },
  {
    name: 'with a link in place of its snapshots',
    given: (place) => {
      outside(place, rooms.copyOf(sound));
      const elsewhere = path.join(rooms.directory('elsewhere'), 'snapshots');
      fs.renameSync(`${place.at}/snapshots`, elsewhere);
      fs.symlinkSync(elsewhere, `${place.at}/snapshots`);
    },
    when: serving,
    expected: { code: 2, message: [/snapshots is a symlink/, /mount --bind/] },
  },
  {
    name: 'with a file in place of its snapshots',
    given: (place) => {
      outside(place, rooms.copyOf(sound));
      fs.rmSync(`${place.at}/snapshots`, { recursive: true });
      fs.writeFileSync(`${place.at}/snapshots`, 'mine');
    },
    when: serving,
    expected: { code: 2, message: [/snapshots is not a directory; move it away or choose/] },
  },
  {
    name: 'with a file in place of its log',
    given: (place) => {
      outside(place, rooms.copyOf(sound));
      fs.rmSync(`${place.at}/log`, { recursive: true });
      fs.writeFileSync(`${place.at}/log`, 'mine');
    },
    when: serving,
    expected: { code: 2, message: [/log is not a directory; move it away or choose/] },
  },
  {
    name: 'without room for inodes',
    given: (place) => outside(place, rooms.mount('tmpfs', 'nr_inodes=2'), 'root'),
    when: serving,
    expected: { code: 1, message: [/ENOSPC; free space or inodes on the file system/] },
  },
  {
    name: 'named to a command that looks, and is none',
    given: ({ at }) => fs.mkdirSync(at),
    when: ({ at }) => ask(['inspect', '--root', at]),
    expected: {
      code: 2,
      message: [/is not a root: it has no identity\.json, log, snapshots; give the directory/],
    },
  },
  {
    name: 'that only root may read, looked at by somebody else',
    given: (place) => {
      outside(place, rooms.copyOf(sound));
      for (const each of [rooms.path, path.dirname(place.at)]) fs.chmodSync(each, 0o711);
    },
    when: async ({ at }) => {
      process.seteuid?.(65_534);
      try {
        return await ask(['verify', '--root', at]);
      } finally {
        process.seteuid?.(0);
      }
    },
    expected: { code: 2, message: [/cannot stat \S+identity.json: EACCES.*run it as root/] },
  },
];

it.each(cases)('a root is refused that is $name', async (each) => {
  const leave = (name: string): boolean => name.endsWith('log/lock');
  await checkCase(each, anywhere(), ({ round }) => treeOf(round, leave));
});

it('a root without room for a segment is refused, and what was begun does not fill the disk', async () => {
  const small = rooms.mount('tmpfs', 'size=8m');
  const { code, message } = await serve(`${small}/root`, path.join(rooms.path, 'daemon.sock'));
  expect({ code, message }).toMatchObject({ code: 1 });
  expect(message).toMatch(/next.prepared: ENOSPC; free space or inodes/);
  expect(fs.existsSync(`${small}/root/log/next.prepared`)).toBe(false);
  execFileSync('mount', ['-o', 'remount,size=64m', small]);
  expect(await open(`${small}/root`)).toMatchObject({ code: 0 });
});

it('a root in memory is served with a warning', async () => {
  const answer = await open(`${rooms.mount('tmpfs', 'mode=700')}/root`, async (snapshotter) => {
    await snapshotter.prepare('a', '');
  });
  expect(answer.code).toBe(0);
  expect(answer.message).toMatch(/on tmpfs.*a reboot deletes/);
});

it('a root on a disk is served without a warning, whoever owns it and whatever stands beside', async () => {
  const root = rooms.copyOf(sound);
  fs.mkdirSync(`${root}/lost+found`);
  fs.writeFileSync(`${root}/thesis.txt`, 'mine');
  execFileSync('chown', ['-R', '12345:12345', root]);
  const answer = await open(root, async (snapshotter) => {
    expect((await snapshotter.stat('key-2')).labels.get('n')).toBe('9');
  });
  expect(answer).toEqual({ code: 0, message: '' });
  expect(fs.readFileSync(`${root}/thesis.txt`, 'utf8')).toBe('mine');
  expect(fs.statSync(`${root}/snapshots/1/fs`).uid).toBe(12345);
});

it('a fresh disk with its lost+found alone is tried before it is written to', async () => {
  const [lower, upper, work] = ['lower', 'upper', 'work'].map((name) => rooms.directory(name));
  const options = `lowerdir=${lower ?? ''},upperdir=${upper ?? ''},workdir=${work ?? ''}`;
  const at = rooms.mount('overlay', options);
  fs.mkdirSync(`${at}/lost+found`);
  expect(await open(at)).toMatchObject({ code: 2 });
  expect(fs.readdirSync(at)).toEqual(['lost+found']);
});

it('a link planted in place of a snapshot is neither measured nor deleted through', async () => {
  const root = rooms.copyOf(sound);
  const elsewhere = rooms.directory('elsewhere');
  fs.mkdirSync(`${elsewhere}/fs`);
  fs.writeFileSync(`${elsewhere}/fs/big`, Buffer.alloc(2 ** 20));
  await open(root, async (snapshotter) => {
    fs.rmSync(`${root}/snapshots/1`, { recursive: true });
    fs.symlinkSync(elsewhere, `${root}/snapshots/1`);
    await expect(snapshotter.usage('key-1')).rejects.toThrow(/ENOTDIR|ELOOP/);
    await snapshotter.remove('key-1');
  });
  expect(fs.readdirSync(`${elsewhere}/fs`)).toEqual(['big']);
});
