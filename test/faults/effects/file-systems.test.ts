/**
 * Goal: a file system that hangs, lies, throws or mounts the wrong thing costs the snapshot it was
 * asked for and nothing else: neighbours go on meanwhile, no directory or mount is left without
 * an owner, the findings of inspect are right, and a restart settles the rest. Method: real
 * mounts; one deed at a time, in place of one call. What a plain failure of Mount leaves is in
 * test/snapshotter/remote.test.ts.
 */
import * as fs from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Labels } from '../../../src/base/units.js';
import {
  mountpointsBelow,
  TestDaemon,
  testRoot,
  told,
  until,
  upperOf,
  valueOf,
  type TestDaemonOptions,
  type TestRoot,
} from '../../support/daemon.js';
import {
  expectFindings,
  findingsOf,
  goneOnWell,
  LOST,
  neighboursGoOn,
  policies,
  READY,
  REF,
  Unruly,
  type Deeds,
  type Scene,
} from './support.js';

const GOOD = 'sha256:good';

let root: TestRoot;
let labels: Labels;
let daemon: TestDaemon;
let unruly: Unruly;

async function start(options: TestDaemonOptions = {}): Promise<void> {
  daemon = await TestDaemon.open(root, {
    remote: true,
    policies,
    fileSystem: (good, host) => (unruly = new Unruly(REF, good, host)),
    ...options,
  });
}

beforeEach(async () => {
  root = testRoot();
  labels = root.addLayer(REF);
  root.addLayer(GOOD);
  await start();
});

afterEach(async () => {
  unruly.heal();
  expect(daemon.fatal).toEqual([]);
  await daemon.close();
  root.remove();
});

const mountpoints = () => mountpointsBelow(root.snapshots);
const content = () => fs.readdirSync(`${root.layers}/${REF}`);

/** Everything that can come to rest has: no finding, and no mount but those of living layers. */
async function expectAtRest(living: readonly string[] = []): Promise<void> {
  await until('all effects have ended', () => daemon.snapshotter.actors().length === 0);
  await expectFindings(daemon, []);
  expect(mountpoints()).toEqual(living);
  // The layer itself was never deleted through a mount of it.
  expect(content()).toEqual(['from']);
}

/** Another start finds what is left and deals with it. */
async function restart(): Promise<void> {
  const before = daemon.list();
  unruly.heal();
  await daemon.crash();
  await start();
  expect(daemon.list()).toEqual(before);
}

async function mountTmpfs({ mountpoint, host }: Scene, below = ''): Promise<void> {
  fs.mkdirSync(`${mountpoint}${below}`, { recursive: true });
  const request = { type: 'tmpfs', source: 'tmpfs', mountpoint: `${mountpoint}${below}` };
  await host.mountTable.mount({ ...request, options: [] });
}

const unmountAt = (host: Scene['host'], mountpoint: string) =>
  host.mountTable.unmount(mountpoint, { detach: false });

const withoutReason = (): Promise<void> =>
  new Promise((...ends) => {
    Reflect.apply(ends[1], null, []);
  });

/** How a Mount goes wrong so that the client gets an ordinary, clean snapshot. */
const failedMounts: readonly (readonly [string, Deeds])[] = [
  ['rejects with no reason at all', { mount: () => withoutReason() }],
  [
    'resolves, and the mount is gone again before anybody looked',
    {
      mount: async ({ host, mountpoint, properly }) => {
        await properly();
        await unmountAt(host, mountpoint);
      },
      check: () => Promise.resolve(),
    },
  ],
  [
    'mounts, and its check says that it is something else',
    {
      mount: (scene) => mountTmpfs(scene),
      check: () => Promise.reject(new Error('tmpfs is no layer')),
    },
  ],
  [
    'mounts twice, and fails then',
    {
      mount: async ({ properly }) => {
        await properly();
        await properly();
        throw new Error('failed after two mounts');
      },
    },
  ],
  [
    'mounts, and its check throws instead of rejecting',
    {
      check: () => {
        throw new Error('thrown, not rejected');
      },
    },
  ],
  [
    'finds the disk full behind it',
    { mount: () => Promise.reject(Object.assign(new Error('no room'), { code: 'ENOSPC' })) },
  ],
];

