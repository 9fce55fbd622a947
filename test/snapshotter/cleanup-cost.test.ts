/**
 * Goal: what Cleanup costs does not grow with the log: it reads no record, and lists `snapshots/`
 * once. Method: the reads of the real disk are counted while it runs, behind many events and few, in
 * one segment: a full one is given an index, which has nothing to do with Cleanup.
 */
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { Disk, SnapshotDirectories } from '../../src/base/ports.js';
import { TestDaemon, testRoot, until, type TestRoot } from '../support/daemon.js';

let root: TestRoot;
let daemon: TestDaemon;

beforeEach(() => {
  root = testRoot();
});
afterEach(async () => {
  await daemon.close();
  root.remove();
});

it('reads no record of the log and lists the directories once', async () => {
  const seen: string[] = [];
  const countedDisk = (real: Disk): Disk => ({
    ...real,
    open: async (path, mode) => {
      if (mode === 'read') seen.push(`open ${path}`);
      const file = await real.open(path, mode);
      return {
        path: file.path,
        size: () => file.size(),
        read: (into, offset) => {
          seen.push(`read ${path}`);
          return file.read(into, offset);
        },
        write: (bytes, offset) => file.write(bytes, offset),
        writeDurably: (bytes, offset) => file.writeDurably(bytes, offset),
        sync: () => file.sync(),
        truncate: (size) => file.truncate(size),
        close: () => file.close(),
      };
    },
    list: (path) => {
      seen.push(`list ${path}`);
      return real.list(path);
    },
  });
  const countedDirectories = (real: SnapshotDirectories): SnapshotDirectories => ({
    ...real,
    list: (signal, query) => {
      seen.push('list snapshots/');
      return real.list(signal, query);
    },
    usesOf: (names, signal) => {
      seen.push('look');
      return real.usesOf(names, signal);
    },
  });
  daemon = await TestDaemon.open(root, {
    disk: countedDisk,
    directories: countedDirectories,
    asynchronousRemove: true,
  });
  for (const events of [0, 40]) {
    for (let number = 0; number < events; number += 1) {
      await daemon.prepare(`key ${number}`);
      await daemon.remove(`key ${number}`);
    }
    await daemon.prepare('last');
    await daemon.remove('last');
    seen.length = 0;
    await daemon.cleanup();
    // Whoever looks for full segments, now and then, lists the log as well and finds none.
    const cost = seen.filter((call) => call !== `list ${root.path}/log`);
    expect(cost).toEqual(['list snapshots/']);
    expect(daemon.directories()).toEqual([]);
  }
  const isAllRecorded = async () => (await daemon.eventsOfType('SnapshotRemoved')).length === 42;
  await until('all is recorded', isAllRecorded);
  expect((await daemon.events()).length).toBeGreaterThan(160);
});
