/** What a start makes of what the last stop, or the last crash, has left. */
import * as fs from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Labels } from '../../src/base/units.js';
import {
  eventsOf,
  mountpointsBelow,
  TestDaemon,
  testRoot,
  told,
  until,
  valueOf,
  type TestRoot,
} from '../support/daemon.js';

const REF = 'sha256:aa';

let root: TestRoot;
let labels: Labels;
let running: TestDaemon | null;

beforeEach(() => {
  root = testRoot();
  labels = root.addLayer(REF);
  running = null;
});

afterEach(async () => {
  await running?.close();
  root.remove();
});

type OpenOptions = Parameters<typeof TestDaemon.open>[1];

async function start(options: OpenOptions = {}): Promise<TestDaemon> {
  running = await TestDaemon.open(root, { remote: true, ...options });
  return running;
}

async function stop(how: 'close' | 'crash'): Promise<void> {
  const daemon = running;
  running = null;
  await daemon?.[how]();
}

/** Types of all events from the position on. */
async function typesFrom(position: number): Promise<string[]> {
  return (await eventsOf(root)).slice(position).map(({ type }) => type);
}

async function length(): Promise<number> {
  return (await eventsOf(root)).length;
}

describe('a restart', () => {
  it.each(['close', 'crash'] as const)('after a %s serves what it served before', async (how) => {
    const before = await start();
    await before.layer('A');
    await before.prepare('a', 'A', new Map([['l', '1']]));
    await before.view('v', 'A');
    await before.prepare('k', null, labels);
    await before.remove('v');
    await until('the view is gone', () => before.directories().length === 3);
    const names = before.list();
    const infos = names.map((name) => before.stat(name));
    await stop(how);
    expect(mountpointsBelow(root.snapshots)).toHaveLength(1);
    const after = await start();
    expect(after.list()).toEqual(names);
    expect(names.map((name) => after.stat(name))).toEqual(infos);
    expect(told(await after.mounts('a'))).toBe('ok');
    expect(told(await after.prepare('k', null, labels))).toBe('AlreadyExists TargetReady');
    // The mount was adopted as it stood.
    expect(after.fileSystem.mounted).toEqual([]);
    expect(after.fileSystem.unmounted).toEqual([]);
    // No id comes again, that of the removed view neither.
    expect(valueOf(await after.prepare('new'))[0]?.source).toBe(after.fs(5));
  });

  it('a second time changes nothing but to say that it started and stopped', async () => {
    const daemon = await start();
    await daemon.layer('A');
    await daemon.prepare('k', null, labels);
    await stop('crash');
    await start();
    await stop('close');
    const begin = await length();
    await start();
    await stop('close');
    expect(await typesFrom(begin)).toEqual([
      'DaemonStarted',
      'RecoveryPlanned',
      'DaemonStopped',
      'CheckpointTaken',
    ]);
    const planned = (await eventsOf(root)).slice(begin)[1];
    expect(planned?.data).toEqual({ adopted: 1, findings: [], omitted: 0 });
  });

  it('abandons what was being prepared, and what was half mounted, and removes both', async () => {
    const daemon = await start();
    await daemon.layer('A');
    daemon.fileSystem.switches.set(REF, 'hanging');
    const asked = daemon.prepare('k', null, labels);
    asked.catch(() => undefined);
    await until('the mount is asked for', () => daemon.fileSystem.mounted.length === 1);
    await stop('crash');
    const begin = await length();
    const after = await start();
    await until('its directory is gone', () => after.directories().length === 1);
    expect(after.list()).toEqual(['A']);
    expect(told(await after.prepare('k'))).toBe('ok');
    const types = await typesFrom(begin);
    expect(types).toContain('SnapshotAbandoned');
    expect(types.slice(0, 2)).toEqual(['DaemonStarted', 'RecoveryPlanned']);
    expect(mountpointsBelow(root.snapshots)).toEqual([]);
  });

  it('goes on with a removal, and leaves to Cleanup what waits for it', async () => {
    const daemon = await start({ asynchronousRemove: true });
    await daemon.prepare('a');
    await daemon.remove('a');
    await stop('crash');
    const after = await start();
    expect(after.directories()).toEqual(['1']);
    await after.cleanup();
    expect(after.directories()).toEqual([]);
  });

  it('removes directories that no snapshot owns, and uses their ids no more', async () => {
    const daemon = await start();
    await daemon.prepare('a');
    await stop('crash');
    fs.mkdirSync(`${root.snapshots}/7/fs`, { recursive: true });
    fs.mkdirSync(`${root.snapshots}/new-3`);
    const after = await start();
    await until('they are gone', () => after.directories().length === 1);
    expect(valueOf(await after.prepare('b'))[0]?.source).toBe(after.fs(8));
    const removed = await after.eventsOfType('OrphanRemoved');
    expect(removed.map(({ data }) => data['name']).sort()).toEqual(['7', 'new-3']);
  });
});