describe('a Mount that', () => {
  it.each(failedMounts)(
    '%s, gives an ordinary snapshot in a clean directory',
    async (_name, deeds) => {
      unruly.deeds = deeds;
      const upper = upperOf(valueOf(await daemon.prepare('k', null, labels)));
      // Cleaned up behind, not left for a fresh one.
      expect(upper).toBe(daemon.fs(1));
      expect(fs.readdirSync(upper)).toEqual([]);
      expect(await neighboursGoOn(daemon, GOOD)).toEqual(goneOnWell);
      expect(await daemon.eventsOfType('RemoteMountFailed')).toHaveLength(1);
      await expectAtRest();
      fs.writeFileSync(`${upper}/unpacked`, 'by containerd');
      expect(told(await daemon.commit('k', 'K'))).toBe('ok');
      await restart();
      await expectAtRest();
    },
  );

  it.each<readonly [string, Deeds]>([
    [
      'hangs, and mounts all the same when it wakes up',
      {
        mount: async ({ held, properly }) => {
          await held();
          await properly();
        },
      },
    ],
    ['hangs in its check', { check: ({ held }) => held() }],
    [
      'cannot be cleaned up after because Unmount hangs',
      {
        mount: async ({ properly }) => {
          await properly();
          throw new Error('dirty');
        },
        unmount: async ({ held, properly }) => {
          await held();
          await properly();
        },
      },
    ],
    [
      'cannot be cleaned up after because Unmount lies',
      {
        mount: async ({ properly }) => {
          await properly();
          throw new Error('dirty');
        },
        unmount: () => Promise.resolve(),
      },
    ],
    ['mounts below the mountpoint instead', { mount: (scene) => mountTmpfs(scene, '/below') }],
  ])('%s, costs one directory; the client gets another', async (_name, deeds) => {
    unruly.deeds = deeds;
    const asked = daemon.prepare('k', null, labels);
    expect(await neighboursGoOn(daemon, GOOD)).toEqual(goneOnWell);
    const upper = upperOf(valueOf(await asked));
    expect(fs.readdirSync(upper)).toEqual([]);
    expect(upper).not.toBe(daemon.fs(1));
    expect(await neighboursGoOn(daemon, GOOD)).toEqual(goneOnWell);
    expect(await daemon.eventsOfType('SnapshotAbandoned')).toHaveLength(1);
    // Left in a state of removal, which is told, and never deleted through.
    expect(await findingsOf(daemon)).toContain('UnfinishedRemoval');
    expect(content()).toEqual(['from']);
    for (const mountpoint of mountpoints()) {
      if (mountpoint.endsWith('/below')) await unmountAt(daemon.host, mountpoint);
    }
    unruly.heal();
    await until('nothing hangs', () => daemon.snapshotter.actors().length === 0);
    await restart();
    await expectAtRest();
    expect(daemon.list()).toEqual(['k']);
  });

  it('mounts over the directory of another snapshot, is found out, and harms only what it hides', async () => {
    await daemon.layer('A');
    const over = daemon.fs(1);
    unruly.deeds = { mount: (scene) => mountTmpfs({ ...scene, mountpoint: over }) };
    valueOf(await daemon.prepare('k', null, labels));
    await expectFindings(daemon, ['ForeignMount']);
    expect(await neighboursGoOn(daemon, GOOD)).toEqual(goneOnWell);
    expect(told(await daemon.remove('A'))).toBe('ok');
    await until('deleting was tried', () => daemon.failures.join().includes('EBUSY'));
    await until('deleting is given up', () => daemon.snapshotter.actors().length === 0);
    await expectFindings(daemon, ['ForeignMount', 'UnfinishedRemoval']);
    expect(daemon.failures.join()).toContain('EBUSY');
    await unmountAt(daemon.host, over);
    expect(fs.readdirSync(over)).toEqual(['A']);
    await daemon.cleanup();
    await expectAtRest();
  });

  it('hangs for many: no more than its places are taken, and the rest is served without it', async () => {
    unruly.deeds = {
      mount: async ({ held, properly }) => {
        await held();
        await properly();
      },
    };
    const asked = Array.from({ length: 12 }, async (_, index) => {
      await daemon.layer(`base ${index}`);
      return told(await daemon.prepare(`k${index}`, `base ${index}`, labels));
    });
    expect(await Promise.all(asked)).toEqual(Array.from({ length: 12 }, () => 'ok'));
    expect(unruly.hanging).toBe(3);
    expect(daemon.snapshotter.actors().filter(({ state }) => state === 'abandoned')).toHaveLength(
      3,
    );
    // A good remote layer finds no place and is pulled instead; nothing waits longer for it.
    const answers = await neighboursGoOn(daemon, GOOD);
    expect(answers).toEqual(['ok', 'ok', ...goneOnWell.slice(2)]);
    unruly.heal();
    await expectAtRest();
    expect(await neighboursGoOn(daemon, GOOD)).toEqual(goneOnWell);
  });
});

