/** Ordinary snapshots on the real host, through the methods that the service calls. */
import * as fs from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { snapshotName } from '../../src/base/units.js';
import {
  TestDaemon,
  testRoot,
  told,
  until,
  upperOf,
  valueOf,
  type TestRoot,
} from '../support/daemon.js';

let root: TestRoot;
let daemon: TestDaemon;

beforeEach(() => {
  root = testRoot();
});

afterEach(async () => {
  await daemon.close();
  root.remove();
});

describe('an empty store', () => {
  it('lists nothing and cleans up without error', async () => {
    daemon = await TestDaemon.open(root);
    expect(daemon.list()).toEqual([]);
    await expect(daemon.cleanup()).resolves.toBeUndefined();
    expect(told(daemon.stat('nobody'))).toBe('NotFound SnapshotUnknown');
    expect(told(await daemon.usage('nobody'))).toBe('NotFound SnapshotUnknown');
    expect(told(await daemon.mounts('nobody'))).toBe('NotFound SnapshotUnknown');
  });
});

describe('a life', () => {
  it('goes from Prepare over Commit to a child, a view, and back', async () => {
    daemon = await TestDaemon.open(root);
    const mounts = valueOf(await daemon.prepare('a'));
    expect(mounts).toEqual([{ type: 'bind', source: daemon.fs(1), options: ['rw', 'rbind'] }]);
    fs.writeFileSync(`${daemon.fs(1)}/file`, 'x'.repeat(10_000));
    expect(valueOf(await daemon.usage('a')).inodes).toBe(2);
    expect(valueOf(daemon.stat('a'))).toMatchObject({ kind: 'active', parent: '' });
    expect(told(await daemon.commit('a', 'A'))).toBe('ok');
    expect(told(daemon.stat('a'))).toBe('NotFound SnapshotUnknown');
    expect(valueOf(daemon.stat('A'))).toMatchObject({ kind: 'committed' });

    const [overlay] = valueOf(await daemon.prepare('b', 'A'));
    expect(overlay?.type).toBe('overlay');
    expect(overlay?.options.slice(0, 3)).toEqual([
      `workdir=${root.snapshots}/2/work`,
      `upperdir=${daemon.fs(2)}`,
      `lowerdir=${daemon.fs(1)}`,
    ]);
    expect(valueOf(await daemon.view('v', 'A'))).toEqual([
      { type: 'bind', source: daemon.fs(1), options: ['ro', 'rbind'] },
    ]);
    expect(valueOf(await daemon.usage('v'))).toEqual({ size: 0, inodes: 0 });
    expect(told(await daemon.mounts('A'))).toBe('FailedPrecondition NotMountable');
    expect(valueOf(await daemon.mounts('b'))).toEqual([overlay]);

    expect(daemon.list('kind==view')).toEqual(['v']);
    expect(daemon.list('parent==A')).toEqual(['b', 'v']);
    expect(told(daemon.snapshotter.list(['kind==view ,']))).toBe('InvalidArgument InvalidFilter');
    expect(told(await daemon.remove('A'))).toBe('FailedPrecondition HasChildren');
    for (const name of ['b', 'v', 'A']) expect(told(await daemon.remove(name))).toBe('ok');
    expect(daemon.list()).toEqual([]);
    await until('directories are gone', () => daemon.directories().length === 0);
  });

  it('has a usage frozen at Commit', async () => {
    daemon = await TestDaemon.open(root, { durability: 'data' });
    await daemon.layer('A');
    const before = valueOf(await daemon.usage('A'));
    expect(before.inodes).toBe(2);
    fs.writeFileSync(`${daemon.fs(1)}/late`, 'x'.repeat(100_000));
    expect(valueOf(await daemon.usage('A'))).toEqual(before);
  });

  it('updates labels, and the info that comes back has them', async () => {
    daemon = await TestDaemon.open(root, { upperdirLabel: true });
    await daemon.prepare('a', null, new Map([['one', '1']]));
    const info = valueOf(
      await daemon.update('a', new Map([['__proto__', '2']]), 'labels.__proto__'),
    );
    expect(info.labels.get('one')).toBe('1');
    expect(info.labels.get('__proto__')).toBe('2');
    expect(info.labels.get('containerd.io/snapshot/overlay.upperdir')).toBe(daemon.fs(1));
    expect(info.updatedAt > info.createdAt).toBe(true);
    expect(valueOf(daemon.stat('a'))).toEqual(info);
  });

  it('takes many at once', async () => {
    daemon = await TestDaemon.open(root);
    const keys = Array.from({ length: 60 }, (_, index) => `k${index}`);
    const results = await Promise.all(keys.map((key) => daemon.prepare(key)));
    expect(new Set(results.map((result) => upperOf(valueOf(result)))).size).toBe(60);
    const again = await Promise.all(keys.map((key) => daemon.prepare(key)));
    expect(new Set(again.map(told))).toEqual(new Set(['AlreadyExists NameInUse']));
    expect(daemon.directories()).toHaveLength(60);
  });
});

