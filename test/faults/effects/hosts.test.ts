/**
 * Goal: an operating system that says no (full, busy, out of descriptors, read-only), a mount
 * table that changes between look and use, and a person who unmounts or deletes by hand cost one
 * snapshot each; what is left is told as it is, and a restart settles it. Method: faults put in
 * front of the real ports, and real deletes and mounts beside a running daemon.
 */
import * as fs from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HostFault } from '../../../src/base/errors.js';
import type { MountTable, SnapshotDirectories } from '../../../src/base/ports.js';
import {
  mountpointsBelow,
  TestDaemon,
  testRoot,
  told,
  until,
  upperOf,
  valueOf,
  type TestRoot,
} from '../../support/daemon.js';
import { expectFindings, goneOnWell, neighboursGoOn } from './support.js';

const REF = 'sha256:aa';
const READY = 'AlreadyExists TargetReady';

let root: TestRoot;
let daemon: TestDaemon;
let labels: ReadonlyMap<string, string>;

/** Which call says no, and how; asked before each call that changes or reads something. */
type Fault = (operation: string, path: string) => string | undefined;
let fault: Fault = () => undefined;

function check(operation: string, path: string): void {
  const code = fault(operation, path);
  if (code !== undefined) throw new HostFault(operation, path, code);
}

/** Called as often as it says; then the world is well again. */
function failing(times: number, operation: string, code: string): void {
  let left = times;
  fault = (asked) => {
    if (asked !== operation || left === 0) return undefined;
    left -= 1;
    return code;
  };
}

const faultyDirectories = (real: SnapshotDirectories): SnapshotDirectories => ({
  ...real,
  prepare: async (id, options, signal) => {
    check('mkdir', real.fsPath(id));
    return real.prepare(id, options, signal);
  },
  remove: async (name, signal) => {
    check('rmdir', name);
    return real.remove(name, signal);
  },
  removeUnused: async (name, signal) => {
    check('rmdir', name);
    return real.removeUnused(name, signal);
  },
  empty: async (id, signal) => {
    check('empty', real.fsPath(id));
    return real.empty(id, signal);
  },
});

const faultyMounts = (real: MountTable): MountTable => ({
  ...real,
  read: async (signal) => {
    check('read', '/proc/self/mountinfo');
    return real.read(signal);
  },
  unmount: async (mountpoint, options, signal) => {
    check('umount', mountpoint);
    return real.unmount(mountpoint, options, signal);
  },
});

async function start(): Promise<void> {
  daemon = await TestDaemon.open(root, {
    remote: true,
    directories: faultyDirectories,
    mountTable: faultyMounts,
  });
}

beforeEach(async () => {
  fault = () => undefined;
  root = testRoot();
  labels = root.addLayer(REF);
  await start();
});

afterEach(async () => {
  fault = () => undefined;
  expect(daemon.fatal).toEqual([]);
  await daemon.close();
  root.remove();
});

async function restart(): Promise<void> {
  fault = () => undefined;
  await daemon.crash();
  await start();
}

const idle = () => until('all effects have ended', () => daemon.snapshotter.actors().length === 0);

async function expectAtRest(): Promise<void> {
  await idle();
  await expectFindings(daemon, []);
}

describe('making directories that', () => {
  it.each(['ENOSPC', 'EDQUOT', 'EMFILE', 'EROFS', 'EBUSY', 'EIO'])(
    'says %s fails the Prepare that asked, with that code, and leaves nothing',
    async (code) => {
      failing(1, 'mkdir', code);
      await expect(daemon.prepare('k')).rejects.toThrow(new RegExp(`mkdir .*/fs: ${code}`));
      expect(told(daemon.stat('k'))).toBe('NotFound SnapshotUnknown');
      expect(await neighboursGoOn(daemon, REF)).toEqual(goneOnWell);
      await expectAtRest();
      expect(daemon.directories()).toEqual([]);
      const [abandoned] = await daemon.eventsOfType('SnapshotAbandoned');
      expect(String(abandoned?.data['reason'])).toContain(code);
      expect(told(await daemon.prepare('k'))).toBe('ok');
    },
  );
});

