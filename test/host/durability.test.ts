/**
 * Goal: a durable prepare survives a power cut. Method: a file system in an image file behind a
 * loop device; the image is copied while mounted, as a cut would leave the disk, and the copy is
 * mounted, which replays its journal. A prepare that is not durable is the control: it must be
 * missing, or the method shows nothing.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest';
import { snapshotId } from '../../src/base/units.js';
import { snapshotDirectories } from '../../src/host/files/directories.js';
import { WorkerPool } from '../../src/host/threads/workers.js';
import { isVolumeAvailable } from '../support/loop-volume.js';
import { modeOf, temporaryDirectory } from './support.js';
import type { TemporaryDirectory } from './support.js';

const pool = new WorkerPool();
let directory: TemporaryDirectory;

afterAll(async () => {
  expect(await pool.close()).toBe(0);
});
beforeEach(() => {
  directory = temporaryDirectory();
});
afterEach(() => {
  directory.remove();
});

const fileSystems = [
  { type: 'ext4' as const, make: ['mkfs.ext4', '-q', '-F'], megabytes: 64 },
  { type: 'xfs' as const, make: ['mkfs.xfs', '-q', '-f'], megabytes: 320 },
  { type: 'btrfs' as const, make: ['mkfs.btrfs', '-q', '-f'], megabytes: 128 },
];

describe.each(fileSystems)('on $type', ({ type, make, megabytes }) => {
  test.skipIf(!isVolumeAvailable(type))(
    'what prepare made durable is there after a cut',
    async () => {
      const image = `${directory.path}/image`;
      const root = `${directory.path}/root`;
      const after = `${directory.path}/after`;
      fs.mkdirSync(root);
      fs.mkdirSync(after);
      fs.writeFileSync(image, '');
      fs.truncateSync(image, megabytes * 2 ** 20);
      const [tool = '', ...options] = make;
      execFileSync(tool, [...options, image], { stdio: 'ignore' });
      // The journal must not be written by its own timer between the control and the copy.
      const patience = type === 'xfs' ? 'loop' : 'loop,commit=300';
      execFileSync('mount', ['-o', patience, image, root]);
      fs.mkdirSync(`${root}/snapshots`);
      execFileSync('sync', ['-f', root]);

      const directories = snapshotDirectories(root, pool);
      const owner = { uid: 11, gid: 12 };
      const durable = { work: true, owner, durable: true };
      await directories.prepare(snapshotId(1), durable);
      await directories.prepare(snapshotId(2), { ...durable, work: false });
      await directories.prepare(snapshotId(3), { ...durable, durable: false });
      execFileSync('cp', ['--sparse=always', image, `${image}-cut`]);

      // Two mounted copies of one xfs or btrfs would be refused: they carry the same identity.
      execFileSync('umount', [root]);
      execFileSync('mount', ['-o', 'loop', `${image}-cut`, after]);
      expect(fs.readdirSync(`${after}/snapshots`).sort()).toEqual(['1', '2']);
      const made = ['1', '1/fs', '1/work', '2', '2/fs'];
      const modes = made.map((name) => modeOf(`${after}/snapshots/${name}`));
      expect(modes).toEqual(['700', '755', '711', '700', '755']);
      const { uid, gid } = fs.statSync(`${after}/snapshots/2/fs`);
      expect({ uid, gid }).toEqual(owner);
      execFileSync('umount', [after]);
    },
  );
});