describe('what was lost meanwhile', () => {
  it('a committed directory: unavailable, never forgotten, and back when it is put back', async () => {
    const daemon = await start();
    await daemon.layer('A');
    await daemon.prepare('a', 'A');
    await stop('close');
    fs.renameSync(`${root.snapshots}/1`, `${root.layers}/saved`);
    const after = await start();
    expect(after.list()).toEqual(['A', 'a']);
    expect(told(after.stat('A'))).toBe('ok');
    const refused = await after.mounts('a');
    expect(told(refused)).toBe('Unavailable LayerNotAvailable');
    if (!refused.ok) expect(refused.refusal.message).toContain('is gone');
    expect(told(await after.prepare('b', 'A'))).toBe('Unavailable LayerNotAvailable');
    await stop('close');
    const again = await start();
    expect(told(await again.mounts('a'))).toBe('Unavailable LayerNotAvailable');
    fs.renameSync(`${root.layers}/saved`, `${root.snapshots}/1`);
    expect(told(await again.mounts('a'))).toBe('ok');
    await until(
      'it is recorded',
      async () => (await again.eventsOfType('LayerAvailable')).length === 1,
    );
  });

  it('an active directory: made anew, empty, with the owner that its labels ask for', async () => {
    const daemon = await start();
    const mapped = new Map([['containerd.io/snapshot/uidmapping', '0:4000:1000']]);
    await daemon.prepare('a', null, mapped);
    expect(fs.statSync(daemon.fs(1)).uid).toBe(4000);
    await stop('close');
    fs.rmSync(`${root.snapshots}/1`, { recursive: true });
    const after = await start();
    await until(
      'it is there',
      async () => (await after.eventsOfType('DirectoryRecreated')).length > 0,
    );
    expect(fs.readdirSync(after.fs(1))).toEqual([]);
    expect(fs.statSync(after.fs(1)).uid).toBe(4000);
    expect(told(await after.mounts('a'))).toBe('ok');
  });

  it('a mount: made again by itself', async () => {
    const daemon = await start();
    await daemon.prepare('k', null, labels);
    await daemon.prepare('child', REF);
    await daemon.host.mountTable.unmount(daemon.fs(1), { detach: false });
    await stop('close');
    const after = await start();
    await until('it is mounted', () => mountpointsBelow(root.snapshots).length === 1);
    expect(told(await after.mounts('child'))).toBe('ok');
    expect(after.fileSystem.mounted).toEqual([REF]);
  });

  it('a mount that cannot be made again: the rest serves, and it is found when it is back', async () => {
    const daemon = await start();
    await daemon.prepare('k', null, labels);
    await daemon.prepare('child', REF);
    await daemon.layer('B');
    await daemon.host.mountTable.unmount(daemon.fs(1), { detach: false });
    await stop('close');
    const after = await start({
      beforeRecovery: (fileSystem) => fileSystem.switches.set(REF, 'broken'),
    });
    expect(told(await after.mounts('child'))).toBe('Unavailable LayerNotAvailable');
    expect(told(await after.prepare('b', 'B'))).toBe('ok');
    expect(told(after.stat(REF))).toBe('ok');
    after.fileSystem.switches.set(REF, 'fine');
    expect(told(await after.mounts('child'))).toBe('ok');
  });

  it('the file system behind remote layers: they are kept, and can be removed', async () => {
    const daemon = await start();
    await daemon.prepare('k', null, labels);
    await daemon.prepare('child', REF);
    await stop('close');
    const after = await start({ remote: false });
    const refused = await after.mounts('child');
    expect(told(refused)).toBe('Unavailable LayerNotAvailable');
    if (!refused.ok) expect(refused.refusal.message).toContain('bind');
    expect(told(await after.remove('child'))).toBe('ok');
    expect(told(await after.remove(REF))).toBe('ok');
    await until('both are gone', () => after.directories().length === 0);
    expect(mountpointsBelow(root.snapshots)).toEqual([]);
  });
});
