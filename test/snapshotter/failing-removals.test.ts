/**
 * Goal: a directory that cannot be deleted is told once for each error, is known until it is gone,
 * is tried again as long as the daemon lives, and makes no Cleanup wait. Method: a snapshotter on
 * real directories with a real mount or a real error of the file system in the way.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { SnapshotDirectories } from '../../src/base/ports.js';
import { defaultPolicies, type EffectPolicies } from '../../src/effects/policies.js';
import { replayRoot } from '../../src/inspect/archive/replay-root.js';
import { startupPlan } from '../../src/inspect/startup/startup-plan.js';
import {
  TestDaemon,
  testRoot,
  told,
  until,
  type TestDaemonOptions,
  type TestRoot,
} from '../support/daemon.js';
import { diskBeforeWrites } from '../support/disk-before-writes.js';
import { ext4Root } from '../support/ext4-root.js';

const HOUR = 3_600_000;

const policies = (removal: Partial<EffectPolicies['removeDirectories']>): EffectPolicies => ({
  ...defaultPolicies,
  removeDirectories: { ...defaultPolicies.removeDirectories, ...removal },
});
/** Whoever waits for an attempt after the first waits for longer than any test. */
const never = policies({ backoffMillis: HOUR, backoffMillisMax: HOUR });
const often = policies({ backoffMillis: 10, backoffMillisMax: 10 });

const WARNING = 'the directory of a removed snapshot cannot be deleted; it is tried again';

let root: TestRoot;
let daemon: TestDaemon;

beforeEach(() => {
  root = testRoot();
});
afterEach(async () => {
  await daemon.close();
  root.remove();
});

async function open(options: TestDaemonOptions): Promise<TestDaemon> {
  daemon = await TestDaemon.open(root, options);
  return daemon;
}

const failures = async () =>
  (await daemon.eventsOfType('SnapshotRemovalFailed')).map(({ stream, data }) => [
    stream,
    data['code'],
    String(data['path']).replace(`${root.snapshots}/`, ''),
  ]);
const failed = (count: number) =>
  until(`${count} failures are recorded`, async () => (await failures()).length === count);
const warned = () => daemon.warnings.filter((message) => message === WARNING).length;
const mountAt = (path: string): void => {
  fs.mkdirSync(path, { recursive: true });
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', path]);
};
const unmount = (path: string): void => void execFileSync('umount', [path]);

async function stuck(options: TestDaemonOptions): Promise<string> {
  await open(options);
  expect(told(await daemon.prepare('stuck'))).toBe('ok');
  const mounted = `${daemon.fs(1)}/mounted`;
  mountAt(mounted);
  expect(told(await daemon.remove('stuck'))).toBe('ok');
  await failed(1);
  return mounted;
}

