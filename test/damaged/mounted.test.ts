/**
 * Goal: roots in which something is mounted that should not be, or no longer: each mount is told
 * where a mount table can be read and called unknown where not, nothing is deleted through it,
 * and when it is gone the next start puts all in order. Method: a real root with real mounts, the
 * built commands, and the real snapshotter in this process.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { buildLimitMillis, builtCli, jsonLines, stratalog } from '../cli/rig.js';
import {
  mountpointsBelow,
  TestDaemon,
  testRoot,
  told,
  until,
  type TestRoot,
} from '../support/daemon.js';

const REF = 'sha256:aa';

let root: TestRoot;
let outside: string;
let daemon: TestDaemon | null = null;

beforeAll(builtCli, buildLimitMillis);
beforeEach(() => {
  root = testRoot();
  outside = `${fs.realpathSync(`${root.path}/..`)}/outside`;
  fs.mkdirSync(outside);
  fs.writeFileSync(`${outside}/precious`, 'mine');
});
afterEach(async () => {
  await daemon?.close();
  daemon = null;
  root.remove();
});

async function start(): Promise<TestDaemon> {
  daemon = await TestDaemon.open(root, { remote: true });
  return daemon;
}

/** What a start does in the background is done, and tried once more by Cleanup. */
async function startAndCleanUp(): Promise<TestDaemon> {
  const started = await start();
  await started.cleanup();
  await until('all effects have ended', () => started.snapshotter.actors().length === 0);
  return started;
}

/** It was tried twice, as the policy says. */
const givenUp = ({ failures, snapshotter }: TestDaemon): Promise<void> =>
  until(
    'deleting is given up',
    () =>
      failures.filter((line) => line.includes('EBUSY')).length > 1 &&
      snapshotter.actors().length === 0,
  );

async function crash(): Promise<void> {
  await daemon?.crash();
  daemon = null;
}

const mount = (...args: readonly string[]): Buffer => execFileSync('mount', args);
const unmount = (mountpoint: string): Buffer => execFileSync('umount', [mountpoint]);
const at = (name: string): string => `${root.snapshots}/${name}`;
const namesIn = (directory: string): string[] => fs.readdirSync(directory).sort();

interface Inspected {
  readonly code: number;
  readonly mounts: unknown;
  readonly found: readonly string[];
}

async function inspected(path: string, ...flags: string[]): Promise<Inspected> {
  const { code, stdout } = await stratalog(['inspect', '--json', '--root', path, ...flags]);
  const [report] = jsonLines(stdout);
  const findings = report?.['findings'] as readonly { kind: string; subject: string }[];
  const found = findings.map(({ kind, subject }) => `${kind} ${subject.replace(path, '.')}`).sort();
  return { code, mounts: report?.['mounts'], found };
}

/** What is said of the root where it is, and of a copy on another machine. */
async function expectFound(here: readonly string[], copied: readonly string[]): Promise<void> {
  const copy = `${root.path}-copy`;
  // One file system: what is mounted is no part of the root.
  execFileSync('cp', ['-ax', root.path, copy]);
  const [live, offline] = await Promise.all([inspected(root.path), inspected(copy, '--offline')]);
  fs.rmSync(copy, { recursive: true });
  expect(live).toEqual({ code: 3, mounts: 'known', found: here });
  const code = copied.every((line) => line.startsWith('KeptDirectories')) ? 0 : 3;
  expect(offline).toEqual({ code, mounts: 'unknown', found: copied });
}

/** Directories that would be collected. */
async function collected(): Promise<readonly unknown[]> {
  const { code, stdout, stderr } = await stratalog([
    'gc',
    '--dry-run',
    '--json',
    '--root',
    root.path,
  ]);
  const entries = jsonLines(stdout).filter(({ verdict }) => verdict === 'collected');
  expect({ code, stderr }).toEqual({ code: entries.length === 0 ? 0 : 3, stderr: '' });
  return entries.map(({ entry }) => entry);
}