describe('Remove', () => {
  it('when asynchronous frees the key at once and leaves the directory to Cleanup', async () => {
    daemon = await TestDaemon.open(root, { asynchronousRemove: true });
    await daemon.prepare('a');
    await daemon.remove('a');
    expect(told(await daemon.prepare('a'))).toBe('ok');
    expect(daemon.directories()).toEqual(['1', '2']);
    await daemon.cleanup();
    expect(daemon.directories()).toEqual(['2']);
    expect(await daemon.eventsOfType('DirectoriesCollected')).toHaveLength(1);
  });

  it('when synchronous deletes the directory in the background', async () => {
    daemon = await TestDaemon.open(root);
    await daemon.prepare('a');
    await daemon.remove('a');
    expect(daemon.list()).toEqual([]);
    await until('the directory is gone', () => daemon.directories().length === 0);
    // Nobody waits for the last event, so it may come to the log a little later.
    await until('the log says so', async () => {
      const events = (await daemon.events()).filter(({ stream }) => stream === 'snapshot-1');
      const types = events.map(({ type }) => type).join(' ');
      return types === 'SnapshotPreparing SnapshotPrepared SnapshotRemoving SnapshotRemoved';
    });
  });
});

describe('requests that meet', () => {
  it('commit what was relabelled a moment before', async () => {
    daemon = await TestDaemon.open(root);
    await daemon.prepare('a');
    const [updated, committed] = await Promise.all([
      daemon.update('a', new Map([['l', '1']])),
      daemon.commit('a', 'A'),
    ]);
    expect([told(updated), told(committed)]).toEqual(['ok', 'ok']);
    expect(valueOf(daemon.stat('A')).kind).toBe('committed');
  });

  it('commit one key once', async () => {
    daemon = await TestDaemon.open(root);
    await daemon.prepare('a');
    const answers = await Promise.all([
      daemon.commit('a', 'A'),
      daemon.commit('a', 'B'),
      daemon.remove('a'),
      daemon.prepare('A'),
    ]);
    expect(answers.map(told)).toEqual([
      'ok',
      'Unavailable CommitInProgress',
      'Unavailable CommitInProgress',
      'AlreadyExists NameInUse',
    ]);
  });

  it('leave nothing of a Prepare whose caller went away', async () => {
    daemon = await TestDaemon.open(root);
    const controller = new AbortController();
    const asked = daemon.prepare('a', null, new Map(), controller.signal);
    controller.abort(new Error('the client is gone'));
    await expect(asked).rejects.toThrow('the client is gone');
    await until('nothing is left', () => daemon.directories().length === 0);
    expect(daemon.list()).toEqual([]);
    expect(told(await daemon.prepare('a'))).toBe('ok');
  });

  it('list one cut, whatever happens while it is read', async () => {
    daemon = await TestDaemon.open(root);
    await daemon.layer('A');
    await daemon.layer('B', 'A');
    const walk = valueOf(daemon.snapshotter.list([]))[Symbol.iterator]();
    expect(walk.next().value).toMatchObject({ name: snapshotName('A') });
    await daemon.remove('B');
    expect(told(daemon.stat('A'))).toBe('ok');
    expect(walk.next().value).toMatchObject({ name: snapshotName('B') });
    expect(walk.next().done).toBe(true);
  });
});

const KEPT = 'directories that the log knows only as garbage are in use and are kept';

describe('Cleanup', () => {
  it('beside running Prepares removes unused entries and nothing in use', async () => {
    daemon = await TestDaemon.open(root);
    await daemon.layer('A');
    fs.mkdirSync(`${root.snapshots}/new-417/fs`, { recursive: true });
    fs.mkdirSync(`${root.snapshots}/empty`);
    fs.mkdirSync(`${root.snapshots}/lost+found`);
    fs.writeFileSync(`${root.snapshots}/README`, 'not ours');
    const results = await Promise.all([
      ...Array.from({ length: 20 }, (_, index) => daemon.prepare(`k${index}`, 'A')),
      ...Array.from({ length: 3 }, () => daemon.cleanup().then(() => undefined)),
      ...Array.from({ length: 20 }, (_, index) => daemon.prepare(`m${index}`)),
    ]);
    for (const result of results) {
      if (result !== undefined) expect(fs.existsSync(upperOf(valueOf(result)))).toBe(true);
    }
    // Those, and what mkfs made, which belongs to the file system.
    expect(daemon.directories()).toHaveLength(43);
    const removed = await daemon.eventsOfType('OrphanRemoved');
    expect(removed.map(({ data }) => data['name']).sort()).toEqual(['empty', 'new-417']);
    expect(fs.readdirSync(root.snapshots)).toContain('lost+found');
    expect(fs.readFileSync(`${root.snapshots}/README`, 'utf8')).toBe('not ours');
    expect(daemon.warnings).toEqual([KEPT]);
  });

  it('never deletes through a live mount', async () => {
    daemon = await TestDaemon.open(root);
    fs.mkdirSync(`${root.layers}/precious`);
    fs.writeFileSync(`${root.layers}/precious/data`, 'keep');
    const mountpoint = `${root.snapshots}/new-1/fs`;
    fs.mkdirSync(mountpoint, { recursive: true });
    const { mountTable } = daemon.host;
    await mountTable.mount({
      type: 'none',
      source: `${root.layers}/precious`,
      mountpoint,
      options: ['bind'],
    });
    await daemon.cleanup();
    expect(fs.readFileSync(`${mountpoint}/data`, 'utf8')).toBe('keep');
    expect(daemon.warnings).toEqual([KEPT]);
    await mountTable.unmount(mountpoint, { detach: false });
    // It was in use: only a person knows whether it is garbage now.
    await daemon.cleanup();
    expect(daemon.directories()).toEqual(['new-1']);
    expect(told(await daemon.deleteDirectories('new-1'))).toBe('ok');
    expect(daemon.directories()).toEqual([]);
  });
});