describe('deleting directories that', () => {
  it.each(['EBUSY', 'EROFS', 'EMFILE', 'EIO'])(
    'says %s is tried again, then left and told, and done by the next start',
    async (code) => {
      await daemon.prepare('k');
      failing(Infinity, 'rmdir', code);
      expect(told(await daemon.remove('k'))).toBe('ok');
      const tried = () => daemon.failures.filter((line) => line.includes(code)).length;
      await until('it was tried twice', () => tried() === 2);
      await idle();
      await expectFindings(daemon, ['UnfinishedRemoval']);
      // The name is free, and its next holder has a directory of its own.
      expect(upperOf(valueOf(await daemon.prepare('k')))).toBe(daemon.fs(2));
      await restart();
      await expectAtRest();
      expect(daemon.directories()).toEqual(['2']);
    },
  );

  it('says EBUSY once is done the second time', async () => {
    await daemon.prepare('k');
    failing(1, 'rmdir', 'EBUSY');
    await daemon.remove('k');
    await expectAtRest();
    expect(daemon.directories()).toEqual([]);
  });

  it('says ENOSPC to Cleanup too leaves the rest of it done', async () => {
    fs.mkdirSync(`${root.snapshots}/new-1`);
    fs.mkdirSync(`${root.snapshots}/new-2`);
    fault = (operation, path) => (operation === 'rmdir' && path === 'new-1' ? 'ENOSPC' : undefined);
    await daemon.cleanup().catch(() => undefined);
    expect(daemon.directories()).toEqual(['new-1']);
    expect(daemon.warnings.join()).not.toBe('');
    await expectFindings(daemon, ['OrphanDirectory']);
    await restart();
    await expectAtRest();
    expect(daemon.directories()).toEqual([]);
  });
});

describe('a mount table that', () => {
  it('cannot be read after a Mount costs one directory, and its mount is found and taken away', async () => {
    failing(Infinity, 'read', 'EMFILE');
    const upper = upperOf(valueOf(await daemon.prepare('k', null, labels)));
    expect(upper).toBe(daemon.fs(2));
    expect(fs.readdirSync(upper)).toEqual([]);
    fault = () => undefined;
    await restart();
    await expectAtRest();
    expect(mountpointsBelow(root.snapshots)).toEqual([]);
    expect(daemon.directories()).toEqual(['2']);
    expect(fs.readdirSync(`${root.layers}/${REF}`)).toEqual(['from']);
  });

  it('cannot be read at the start stops the start, and nothing is taken for missing', async () => {
    expect(told(await daemon.prepare('k', null, labels))).toBe(READY);
    await daemon.crash();
    failing(Infinity, 'read', 'EMFILE');
    await expect(start()).rejects.toThrow('EMFILE');
    fault = () => undefined;
    await start();
    expect(daemon.fileSystem.mounted).toEqual([]);
    expect(mountpointsBelow(root.snapshots)).toEqual([daemon.fs(1)]);
  });

  it('gets a mount between a Commit and its Remove keeps what is mounted from being deleted', async () => {
    await daemon.layer('A');
    const { mountTable } = daemon.host;
    const over = { type: 'tmpfs', source: 'tmpfs', mountpoint: daemon.fs(1), options: [] };
    await mountTable.mount(over);
    fs.writeFileSync(`${daemon.fs(1)}/precious`, 'mine');
    expect(told(await daemon.remove('A'))).toBe('ok');
    await idle();
    expect(fs.readFileSync(`${daemon.fs(1)}/precious`, 'utf8')).toBe('mine');
    await expectFindings(daemon, ['ForeignMount', 'UnfinishedRemoval']);
    await restart();
    await idle();
    expect(fs.readFileSync(`${daemon.fs(1)}/precious`, 'utf8')).toBe('mine');
    await mountTable.unmount(daemon.fs(1), { detach: false });
    await restart();
    await expectAtRest();
    expect(daemon.directories()).toEqual([]);
  });

  it('gets a mount on the directory that is just being made loses nothing to it', async () => {
    const { mountTable } = daemon.host;
    daemon.fileSystem.beforeMount = async () => {
      daemon.fileSystem.beforeMount = () => Promise.resolve();
      const [id = ''] = daemon.directories();
      const mountpoint = `${root.snapshots}/${id}/fs`;
      await mountTable.mount({ type: 'tmpfs', source: 'tmpfs', mountpoint, options: [] });
      fs.writeFileSync(`${mountpoint}/precious`, 'mine');
      throw new Error('no such layer');
    };
    // It is taken for what the failed mount has left: unmounted, never deleted in.
    const upper = upperOf(valueOf(await daemon.prepare('k', null, labels)));
    expect(fs.readdirSync(upper)).toEqual([]);
    expect(mountpointsBelow(root.snapshots)).toEqual([]);
    await expectAtRest();
  });

  it('loses the mount of a live layer gets it back at the next use, also below its children', async () => {
    expect(told(await daemon.prepare('k', null, labels))).toBe(READY);
    await daemon.layer('middle', REF);
    await daemon.prepare('top', 'middle');
    await daemon.host.mountTable.unmount(daemon.fs(1), { detach: true });
    await expectFindings(daemon, ['MissingMount']);
    expect(told(await daemon.prepare('other', 'middle'))).toBe('ok');
    expect(mountpointsBelow(root.snapshots)).toEqual([daemon.fs(1)]);
    expect((await daemon.eventsOfType('LayerUnavailable')).length).toBe(1);
    await expectAtRest();
  });
});