async function deleted(name: string): Promise<void> {
  const { code, stderr } = await stratalog(['gc', '--delete', name, '-y', '--root', root.path]);
  expect([code, stderr]).toEqual([0, 'stratalog: removed 1 directory\n']);
}

/** Of a sound log: whatever is mounted, a repair is none of its business. */
async function expectNothingToRepair(): Promise<void> {
  const mounted = mountpointsBelow(root.path);
  const { code, stdout } = await stratalog(['repair', '--yes', '--root', root.path]);
  expect({ code, stdout }).toEqual({ code: 0, stdout: 'the log is sound: nothing to do\n' });
  expect(mountpointsBelow(root.path)).toEqual(mounted);
}

/** The next start settles all that is left, and nothing is mounted that is no layer. */
async function expectInOrder(directories: readonly string[]): Promise<void> {
  const next = await start();
  const wanted = directories.join();
  await until('what is not wanted is gone', () => next.directories().join() === wanted);
  await until('all effects have ended', () => next.snapshotter.actors().length === 0);
  await crash();
  expect(await inspected(root.path)).toEqual({ code: 0, mounts: 'known', found: [] });
}

it('an overlay was left mounted in a snapshot: its removal waits for it', async () => {
  const first = await start();
  await first.layer('A');
  await first.prepare('k', 'A');
  await crash();
  fs.mkdirSync(at('2/merged'));
  const options = `lowerdir=${at('1/fs')},upperdir=${at('2/fs')},workdir=${at('2/work')}`;
  mount('-t', 'overlay', 'overlay', '-o', options, at('2/merged'));
  await expectFound(['ForeignMount ./snapshots/2/merged'], []);
  expect(await collected()).toEqual([]);
  await expectNothingToRepair();

  const second = await start();
  expect(told(await second.remove('k'))).toBe('ok');
  await givenUp(second);
  await second.cleanup();
  // Deleted through, the lower layer's file would be whited out in the upper directory.
  expect(namesIn(at('2/merged'))).toEqual(['A']);
  await crash();
  expect((await inspected(root.path)).found).toEqual([
    'ForeignMount ./snapshots/2/merged',
    'UnfinishedRemoval snapshot 2 k',
  ]);
  expect(await collected()).toEqual(['2']);
  unmount(at('2/merged'));
  await expectInOrder(['1']);
  expect(namesIn(at('1/fs'))).toEqual(['A']);
});

it('a foreign directory is bound into snapshots/: it is set aside and stays', async () => {
  const first = await start();
  await first.layer('A');
  await crash();
  fs.mkdirSync(at('mine'));
  mount('--bind', outside, at('mine'));
  // And one of ours out of it, which is an ordinary use.
  const elsewhere = `${root.layers}/elsewhere`;
  fs.mkdirSync(elsewhere);
  mount('--bind', at('1/fs'), elsewhere);
  await expectFound(
    [
      'ForeignEntry ./snapshots/mine',
      'ForeignMount ./snapshots/mine',
      `MountElsewhere ${elsewhere}`,
    ],
    // Both are on one file system, so the copy has the files and not the mount.
    ['ForeignEntry ./snapshots/mine'],
  );
  expect(await collected()).toEqual([]);
  await expectNothingToRepair();

  await startAndCleanUp();
  expect(namesIn(outside)).toEqual(['precious']);
  expect(namesIn(elsewhere)).toEqual(['A']);
  await crash();
  unmount(elsewhere);
  unmount(at('mine'));
  // It was in use once: it is not for a start to decide that it no longer is.
  await startAndCleanUp();
  await crash();
  expect((await inspected(root.path)).found).toEqual(['KeptDirectories directories mine']);
  await deleted('mine');
  await expectInOrder(['1']);
  expect(namesIn(outside)).toEqual(['precious']);
});

