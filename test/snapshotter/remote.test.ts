/**
 * Remote layers on the real host: what is mounted, what is answered, and what stays when the
 * file system behind them fails in each of its ways.
 */
import * as fs from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Labels } from '../../src/base/units.js';
import { REMOTE_LABEL, TARGET_LABEL } from '../../src/machines/labels.js';
import {
  mountpointsBelow,
  TestDaemon,
  testRoot,
  told,
  until,
  upperOf,
  valueOf,
  type TestRoot,
} from '../support/daemon.js';

const REF = 'sha256:aa';
const READY = 'AlreadyExists TargetReady';
const LOST = 'Unavailable LayerNotAvailable';

let root: TestRoot;
let daemon: TestDaemon;
let labels: Labels;

beforeEach(async () => {
  root = testRoot();
  labels = root.addLayer(REF);
  daemon = await TestDaemon.open(root, { remote: true });
});

afterEach(async () => {
  expect(daemon.fatal).toEqual([]);
  await daemon.close();
  root.remove();
});

const mountpoints = () => mountpointsBelow(root.snapshots);
const reasons = async (type: string) =>
  (await daemon.eventsOfType(type)).map(({ data }) => String(data['reason']));

describe('a remote layer that is there', () => {
  it('answers Prepare with TargetReady, and stands committed and durable before that', async () => {
    expect(told(await daemon.prepare('k', null, labels))).toBe(READY);
    const committed = await daemon.eventsOfType('SnapshotCommitted');
    expect(committed.map(({ data }) => data['name'])).toEqual([REF]);
    expect(daemon.list(`labels."${TARGET_LABEL}"==${REF},parent==""`)).toEqual([REF]);
    const info = valueOf(daemon.stat(REF));
    expect(info.kind).toBe('committed');
    expect(info.labels.has(REMOTE_LABEL)).toBe(true);
    expect(told(daemon.stat('k'))).toBe('NotFound SnapshotUnknown');
    expect(fs.readFileSync(`${daemon.fs(1)}/from`, 'utf8')).toBe(REF);
    expect(valueOf(await daemon.usage(REF))).toEqual({ size: 0, inodes: 0 });
  });

  it('is mounted once for twenty who ask at the same time', async () => {
    const asked = Array.from({ length: 20 }, (_, index) =>
      daemon.prepare(`k${index}`, null, labels),
    );
    expect(new Set((await Promise.all(asked)).map(told))).toEqual(new Set([READY]));
    expect(daemon.fileSystem.mounted).toEqual([REF]);
    expect(daemon.list()).toEqual([REF]);
    expect(daemon.directories()).toEqual(['1']);
    expect(told(await daemon.prepare('later', null, labels))).toBe(READY);
    expect(daemon.fileSystem.mounted).toEqual([REF]);
  });

  it('is mounted once more, and not nineteen times, when the one who asked first goes away', async () => {
    let begun = 0;
    let open: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => (open = resolve));
    daemon.fileSystem.beforeMount = () => {
      begun += 1;
      return begun === 1 ? gate : Promise.resolve();
    };
    const controller = new AbortController();
    const first = daemon.prepare('first', null, labels, controller.signal);
    first.catch(() => undefined);
    const others = Array.from({ length: 19 }, (_, index) =>
      daemon.prepare(`k${index}`, null, labels),
    );
    await until('the first mount has begun', () => begun === 1);
    controller.abort(new Error('gone'));
    await expect(first).rejects.toThrow('gone');
    expect(new Set((await Promise.all(others)).map(told))).toEqual(new Set([READY]));
    expect(begun).toBe(2);
    open();
    await until('the first one’s directory is gone', () => daemon.directories().length === 1);
    expect(mountpoints()).toHaveLength(1);
  });

  it('is another snapshot on another parent', async () => {
    await daemon.layer('base');
    expect(told(await daemon.prepare('k', null, labels))).toBe(READY);
    expect(told(await daemon.prepare('k', 'base', labels))).toBe(READY);
    expect(daemon.list(`labels."${TARGET_LABEL}"==${REF},parent==base`)).toHaveLength(1);
    expect(mountpoints()).toHaveLength(2);
  });

  it('carries children, and is unmounted when it is removed', async () => {
    await daemon.prepare('k', null, labels);
    const [mount] = valueOf(await daemon.prepare('child', REF));
    expect(mount?.options).toContain(`lowerdir=${daemon.fs(1)}`);
    expect(told(await daemon.remove(REF))).toBe('FailedPrecondition HasChildren');
    await daemon.remove('child');
    expect(told(await daemon.remove(REF))).toBe('ok');
    await until('nothing is left', () => daemon.directories().length === 0);
    expect(mountpoints()).toEqual([]);
    expect(fs.existsSync(`${root.layers}/${REF}/from`)).toBe(true);
  });

  it('is not asked for by a view', async () => {
    await daemon.view('v', null);
    expect(daemon.fileSystem.mounted).toEqual([]);
  });
});