describe('a Check that', () => {
  beforeEach(async () => {
    expect(told(await daemon.prepare('k', null, labels))).toBe(READY);
    await daemon.prepare('child', REF);
  });

  it.each<readonly [string, Deeds, RegExp]>([
    [
      'throws instead of rejecting',
      {
        check: () => {
          throw new Error('thrown, not rejected');
        },
        mount: () => Promise.reject(new Error('gone')),
      },
      /gone/,
    ],
    [
      'rejects with no reason at all',
      {
        check: () => withoutReason(),
        mount: () => Promise.reject(new Error('gone')),
      },
      /gone/,
    ],
    [
      'hangs, and hears no signal',
      { check: ({ held }) => held() },
      /did not finish within 2000 ms|still hangs/,
    ],
    [
      'fails while Unmount hangs',
      { check: () => Promise.reject(new Error('stale')), unmount: ({ held }) => held() },
      /did not finish within 2000 ms/,
    ],
  ])('%s, makes the layer unavailable and nothing else', async (_name, deeds, reason) => {
    unruly.deeds = deeds;
    const asked = daemon.mounts('child');
    expect(await neighboursGoOn(daemon, GOOD)).toEqual(goneOnWell);
    const answer = await asked;
    expect(told(answer)).toBe(LOST);
    expect(answer.ok ? '' : answer.refusal.message).toMatch(reason);
    await expectFindings(daemon, ['UnavailableLayer']);
    unruly.heal();
    await until('nothing hangs', () => daemon.snapshotter.actors().length === 0);
    expect(told(await daemon.mounts('child'))).toBe('ok');
    await expectAtRest([daemon.fs(1)]);
    await restart();
    expect(told(await daemon.mounts('child'))).toBe('ok');
    await expectAtRest([daemon.fs(1)]);
  });

  it('says yes to a tmpfs mounted over the layer is believed, and both mounts go with the layer', async () => {
    await mountTmpfs({ mountpoint: daemon.fs(1), host: daemon.host } as Scene);
    unruly.deeds = { check: () => Promise.resolve() };
    expect(told(await daemon.mounts('child'))).toBe('ok');
    expect(mountpoints()).toHaveLength(2);
    await daemon.remove('child');
    expect(told(await daemon.remove(REF))).toBe('ok');
    await expectAtRest();
  });
});

describe('an Unmount that', () => {
  beforeEach(async () => {
    expect(told(await daemon.prepare('k', null, labels))).toBe(READY);
  });

  it.each<readonly [string, Deeds]>([
    ['hangs', { unmount: ({ held }) => held() }],
    ['rejects', { unmount: () => Promise.reject(new Error('EBUSY')) }],
    [
      'throws',
      {
        unmount: () => {
          throw new Error('thrown, not rejected');
        },
      },
    ],
    ['says it has and has not', { unmount: () => Promise.resolve() }],
  ])('%s, leaves the removal to be taken up again, and the layer whole', async (_name, deeds) => {
    unruly.deeds = deeds;
    expect(told(await daemon.remove(REF))).toBe('ok');
    expect(told(daemon.stat(REF))).toBe('NotFound SnapshotUnknown');
    expect(await neighboursGoOn(daemon, GOOD)).toEqual(goneOnWell);
    await until(
      'it was tried, and nothing goes on by itself',
      () =>
        daemon.failures.length > 0 &&
        daemon.snapshotter
          .actors()
          .every(({ state }) => state === 'abandoned' || state === 'overdue'),
    );
    await expectFindings(daemon, ['UnfinishedRemoval']);
    expect(content()).toEqual(['from']);
    // The name is free at once; the layer is had again beside what is left of it.
    unruly.deeds = { ...deeds };
    expect(told(await daemon.prepare('again', null, labels))).toBe(READY);
    await restart();
    await expectFindings(daemon, []);
    await expectAtRest([daemon.fs(mountedId())]);
    expect(told(await daemon.remove(REF))).toBe('ok');
    await expectAtRest();
  });

  it('takes one mount of two is asked again', async () => {
    await unruly.mount(daemon.fs(1), labels, new AbortController().signal);
    expect(mountpoints()).toHaveLength(2);
    unruly.deeds = { unmount: ({ host, mountpoint }) => unmountAt(host, mountpoint) };
    await daemon.remove(REF);
    await expectAtRest();
  });
});

/** The id of the only mounted layer. */
const mountedId = (): number => Number(/(\d+)\/fs$/.exec(mountpoints()[0] ?? '')?.[1]);

describe('health', () => {
  it('is degraded when effects fail often, and healthy again when they do not', async () => {
    await daemon.close();
    await start({ failureLimit: { failures: 4, withinMillis: 5000 } });
    expect(told(await daemon.prepare('k', null, labels))).toBe(READY);
    await daemon.prepare('child', REF);
    const stale = new Error('stale');
    unruly.deeds = { check: () => Promise.reject(stale), mount: () => Promise.reject(stale) };
    for (let times = 0; times < 2; times += 1)
      expect(told(await daemon.mounts('child'))).toBe(LOST);
    expect(daemon.health).toEqual([]);
    for (let times = 0; times < 4; times += 1)
      expect(told(await daemon.mounts('child'))).toBe(LOST);
    expect(daemon.health).toEqual(['degraded']);
    expect(await neighboursGoOn(daemon, GOOD)).toEqual(goneOnWell);
    unruly.heal();
    await until('it is well', () => daemon.health.at(-1) === 'healthy');
    expect(daemon.health).toEqual(['degraded', 'healthy']);
    expect(told(await daemon.mounts('child'))).toBe('ok');
  });
});