it('a mount hides the directories of snapshots: they come back with its end', async () => {
  const first = await start();
  await first.layer('A');
  await first.prepare('k', 'A');
  fs.writeFileSync(`${first.fs(2)}/written`, 'by a container');
  await crash();
  for (const id of ['1', '2']) mount('-t', 'tmpfs', 'tmpfs', at(id));
  const mounts = ['ForeignMount ./snapshots/1', 'ForeignMount ./snapshots/2'];
  await expectFound(
    [...mounts, 'HiddenDirectory snapshot 1 A', 'HiddenDirectory snapshot 2 k'],
    // A copy has the mountpoints, and not what is mounted there.
    ['MissingDirectory snapshot 1 A', 'MissingDirectory snapshot 2 k'],
  );
  expect(await collected()).toEqual([]);
  await expectNothingToRepair();

  const second = await startAndCleanUp();
  // No container starts on a layer that is not there.
  expect(told(await second.prepare('other', 'A'))).not.toBe('ok');
  await crash();
  for (const id of ['1', '2']) unmount(at(id));
  const third = await startAndCleanUp();
  expect(told(await third.prepare('other', 'A'))).toBe('ok');
  await crash();
  await expectInOrder(['1', '2', '3']);
  expect(namesIn(at('1/fs'))).toEqual(['A']);
  expect(namesIn(at('2/fs'))).toEqual(['written']);
});

it('a remote layer is mounted and a repair lost its events: it is set aside with its mount', async () => {
  const labels = root.addLayer(REF);
  const first = await start();
  await first.layer('A');
  const before = (await first.events()).length;
  expect(told(await first.prepare('k', null, labels))).toBe('AlreadyExists TargetReady');
  await crash();
  const mounted = at('2/fs');
  expect(mountpointsBelow(root.snapshots)).toEqual([mounted]);
  const repairing = ['repair', '--yes', '--json', '--end-at', String(before)];
  const repaired = await stratalog([...repairing, '--root', root.path]);
  expect(repaired).toMatchObject({ code: 0, stderr: '' });
  expect(mountpointsBelow(root.snapshots)).toEqual([mounted]);
  await expectFound(
    ['ForeignMount ./snapshots/2/fs', 'KeptDirectories directories 2'],
    ['KeptDirectories directories 2'],
  );
  expect(await collected()).toEqual([]);

  await startAndCleanUp();
  expect(mountpointsBelow(root.snapshots)).toEqual([mounted]);
  await crash();
  // Its layer must not be deleted through the mount, whoever requests it.
  const refused = await stratalog(['gc', '--delete', '2', '--yes', '--root', root.path]);
  expect(refused.stderr).toContain(`something is mounted on ${mounted}`);
  expect(refused.code).toBe(2);
  expect(namesIn(`${root.layers}/${REF}`)).toEqual(['from']);
  expect(mountpointsBelow(root.snapshots)).toEqual([mounted]);
  unmount(mounted);
  await deleted('2');
  await expectInOrder(['1']);
  expect(namesIn(`${root.layers}/${REF}`)).toEqual(['from']);
});

it('a removal ended half-way with the layer still mounted: the next start ends both', async () => {
  const labels = root.addLayer(REF);
  const first = await start();
  expect(told(await first.prepare('k', null, labels))).toBe('AlreadyExists TargetReady');
  const [name = ''] = first.list();
  const inUse = fs.openSync(at('1/fs/from'), 'r');
  expect(told(await first.remove(name))).toBe('ok');
  await givenUp(first);
  await crash();
  fs.closeSync(inUse);
  expect(mountpointsBelow(root.snapshots)).toEqual([at('1/fs')]);
  const unfinished = `UnfinishedRemoval snapshot 1 ${name}`;
  await expectFound([unfinished], [unfinished]);
  expect(await collected()).toEqual(['1']);
  await expectNothingToRepair();
  await expectInOrder([]);
  expect(mountpointsBelow(root.snapshots)).toEqual([]);
  expect(namesIn(`${root.layers}/${REF}`)).toEqual(['from']);
});
