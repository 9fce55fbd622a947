/**
 * Goal: a file system is recognised whatever device number it has today, and told from every other.
 * Method: real file systems in image files, mounted again under other numbers; blkid(8) says what
 * their UUIDs are.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemDisk } from '../../src/host/files/disk.js';
import { fileSystemFacts, uuidOfBlockDevice } from '../../src/host/files/file-system.js';
import {
  isVolumeAvailable,
  LoopVolume,
  volumeTypes,
  type VolumeType,
} from '../support/loop-volume.js';
import { codeOf, temporaryDirectory, type TemporaryDirectory } from './support.js';

let directory: TemporaryDirectory;
const volumes: LoopVolume[] = [];
beforeEach(() => {
  directory = temporaryDirectory();
});
afterEach(() => {
  for (const volume of volumes.splice(0)) volume.close();
  directory.remove();
});

function aVolume(type: VolumeType, options?: readonly string[]): LoopVolume {
  const volume = new LoopVolume(`${directory.path}/volume-${volumes.length}`, type, options);
  volumes.push(volume);
  return volume;
}

describe.each(volumeTypes)('%s', (type) => {
  it.skipIf(!isVolumeAvailable(type))('has its UUID under any device number', async () => {
    const volume = aVolume(type);
    const at = `${directory.path}/mnt`;
    const device = volume.mount(at);
    fs.mkdirSync(`${at}/below`);
    const first = await fileSystemFacts(at);
    // The top of a btrfs is its subvolume 5.
    const id = type === 'btrfs' ? `${volume.uuid}/5` : volume.uuid;
    expect(first).toMatchObject({ type, id, device });
    expect(await fileSystemFacts(`${at}/below`)).toEqual(first);
    const again = volume.remount(at);
    expect(await fileSystemFacts(at)).toMatchObject({ type, id, device: again });

    const other = aVolume(type);
    other.mount(`${directory.path}/other`);
    expect((await fileSystemFacts(`${directory.path}/other`)).id).not.toBe(id);
  });
});

it('numbers mounts, so that a directory on which one is mounted can be seen', async () => {
  const [plain, bound] = [`${directory.path}/plain`, `${directory.path}/bound`];
  for (const path of [plain, bound]) fs.mkdirSync(path);
  execFileSync('mount', ['--bind', plain, bound]);
  const [above, beside, on] = await Promise.all(
    [directory.path, plain, bound].map((path) => systemDisk().fileSystem(path)),
  );
  expect(beside).toEqual(above);
  expect(on).toEqual({ ...above, mountId: on?.mountId });
  expect(on?.mountId).not.toBe(above?.mountId);
});

it.skipIf(!isVolumeAvailable('btrfs'))('tells subvolumes and their snapshots apart', async () => {
  const volume = aVolume('btrfs');
  const at = `${directory.path}/mnt`;
  volume.mount(at);
  execFileSync('btrfs', ['-q', 'subvolume', 'create', `${at}/roots`]);
  const original = (await fileSystemFacts(`${at}/roots`)).id;
  execFileSync('btrfs', ['-q', 'subvolume', 'snapshot', `${at}/roots`, `${at}/copy`]);
  const copy = (await fileSystemFacts(`${at}/copy`)).id;
  const top = (await fileSystemFacts(at)).id;
  expect(new Set([top, original, copy]).size).toBe(3);
  for (const id of [top, original, copy]) expect(id).toMatch(new RegExp(`^${volume.uuid}/\\d+$`));
  // Mounted by itself it is the same one.
  volume.remount(at, 'subvol=roots');
  expect((await fileSystemFacts(at)).id).toBe(original);
});

it('has no id for what is made anew with each mount', async () => {
  const tmpfs = `${directory.path}/tmpfs`;
  fs.mkdirSync(tmpfs);
  execFileSync('mount', ['-t', 'tmpfs', 'none', tmpfs]);
  expect(await fileSystemFacts(tmpfs)).toMatchObject({ type: 'tmpfs', id: null });
  for (const name of ['lower', 'upper', 'work', 'merged']) fs.mkdirSync(`${tmpfs}/${name}`);
  const options = `lowerdir=${tmpfs}/lower,upperdir=${tmpfs}/upper,workdir=${tmpfs}/work`;
  execFileSync('mount', ['-t', 'overlay', '-o', options, 'none', `${tmpfs}/merged`]);
  expect(await fileSystemFacts(`${tmpfs}/merged`)).toMatchObject({ type: 'overlay', id: null });
});

it.skipIf(!isVolumeAvailable('ext4'))('reads the superblock of an older kernel', async () => {
  const volume = aVolume('ext4');
  const device = volume.mount(`${directory.path}/mnt`);
  expect(await uuidOfBlockDevice(device)).toBe(volume.uuid);
  expect(await uuidOfBlockDevice(0n)).toBeNull();
  const other = aVolume('ext4', ['-U', 'clear']);
  const cleared = other.mount(`${directory.path}/cleared`);
  expect(await uuidOfBlockDevice(cleared)).toBeNull();
  expect(await fileSystemFacts(`${directory.path}/cleared`)).toMatchObject({ id: null });
});

it.skipIf(!isVolumeAvailable('xfs'))('takes only ext4 for ext4', async () => {
  const volume = aVolume('xfs');
  expect(await uuidOfBlockDevice(volume.mount(`${directory.path}/mnt`))).toBeNull();
});

it('fails where there is no directory', async () => {
  expect(await codeOf(fileSystemFacts(`${directory.path}/absent`))).toBe('ENOENT');
  fs.writeFileSync(`${directory.path}/file`, '');
  expect(await codeOf(fileSystemFacts(`${directory.path}/file`))).toBe('ENOTDIR');
});