describe('a remote mount that fails', () => {
  it.each(['broken', 'dirty', 'littering', 'throwing', 'lying'] as const)(
    'because it is %s gives an ordinary snapshot in a clean directory, with the reason in the log',
    async (how) => {
      daemon.fileSystem.switches.set(REF, how);
      const upper = upperOf(valueOf(await daemon.prepare('k', null, labels)));
      expect(fs.readdirSync(upper)).toEqual([]);
      expect(mountpoints()).toEqual([]);
      expect(await reasons('RemoteMountFailed')).toHaveLength(1);
      expect((await reasons('RemoteMountFailed'))[0]).not.toBe('');
      fs.writeFileSync(`${upper}/unpacked`, 'by containerd');
      expect(told(await daemon.commit('k', 'K', labels))).toBe('ok');
      expect(valueOf(daemon.stat('K')).labels.has(REMOTE_LABEL)).toBe(false);
    },
  );

  it('is told to all who waited for it, without asking again', async () => {
    daemon.fileSystem.switches.set(REF, 'broken');
    const asked = Array.from({ length: 10 }, (_, index) =>
      daemon.prepare(`k${index}`, null, labels),
    );
    expect(new Set((await Promise.all(asked)).map(told))).toEqual(new Set(['ok']));
    expect(daemon.fileSystem.mounted).toEqual([REF]);
    expect(await reasons('RemoteMountFailed')).toHaveLength(1);
    const preparing = await daemon.eventsOfType('SnapshotPreparing');
    const questions = preparing.map(({ data }) => data['remote']);
    expect(questions.filter((remote) => JSON.stringify(remote).includes('fileSystems'))).toEqual([
      { ref: REF, fileSystems: ['bind'] },
    ]);
    expect(questions.filter((remote) => JSON.stringify(remote).includes('declined'))).toHaveLength(
      9,
    );
  });

  it('by hanging gives one with a fresh id within the limit, and is cleaned up when it ends', async () => {
    daemon.fileSystem.switches.set(REF, 'hanging');
    const upper = upperOf(valueOf(await daemon.prepare('k', null, labels)));
    expect(upper).toBe(daemon.fs(2));
    expect(told(await daemon.prepare('other'))).toBe('ok');
    expect((await reasons('SnapshotAbandoned'))[0]).toContain('did not finish within 2000 ms');
    expect(daemon.directories()).toEqual(['1', '2', '3']);
    daemon.fileSystem.release();
    await until('the abandoned directory is gone', () => daemon.directories().length === 2);
    expect(daemon.directories()).toEqual(['2', '3']);
  });
});

describe('a layer that becomes unusable', () => {
  beforeEach(async () => {
    await daemon.prepare('k', null, labels);
    await daemon.prepare('child', REF);
  });

  it('is named, with the reason, by Prepare, View and Mounts, and nothing is left behind', async () => {
    daemon.fileSystem.switches.set(REF, 'broken');
    const answers = [
      await daemon.prepare('a', REF),
      await daemon.view('v', REF),
      await daemon.mounts('child'),
    ];
    expect(answers.map(told)).toEqual([LOST, LOST, LOST]);
    for (const answer of answers) {
      if (answer.ok) throw new Error('it was served');
      expect(answer.refusal.message).toContain(REF);
      expect(answer.refusal.message).toContain('no layer');
    }
    expect(daemon.directories()).toEqual(['1', '2']);
    expect(daemon.list()).toEqual(['child', REF]);
    expect(told(daemon.stat(REF))).toBe('ok');
    expect(told(await daemon.prepare('ordinary'))).toBe('ok');
    expect(told(await daemon.remove('child'))).toBe('ok');
    expect(told(await daemon.remove(REF))).toBe('ok');
    await until('both are gone', () => daemon.directories().length === 1);
    expect(mountpoints()).toEqual([]);
  });

  it('serves again as soon as it is well', async () => {
    daemon.fileSystem.switches.set(REF, 'broken');
    expect(told(await daemon.mounts('child'))).toBe(LOST);
    daemon.fileSystem.switches.set(REF, 'fine');
    expect(told(await daemon.mounts('child'))).toBe('ok');
    await until(
      'it is recorded',
      async () => (await daemon.eventsOfType('LayerAvailable')).length === 1,
    );
  });

  it('is tried again by itself', async () => {
    daemon.fileSystem.switches.set(REF, 'broken');
    await daemon.mounts('child');
    daemon.fileSystem.switches.set(REF, 'fine');
    await until(
      'it is found',
      async () => (await daemon.eventsOfType('LayerAvailable')).length > 0,
    );
  });

  it('is mounted anew when its mount is gone', async () => {
    await daemon.host.mountTable.unmount(daemon.fs(1), { detach: false });
    expect(told(await daemon.mounts('child'))).toBe('ok');
    expect(mountpoints()).toEqual([daemon.fs(1)]);
    expect(fs.readFileSync(`${daemon.fs(1)}/from`, 'utf8')).toBe(REF);
  });

  it('does not hold up Stat, List, Update and Remove while its check hangs', async () => {
    daemon.fileSystem.switches.set(REF, 'check hanging');
    const waiting = daemon.mounts('child');
    expect(told(daemon.stat('child'))).toBe('ok');
    expect(daemon.list()).toHaveLength(2);
    expect(told(await daemon.update('child', new Map([['a', '1']])))).toBe('ok');
    expect(told(await daemon.remove('child'))).toBe('ok');
    expect((await waiting).ok).toBe(false);
  });
});

