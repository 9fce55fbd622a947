/**
 * Goal: a daemon starts after a reboot that renumbered its disks, refuses to start while a disk is
 * missing, and does not accept another in its place. Method: the real daemon on real file systems that
 * are remounted with other device numbers, unmounted, exchanged and copied.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Daemon } from '../../scripts/rig/daemon.js';
import { Workspace } from '../../scripts/rig/workspace.js';
import {
  isVolumeAvailable,
  LoopVolume,
  volumeTypes,
  type VolumeType,
} from '../support/loop-volume.js';
import {
  askedOf,
  buildLimitMillis,
  builtCli,
  cleanUp,
  jsonLines,
  later,
  stratalog,
} from './rig.js';

beforeAll(builtCli, buildLimitMillis);
afterEach(cleanUp);

const slow = { timeout: 120_000 };

interface Node {
  readonly daemon: Daemon;
  /** The same daemon with --accept-moved-root. */
  readonly accepting: Daemon;
  readonly root: string;
  readonly volume: (type: VolumeType) => LoopVolume;
  /** Another root on the disk of the workspace. */
  readonly elsewhere: string;
}

/** A daemon, not started, and volumes. */
async function aNode(): Promise<Node> {
  const workspace = await Workspace.create('stratalog-cli-');
  later(() => workspace.close());
  const flags = ['--log-format', 'json'];
  const daemon = Daemon.stratalog(workspace, { flags });
  let volumes = 0;
  return {
    daemon,
    accepting: Daemon.stratalog(workspace, { flags: [...flags, '--accept-moved-root'] }),
    root: daemon.root,
    volume: (type) => {
      const volume = new LoopVolume(workspace.path(`volume-${(volumes += 1)}`), type);
      later(() => {
        volume.close();
      });
      return volume;
    },
    elsewhere: workspace.path('elsewhere'),
  };
}

async function servesAndStops(daemon: Daemon, key: string): Promise<void> {
  await daemon.start();
  await askedOf(daemon).prepare(key);
  await daemon.stop();
}

async function changesIn(root: string): Promise<unknown[]> {
  const { stdout } = await stratalog([
    'log',
    '--root',
    root,
    '--type',
    'RootFileSystemChanged',
    '--json',
  ]);
  return jsonLines(stdout).map(({ data }) => data);
}

const withoutSnapshots = [['gc'], ['gc', '--dry-run'], ['repair', '--yes'], ['checkpoint']];
const withoutLog = [...withoutSnapshots, ['verify'], ['log'], ['state'], ['history', '1']];

/** All names below a directory, to detect changes. */
const namesIn = (directory: string): string[] =>
  fs.readdirSync(directory, { recursive: true, encoding: 'utf8' }).sort();

async function refusalOf(daemon: Daemon): Promise<string> {
  const before = daemon.isRunning ? 0 : daemon.log().length;
  await expect(daemon.start()).rejects.toThrow('did not start');
  return daemon.log().slice(before);
}

describe.each(volumeTypes)('a root on %s', (type) => {
  it.skipIf(!isVolumeAvailable(type))(
    'is served with any device number, but not a copy of it',
    slow,
    async () => {
      const { daemon, accepting, root, volume, elsewhere } = await aNode();
      const disk = volume(type);
      const before = disk.mount(root);
      await servesAndStops(daemon, 'default/1/a');
      const after = disk.remount(root);
      expect((await stratalog(['inspect', '--root', root])).stdout).not.toMatch(
        /unknown|file-system/,
      );
      await servesAndStops(daemon, 'default/2/b');
      const id = expect.stringContaining(disk.uuid) as string;
      expect(await changesIn(root)).toEqual([
        {
          ...{ part: 'root', how: 'same-id' },
          before: { type, id, device: `${before}` },
          after: { type, id, device: `${after}` },
        },
      ]);
      const { stdout } = await stratalog([
        'log',
        '--root',
        root,
        '--type',
        'SnapshotPrepared',
        '-q',
      ]);
      expect(stdout.trim().split('\n')).toHaveLength(2);

      // A copy on another disk at the same path, as after a restore.
      execFileSync('cp', ['-a', root, elsewhere]);
      disk.unmount();
      fs.rmdirSync(root);
      execFileSync('cp', ['-a', elsewhere, root]);
      expect(await refusalOf(daemon)).toMatch(
        new RegExp(`the root was on ${type} ${disk.uuid}.*--accept-moved-root`),
      );
      expect((await stratalog(['checkpoint', '--root', root])).code).toBe(1);
      await servesAndStops(accepting, 'default/3/c');
      expect(await changesIn(root)).toMatchObject([{ how: 'same-id' }, { how: 'accepted' }]);
      await servesAndStops(daemon, 'default/4/d');
      expect(await changesIn(root)).toHaveLength(2);
    },
  );
});