describe('a person who deletes by hand', () => {
  it('a snapshot’s whole directory fails its Commit with the path, and the rest goes on', async () => {
    await daemon.prepare('k');
    fs.rmSync(`${root.snapshots}/1`, { recursive: true });
    await expect(daemon.commit('k', 'K')).rejects.toThrow(/snapshots\/1.*ENOENT/);
    expect(told(daemon.stat('K'))).toBe('NotFound SnapshotUnknown');
    expect(valueOf(daemon.stat('k')).kind).toBe('active');
    expect(await neighboursGoOn(daemon, REF)).toEqual(goneOnWell);
    await expectFindings(daemon, ['MissingDirectory']);
    expect(told(await daemon.remove('k'))).toBe('ok');
    await expectAtRest();
  });

  it('only its fs has it made anew by the next start, and told', async () => {
    await daemon.prepare('k');
    fs.rmSync(daemon.fs(1), { recursive: true });
    await expectFindings(daemon, ['MissingDirectory']);
    await restart();
    await expectAtRest();
    expect((await daemon.eventsOfType('DirectoryRecreated')).length).toBe(1);
    fs.writeFileSync(`${daemon.fs(1)}/new`, 'x');
    expect(told(await daemon.commit('k', 'K'))).toBe('ok');
  });

  it('a layer that others stand on makes it unavailable at the next start, never forgotten', async () => {
    await daemon.layer('A');
    await daemon.prepare('child', 'A');
    fs.rmSync(`${root.snapshots}/1`, { recursive: true });
    await expectFindings(daemon, ['MissingDirectory']);
    await restart();
    expect(told(await daemon.prepare('other', 'A'))).toBe('Unavailable LayerNotAvailable');
    expect(told(await daemon.mounts('child'))).toBe('Unavailable LayerNotAvailable');
    await expectFindings(daemon, ['UnavailableLayer']);
    expect(await neighboursGoOn(daemon, REF)).toEqual(goneOnWell);
    for (const name of ['child', 'A']) expect(told(await daemon.remove(name))).toBe('ok');
    await expectAtRest();
  });

  it('all of snapshots/ leaves what the log knows answered, and a start makes it again', async () => {
    await daemon.layer('A');
    await daemon.prepare('k', 'A');
    expect(told(await daemon.prepare('r', null, labels))).toBe(READY);
    await daemon.host.mountTable.unmount(daemon.fs(3), { detach: false });
    fs.rmSync(root.snapshots, { recursive: true });
    expect(daemon.list()).toEqual(['A', 'k', REF]);
    await expect(daemon.prepare('new')).rejects.toThrow(/snapshots\/\d+.*: ENOENT/);
    expect(told(await daemon.update('k', new Map([['a', '1']])))).toBe('ok');
    expect(told(await daemon.remove('k'))).toBe('ok');
    await idle();
    await restart();
    expect(daemon.list()).toEqual(['A', REF]);
    await until('the layer is mounted again', () => fs.existsSync(`${daemon.fs(3)}/from`));
    expect(await neighboursGoOn(daemon, REF)).toEqual(goneOnWell);
    await expectFindings(daemon, ['UnavailableLayer']);
    expect(told(await daemon.remove('A'))).toBe('ok');
    await expectAtRest();
  });
});