describe('a removal that keeps failing', () => {
  it('is told once, with directory and errno, however often it is tried', async () => {
    const mounted = await stuck({ policies: often });
    await until('it is tried many times', () => daemon.failures.length > 10);
    expect(await failures()).toEqual([['snapshot-1', 'EBUSY', '1/fs/mounted']]);
    expect(warned()).toBe(1);
    expect(daemon.snapshotter.directoryProblems()).toEqual({ setAside: 0, failing: 1 });
    // Another mount is in the way now: that is news.
    mountAt(`${daemon.fs(1)}/another`);
    unmount(mounted);
    await failed(2);
    expect((await failures())[1]).toEqual(['snapshot-1', 'EBUSY', '1/fs/another']);
    expect(warned()).toBe(2);
    unmount(`${daemon.fs(1)}/another`);
    await until('it is gone', () => daemon.directories().length === 0);
    await until('that is known', () => daemon.snapshotter.directoryProblems().failing === 0);
    await until(
      'it is recorded',
      async () => (await daemon.eventsOfType('SnapshotRemoved')).length === 1,
    );
  });

  it('makes no Cleanup wait, and each one tries it again at once', async () => {
    const mounted = await stuck({ policies: never });
    for (let round = 0; round < 3; round += 1) {
      const before = daemon.failures.length;
      await daemon.cleanup();
      await until('it was tried', () => daemon.failures.length === before + 1);
    }
    // Others are collected meanwhile, and that is waited for.
    await daemon.prepare('other');
    await daemon.remove('other');
    await daemon.cleanup();
    expect(daemon.directories()).toEqual(['1']);
    expect(await failures()).toHaveLength(1);
    // What is not collected anew is no collection.
    expect(await daemon.eventsOfType('DirectoriesCollected')).toHaveLength(1);
    unmount(mounted);
    await daemon.cleanup();
    await until('it is gone', () => daemon.directories().length === 0);
  });

  it('is tried again by a Cleanup that comes before the failure is durable', async () => {
    let write = Promise.resolve();
    let goOn: () => void = () => undefined;
    const disk = diskBeforeWrites(() => write);
    await open({ policies: never, disk });
    await daemon.prepare('stuck');
    mountAt(`${daemon.fs(1)}/mounted`);
    await daemon.remove('stuck');
    write = new Promise((resolve) => {
      goOn = resolve;
    });
    // The first attempt fails now or has just failed; its event may be written, and is not durable.
    await until('it failed', () => daemon.failures.length === 1);
    const cleanup = daemon.cleanup();
    goOn();
    await cleanup;
    await until('it was tried again', () => daemon.failures.length === 2);
    unmount(`${daemon.fs(1)}/mounted`);
    await daemon.cleanup();
    await until('it is gone', () => daemon.directories().length === 0);
  });

  it('is a fact that a restart keeps, by replay and by checkpoint, and does not tell again', async () => {
    const mounted = await stuck({ policies: never });
    await daemon.crash();
    for (const ending of ['close', 'crash'] as const) {
      await open({ policies: never });
      expect(daemon.snapshotter.directoryProblems().failing).toBe(1);
      await until('it was tried', () => daemon.failures.length > 0);
      expect([await failures(), warned()]).toHaveLength(2);
      expect(await failures()).toHaveLength(1);
      await daemon[ending]();
    }
    const { forest } = (await replayRoot(daemon.host.disk, root.path)).replay;
    const [found] = (
      await startupPlan(forest, { ...daemon.host, snapshotsPath: root.snapshots, isLive: true })
    ).findings.filter(({ kind }) => kind === 'UnfinishedRemoval');
    expect(found).toMatchObject({ failed: { code: 'EBUSY', path: mounted } });
    unmount(mounted);
    await open({});
    await until('it is gone', () => daemon.directories().length === 0);
    await until('that is known', () => daemon.snapshotter.directoryProblems().failing === 0);
  });

  it('that hangs is told when its time is over, and is tried again once the hang ends', async () => {
    let release: () => void = () => undefined;
    let calls = 0;
    const directories = (real: SnapshotDirectories): SnapshotDirectories => ({
      ...real,
      remove: async (name, signal, options) => {
        calls += 1;
        if (calls === 1) await new Promise<void>((resolve) => (release = resolve));
        return real.remove(name, signal, options);
      },
    });
    const limit = policies({ timeLimitMillis: 100, backoffMillis: 10, backoffMillisMax: 10 });
    await open({ policies: limit, directories });
    await daemon.prepare('slow');
    await daemon.remove('slow');
    await failed(1);
    expect((await failures())[0]).toEqual(['snapshot-1', 'ETIMEDOUT', '1/fs']);
    await daemon.cleanup();
    expect(calls).toBe(1);
    release();
    await until('it is gone', () => daemon.directories().length === 0);
  });

  it('is told with what the file system says: EUCLEAN', async () => {
    root.remove();
    const damaged = ext4Root();
    root = damaged;
    await open({ policies: often });
    await daemon.prepare('damaged');
    fs.mkdirSync(`${daemon.fs(1)}/a/bad`, { recursive: true });
    await daemon.close();
    damaged.damage('snapshots/1/fs/a/bad');
    await open({ policies: often });
    await daemon.remove('damaged');
    await failed(1);
    expect((await failures())[0]).toEqual(['snapshot-1', 'EUCLEAN', '1/fs/a/bad']);
    await until('it is tried many times', () => daemon.failures.length > 10);
    expect(await failures()).toHaveLength(1);
    await daemon.cleanup();
  });
});

it('an orphan that cannot be deleted is told once, and its finding recorded once', async () => {
  await open({});
  await daemon.layer('A');
  fs.mkdirSync(`${root.snapshots}/new-1/fs`, { recursive: true });
  execFileSync('chattr', ['+i', `${root.snapshots}/new-1`]);
  for (let round = 0; round < 3; round += 1) await daemon.cleanup();
  expect(daemon.warnings).toEqual([
    'a directory that no snapshot owns could not be looked at or deleted',
  ]);
  expect(await daemon.eventsOfType('OrphanFound')).toHaveLength(1);
  expect(daemon.snapshotter.directoryProblems()).toEqual({ setAside: 0, failing: 1 });
  execFileSync('chattr', ['-i', `${root.snapshots}/new-1`]);
  await daemon.cleanup();
  expect(daemon.directories()).toEqual(['1']);
  expect(await daemon.eventsOfType('OrphanRemoved')).toHaveLength(1);
  expect(daemon.snapshotter.directoryProblems().failing).toBe(0);
});