it.skipIf(!isVolumeAvailable('ext4'))(
  'log/ and snapshots/ on separate disks must be mounted',
  slow,
  async () => {
    const { daemon, root, volume } = await aNode();
    const disks = { log: volume('ext4'), snapshots: volume('ext4') };
    fs.mkdirSync(root);
    for (const [part, disk] of Object.entries(disks)) disk.mount(`${root}/${part}`);
    await daemon.start();
    const asked = askedOf(daemon);
    await asked.prepare('default/1/a');
    await asked.commit('default/2/layer', 'default/1/a');
    expect((await stratalog(['gc', '--root', root, '--address', daemon.address])).code).toBe(0);
    await daemon.stop();
    for (const command of [['verify'], ['inspect'], ['gc', '--dry-run']]) {
      const outcome = await stratalog([...command, '--root', root]);
      expect(outcome.stdout + outcome.stderr).not.toContain('lost+found');
      expect(outcome, command.join(' ')).toMatchObject({ code: 0 });
    }
    for (const part of Object.keys(disks))
      expect(namesIn(`${root}/${part}`)).toContain('lost+found');

    for (const [part, disk] of Object.entries(disks)) {
      const at = `${root}/${part}`;
      disk.unmount();
      const bare = namesIn(root);
      const refused = await refusalOf(daemon);
      expect(refused).toContain(`${part}/ was a mount of ext4 ${disk.uuid}`);
      expect(refused).toContain('the next start then succeeds');
      // Commands report it, and none treats the disk as empty.
      const inspection = await stratalog(['inspect', '--root', root]);
      expect(inspection).toMatchObject({ code: 3 });
      expect(inspection.stdout).toContain('file-system-missing');
      for (const command of part === 'log' ? withoutLog : withoutSnapshots) {
        const outcome = await stratalog([...command, '--root', root]);
        expect(outcome, command.join(' ')).toMatchObject({ code: 1 });
        expect(outcome.stderr).toContain(`${part}/ was a mount of`);
      }
      expect(namesIn(root)).toEqual(bare);
      // Another disk in its place is refused.
      const other = volume('ext4');
      other.mount(at);
      expect(await refusalOf(daemon)).toContain(`${part}/ was on ext4 ${disk.uuid}`);
      expect(namesIn(at)).toEqual(['lost+found']);
      other.unmount();
      disk.mount(at);
    }
    await daemon.start();
    await asked.prepare('default/3/b', 'default/2/layer');
    await daemon.stop();
    expect(await stratalog(['inspect', '--root', root])).toMatchObject({ code: 0 });
  },
);

it.skipIf(!isVolumeAvailable('ext4'))(
  'a mount over an existing directory is refused, and can be accepted',
  slow,
  async () => {
    const { daemon, accepting, root, volume } = await aNode();
    await servesAndStops(daemon, 'default/1/a');
    const disk = volume('ext4');
    disk.mount(`${root}/snapshots`);
    expect(await refusalOf(daemon)).toMatch(
      /snapshots\/ was a directory on the root's file system, and ext4 .* is now mounted there/,
    );
    disk.unmount();
    await servesAndStops(daemon, 'default/2/b');
    // Moved to the new disk on purpose.
    const at = `${root}/snapshots`;
    fs.renameSync(at, `${root}/moved`);
    disk.mount(at);
    execFileSync('cp', ['-a', `${root}/moved/.`, at]);
    expect(await refusalOf(daemon)).toContain('--accept-moved-root');
    await servesAndStops(accepting, 'default/3/c');
    expect(await changesIn(root)).toMatchObject([{ part: 'snapshots', how: 'accepted' }]);
    expect(await stratalog(['inspect', '--root', root])).toMatchObject({ code: 0 });
    disk.remount(at);
    await servesAndStops(daemon, 'default/4/d');
  },
);

it.skipIf(!isVolumeAvailable('btrfs'))(
  'a btrfs snapshot of a root is another root',
  slow,
  async () => {
    const { daemon, root, volume } = await aNode();
    const disk = volume('btrfs');
    const top = `${root}-top`;
    disk.mount(top);
    execFileSync('btrfs', ['-q', 'subvolume', 'create', `${top}/root`]);
    fs.symlinkSync(`${top}/root`, root);
    await servesAndStops(daemon, 'default/1/a');
    execFileSync('btrfs', ['-q', 'subvolume', 'snapshot', `${top}/root`, `${top}/taken`]);
    await servesAndStops(daemon, 'default/2/b');
    fs.unlinkSync(root);
    fs.symlinkSync(`${top}/taken`, root);
    const [, original] =
      /\/(\d+)"/.exec(fs.readFileSync(`${top}/root/identity.json`, 'utf8')) ?? [];
    expect(await refusalOf(daemon)).toContain(`the root was on btrfs ${disk.uuid}/${original}`);
    fs.unlinkSync(root);
    fs.symlinkSync(`${top}/root`, root);
    await servesAndStops(daemon, 'default/3/c');
  },
);

it(
  'a file system without an id is assumed to be the same if log and directories agree',
  slow,
  async () => {
    const { daemon, root, elsewhere } = await aNode();
    const tmpfs = (at: string): void => {
      fs.mkdirSync(at, { recursive: true });
      execFileSync('mount', ['-t', 'tmpfs', 'none', at]);
      later(() => execFileSync('umount', ['-l', at]));
    };
    tmpfs(root);
    await servesAndStops(daemon, 'default/1/a');
    // As after a remount: the same files with another device number.
    tmpfs(elsewhere);
    execFileSync('cp', ['-a', `${root}/.`, elsewhere]);
    tmpfs(root);
    execFileSync('cp', ['-a', `${elsewhere}/.`, root]);
    await daemon.start();
    expect(daemon.log()).toMatch(/"level":"warning".*this file system has no id/);
    await daemon.stop();
    expect(await changesIn(root)).toMatchObject([{ part: 'root', how: 'assumed' }]);

    const [id] = fs
      .readdirSync(`${elsewhere}/snapshots`)
      .sort((one, two) => Number(one) - Number(two));
    tmpfs(root);
    execFileSync('cp', ['-a', `${elsewhere}/.`, root]);
    fs.rmSync(`${root}/snapshots/${id}`, { recursive: true });
    const inspection = await stratalog(['inspect', '--root', root]);
    expect(inspection.stdout).toMatch(/^file-system-changed .*refuse to start/m);
    expect(await refusalOf(daemon)).toContain(`the directory of snapshot ${id} is missing`);
  },
);