describe('a check that is slow', () => {
  it('and hangs on after the layer was restored: the next client gets a plain snapshot', async () => {
    expect(told(await daemon.prepare('k', null, labels))).toBe(READY);
    await daemon.prepare('child', REF);
    daemon.fileSystem.switches.set(REF, 'check hanging');
    const asked = daemon.mounts('child');
    await until('the check has begun', () => daemon.snapshotter.actors().length > 0);
    daemon.fileSystem.switches.set(REF, 'fine');
    // The old check is given up, and a new one by the restoration finds the layer.
    expect(told(await asked)).toBe('ok');
    expect(await daemon.eventsOfType('LayerAvailable')).toHaveLength(1);
    expect(told(await daemon.prepare('other', null, labels))).toBe('ok');
    expect(valueOf(daemon.stat('other')).kind).toBe('active');
    daemon.fileSystem.release();
  });

  it('says nothing of the layer when the daemon stops meanwhile', async () => {
    await daemon.prepare('k', null, labels);
    await daemon.prepare('child', REF);
    daemon.fileSystem.switches.set(REF, 'check hanging');
    const asked = daemon.mounts('child').catch(() => null);
    await until('the check has begun', () => daemon.snapshotter.actors().length > 0);
    await daemon.close();
    await asked;
    daemon.fileSystem.release();
    daemon = await TestDaemon.open(root, { remote: true });
    expect(await daemon.eventsOfType('LayerUnavailable')).toEqual([]);
  });

  it('meets the removal of what it was for', async () => {
    await daemon.prepare('k', null, labels);
    await daemon.layer('middle', REF);
    await daemon.prepare('child', 'middle');
    let open: () => void = () => undefined;
    daemon.fileSystem.beforeCheck = () => new Promise<void>((resolve) => (open = resolve));
    const asked = daemon.mounts('child');
    await daemon.remove('child');
    await daemon.remove('middle');
    await until('both are gone', () => daemon.directories().length === 1);
    await until('nothing more is running', () => daemon.snapshotter.actors().length <= 1);
    daemon.fileSystem.beforeCheck = () => Promise.resolve();
    open();
    expect(told(await asked)).toBe('NotFound SnapshotUnknown');
  });
});

describe('a caller that goes away', () => {
  it('during a remote mount leaves no snapshot, directory or mount', async () => {
    const controller = new AbortController();
    let open: () => void = () => undefined;
    daemon.fileSystem.beforeMount = () => new Promise<void>((resolve) => (open = resolve));
    const asked = daemon.prepare('k', null, labels, controller.signal);
    asked.catch(() => undefined);
    await until('the mount has begun', () => daemon.fileSystem.mounted.length === 1);
    controller.abort(new Error('gone'));
    await expect(asked).rejects.toThrow('gone');
    open();
    await until('nothing is left', () => daemon.directories().length === 0);
    expect(daemon.list()).toEqual([]);
    expect(mountpoints()).toEqual([]);
  });
});

describe('a forged remote label', () => {
  it('makes nothing remote, on Prepare, Commit or Update', async () => {
    const forged = new Map([[REMOTE_LABEL, 'remote snapshot']]);
    await daemon.prepare('a', null, forged);
    await daemon.update('a', forged, `labels.${REMOTE_LABEL}`);
    expect(valueOf(daemon.stat('a')).labels.size).toBe(0);
    await daemon.commit('a', 'A', forged);
    await daemon.update('A', forged);
    expect(valueOf(daemon.stat('A')).labels.size).toBe(0);
    expect(told(await daemon.prepare('child', 'A'))).toBe('ok');
    expect(daemon.fileSystem.mounted).toEqual([]);
  });

  it('meets the removal of the layer itself: a child is told that there is no such parent', async () => {
    await daemon.prepare('k', null, labels);
    daemon.fileSystem.beforeCheck = async () => {
      await daemon.remove(REF);
    };
    expect(told(await daemon.prepare('child', REF))).toBe('NotFound ParentUnknown');
    expect(daemon.list()).toEqual([]);
  });
});
