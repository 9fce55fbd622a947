/**
 * Goal: the mounts that show layers with mapped ids are made, shared, made again and taken away as
 * the log calls for, whatever happens to daemon and host; where they cannot be made, the client is
 * told why and nothing is left. Method: the snapshotter on the real host, killed, rebooted, with
 * mounts taken away and faults put in front of the real port.
 */
import { execFileSync, spawn } from 'node:child_process';
import * as fs from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HostFault } from '../../src/base/errors.js';
import type { IdmappedMounts } from '../../src/base/ports.js';
import { snapshotName } from '../../src/base/units.js';
import type { Caller } from '../../src/machines/events/events.js';
import { TARGET_LABEL } from '../../src/machines/labels.js';
import { mountpointsBelow, told, until, valueOf } from '../support/daemon.js';
import { MappedRig, MAPS } from './mapped-rig.js';

const REFUSED = 'FailedPrecondition IdsNotMappable';
const REF = 'sha256:aa';

let rig: MappedRig;

beforeEach(async () => {
  rig = await MappedRig.start();
});

afterEach(async () => {
  expect(rig.daemon.fatal).toEqual([]);
  await rig.close();
});

describe('the mounts', () => {
  const prepareTwo = async () => {
    await rig.ordinary('base');
    await rig.remote(REF, 'base');
    for (const key of ['a', 'b']) valueOf(await rig.daemon.prepare(key, REF, MAPS));
    expect(rig.idmapped()).toHaveLength(2);
  };

  it('stay until the last snapshot with their maps is removed, and then nothing is left', async () => {
    await prepareTwo();
    await rig.daemon.remove('a');
    await until('a is gone', () => rig.daemon.directories().length === 3);
    expect(rig.idmapped()).toHaveLength(2);
    expect(rig.files(valueOf(await rig.daemon.mounts('b')))).toMatchObject({ base: 100_000 });
    await rig.daemon.remove('b');
    await until('b is gone', () => rig.daemon.directories().length === 2);
    expect([rig.idmapped(), rig.entries()]).toEqual([[], []]);
    expect(told(await rig.daemon.remove(REF))).toBe('ok');
  });

  it('go one by one with the layers that they show', async () => {
    await prepareTwo();
    await rig.daemon.prepare('c', 'base', MAPS);
    await rig.daemon.remove('a');
    await rig.daemon.remove('b');
    await until('the mount of the layer is gone', () => rig.idmapped().length === 1);
    expect(rig.idmapped()[0]).toMatch(/snapshots$/);
  });

  it('are left to Cleanup with asynchronous removal', async () => {
    await rig.restart('close', { asynchronousRemove: true });
    await prepareTwo();
    await rig.daemon.remove('a');
    await rig.daemon.remove('b');
    expect(rig.idmapped()).toHaveLength(2);
    await rig.daemon.cleanup();
    expect([rig.idmapped(), rig.entries()]).toEqual([[], []]);
  });

  it.each(['close', 'crash'] as const)('are adopted by the start after a %s', async (how) => {
    await prepareTwo();
    // With their ids: what is mounted anew has another one.
    const ids = () =>
      fs
        .readFileSync('/proc/self/mountinfo', 'utf8')
        .split('\n')
        .filter((line) => line.includes(`${rig.root.path}/idmapped/`));
    const before = ids();
    const mounts = valueOf(await rig.daemon.mounts('a'));
    await rig.restart(how);
    expect(rig.daemon.assembled.plan.findings).toEqual([]);
    expect(valueOf(await rig.daemon.mounts('a'))).toEqual(mounts);
    expect(ids()).toEqual(before);
  });

  it('are made again by a start after a reboot, with those of the layers', async () => {
    await prepareTwo();
    await rig.restart('reboot');
    const kinds = rig.daemon.assembled.plan.findings.map(({ kind }) => kind);
    expect(kinds.sort()).toEqual(['MissingIdmappedMount', 'MissingIdmappedMount', 'MissingMount']);
    expect(rig.idmapped()).toHaveLength(2);
    expect(rig.files(valueOf(await rig.daemon.mounts('a')))).toMatchObject({
      base: 100_000,
      from: 100_000,
    });
    expect(rig.daemon.warnings).toEqual([]);
  });

  it('are made again by a Mounts that comes before recovery', async () => {
    await prepareTwo();
    await rig.restart('reboot', { recovers: false });
    expect(rig.files(valueOf(await rig.daemon.mounts('a')))).toMatchObject({
      base: 100_000,
      from: 100_000,
    });
    await rig.daemon.assembled.recover();
    expect(rig.daemon.warnings).toEqual([]);
  });

  it.each([
    ['one was unmounted by hand', () => execFileSync('umount', [rig.idmapped()[0] ?? ''])],
    [
      'something else is mounted over one',
      () => execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', rig.idmapped()[0] ?? '']),
    ],
    [
      'their directories were removed',
      () => {
        const [one = '', two = ''] = rig.idmapped();
        execFileSync('umount', [one]);
        execFileSync('umount', [two]);
        fs.rmSync(`${rig.root.path}/idmapped`, { recursive: true });
      },
    ],
  ])('are made again by the next Mounts when %s', async (_what, happens) => {
    await prepareTwo();
    happens();
    expect(rig.files(valueOf(await rig.daemon.mounts('a')))).toMatchObject({
      base: 100_000,
      from: 100_000,
    });
    expect(rig.idmapped()).toHaveLength(2);
  });

  it('show a layer as it is mounted now, when that was mounted again', async () => {
    await prepareTwo();
    const [running] = valueOf(await rig.daemon.mounts('a'));
    if (running === undefined) throw new Error('no mounts');
    execFileSync('umount', [rig.daemon.fs(2)]);
    fs.writeFileSync(`${rig.root.layers}/${REF}/new`, '');
    expect(told(await rig.daemon.mounts('b'))).toBe('ok');
    expect(mountpointsBelow(rig.root.snapshots)).toEqual([rig.daemon.fs(2)]);
    expect(rig.files([running])).toMatchObject({ from: 100_000, new: 100_000 });
    expect(rig.idmapped()).toHaveLength(2);
  });

  it('that a crash has left behind, and no snapshot needs, go with the next start', async () => {
    await prepareTwo();
    const [directory = ''] = rig.idmapped();
    const other = `${rig.root.path}/idmapped/0123456789abcdef/2`;
    fs.mkdirSync(other, { recursive: true });
    execFileSync('mount', ['--bind', rig.daemon.fs(1), other]);
    fs.mkdirSync(`${rig.root.path}/idmapped/empty`);
    fs.mkdirSync(directory.replace(/[^/]+$/, '77'));
    await rig.restart('crash');
    const kinds = rig.daemon.assembled.plan.findings.map(({ kind }) => kind);
    expect(kinds).toEqual(Array.from({ length: 3 }, () => 'UnneededIdmappedMount'));
    expect(rig.idmapped()).toHaveLength(2);
    expect(rig.entries()).toHaveLength(1);
  });

  it('of a preparation that a crash has cut short go with it', async () => {
    await rig.ordinary('base');
    await rig.remote(REF, 'base');
    // Dies between the event and the mounts; then between the mounts and their event.
    for (const stage of ['before', 'after'] as const) {
      let begun = false;
      const hangs = (real: IdmappedMounts): IdmappedMounts => ({
        ...real,
        attach: async (...args) => {
          if (stage === 'after') await real.attach(...args);
          begun = true;
          await new Promise(() => undefined);
        },
      });
      await rig.restart('close', { idmappedMounts: hangs });
      rig.daemon.prepare(`cut ${stage}`, REF, MAPS).catch(() => undefined);
      await until('the mounts are being made', () => begun);
      expect(await rig.daemon.eventsOfType('IdMappingStarted')).not.toEqual([]);
      expect(rig.idmapped()).toHaveLength(stage === 'after' ? 2 : 0);
      await rig.restart('crash');
      await until('it is gone', () => rig.daemon.directories().length === 2);
      expect(rig.daemon.list()).toEqual(['base', REF].sort());
      expect([rig.idmapped(), rig.entries()]).toEqual([[], []]);
    }
  });
});

describe('where ids cannot be mapped', () => {
  it('the client is told the layer, its file system and what to do, and nothing is left', async () => {
    rig.root.addLayer(REF);
    execFileSync('mount', ['--bind', '/proc', `${rig.root.layers}/${REF}`]);
    await rig.daemon.prepare('k', null, new Map([[TARGET_LABEL, REF]]));
    const refused = await rig.daemon.prepare('mapped', REF, MAPS);
    expect(told(refused)).toBe(REFUSED);
    if (refused.ok) throw new Error('it was served');
    expect(refused.refusal.message).toContain(rig.daemon.fs(1));
    expect(refused.refusal.message).toContain('is proc');
    expect(refused.refusal.message).toMatch(/remap-ids/);
    await until('its directory is gone', () => rig.daemon.directories().length === 1);
    expect([rig.idmapped(), rig.entries()]).toEqual([[], []]);
    expect((await rig.daemon.eventsOfType('SnapshotAbandoned'))[0]?.data['reason']).toContain(
      'proc',
    );
    expect(told(await rig.daemon.prepare('plain', REF))).toBe('ok');
    execFileSync('umount', [`${rig.root.layers}/${REF}`]);
  });

  it('the reason is that of the configuration or the probe, and no directory is made', async () => {
    await rig.ordinary('base');
    const whyNoIdMapping = 'the configuration has remap_ids = false';
    await rig.restart('close', { mounts: { mountOptions: [], kernelOptions: [], whyNoIdMapping } });
    const refused = await rig.daemon.prepare('mapped', 'base', MAPS);
    expect(told(refused)).toBe(REFUSED);
    expect(refused.ok || refused.refusal.message).toContain(whyNoIdMapping);
    expect(rig.daemon.directories()).toEqual(['1']);
    expect(told(await rig.daemon.prepare('plain', 'base'))).toBe('ok');
  });

  it('something is mounted on an ordinary layer, which the clone would not show', async () => {
    await rig.ordinary('base');
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', rig.daemon.fs(1)]);
    const refused = await rig.daemon.prepare('mapped', 'base', MAPS);
    expect(told(refused)).toBe(REFUSED);
    expect(refused.ok || refused.refusal.message).toContain(`mounted on ${rig.daemon.fs(1)}`);
    execFileSync('umount', [rig.daemon.fs(1)]);
    expect(told(await rig.daemon.prepare('mapped', 'base', MAPS))).toBe('ok');
  });

  it('a fault of the host is one, and the next attempt succeeds', async () => {
    await rig.ordinary('base');
    let faults = 1;
    const failsOnce = (real: IdmappedMounts): IdmappedMounts => ({
      ...real,
      attach: async (...args) => {
        faults -= 1;
        if (faults === 0) throw new HostFault('mkdir', '/x', 'EMFILE');
        await real.attach(...args);
      },
    });
    await rig.restart('close', { idmappedMounts: failsOnce });
    await expect(rig.daemon.prepare('mapped', 'base', MAPS)).rejects.toThrow('EMFILE');
    expect(told(await rig.daemon.prepare('mapped', 'base', MAPS))).toBe('ok');
  });

  it('a caller that goes away leaves nothing', async () => {
    await rig.ordinary('base');
    const controller = new AbortController();
    let letGo = (): void => undefined;
    let begun = false;
    const slow = (real: IdmappedMounts): IdmappedMounts => ({
      ...real,
      attach: async (...args) => {
        begun = true;
        await new Promise<void>((resolve) => (letGo = resolve));
        await real.attach(args[0], args[1]);
      },
    });
    await rig.restart('close', { idmappedMounts: slow });
    const asked = rig.daemon.prepare('mapped', 'base', MAPS, controller.signal);
    asked.catch(() => undefined);
    await until('the mounts are being made', () => begun);
    controller.abort(new Error('gone'));
    await expect(asked).rejects.toThrow('gone');
    letGo();
    await until('nothing is left', () => rig.daemon.directories().length === 1);
    expect([rig.idmapped(), rig.entries()]).toEqual([[], []]);
  });

  it('files in the place of a mount are reported once, and kept', async () => {
    await rig.ordinary('base');
    const stray = `${rig.root.path}/idmapped/0123456789abcdef/snapshots`;
    fs.mkdirSync(stray, { recursive: true });
    fs.writeFileSync(`${stray}/file`, 'not ours');
    await rig.daemon.cleanup();
    await rig.daemon.cleanup();
    expect(rig.daemon.warnings).toEqual(['a directory of idmapped mounts could not be removed']);
    expect(fs.readFileSync(`${stray}/file`, 'utf8')).toBe('not ours');
  });
});

it('are no use of the directories that they show; a container on them is one', async () => {
  await rig.ordinary('base');
  await rig.remote(REF, 'base');
  const [base = ''] = rig.daemon.directories();
  const mapped = valueOf(await rig.daemon.prepare('a', REF, MAPS));
  expect(rig.idmapped()).toHaveLength(2);
  const uses = () => rig.daemon.host.directories.usesOf([base]);
  expect(await uses()).toMatchObject([{ kind: 'used', by: 'content' }]);
  const path = fs.mkdtempSync(`${rig.root.layers}/../merged-`);
  const [{ type, source, options } = { type: '', source: '', options: [] }] = mapped;
  execFileSync('mount', ['-t', type, '-o', options.join(), source, path]);
  try {
    expect(await uses()).toMatchObject([{ kind: 'used', by: 'mount' }]);
  } finally {
    execFileSync('umount', [path]);
    fs.rmdirSync(path);
  }
});

describe('a client in another mount namespace', () => {
  /** Whose mounts are those of now, and no later ones. */
  const withClient = async (work: (caller: Caller) => Promise<void>) => {
    const client = spawn('unshare', ['-m', '--propagation', 'private', 'sleep', '600']);
    const { pid = 0 } = client;
    const { processes } = rig.daemon.host;
    try {
      const seen = () => ({ pid, startedAt: processes.startOf(pid) ?? '' });
      await until('the client has its own mounts', () => processes.mountViewOf(seen()) === 'other');
      await until('the client is there', () => commandOf(pid).startsWith('sleep'));
      await work(seen());
    } finally {
      client.kill('SIGKILL');
    }
  };
  const commandOf = (pid: number) => fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  const asked = (key: string, caller: Caller) => ({
    ...{ key: snapshotName(key), parent: snapshotName(REF), labels: MAPS, caller },
  });

  it('that does not see the mounts is refused, and nothing is left', async () => {
    await rig.ordinary('base');
    await rig.remote(REF, 'base');
    const { snapshotter } = rig.daemon;
    await withClient(async (caller) => {
      const { signal } = new AbortController();
      const answer = told(await snapshotter.prepare(asked('a', caller), signal));
      expect(answer).toContain('LayerNotVisible');
      await until('a is gone', () => rig.daemon.directories().length === 2);
      expect([rig.idmapped(), rig.entries()]).toEqual([[], []]);
      const ours = valueOf(await rig.daemon.prepare('b', REF, MAPS));
      const mounts = told(await snapshotter.mounts(snapshotName('b'), caller, signal));
      expect(mounts).toContain('LayerNotVisible');
      expect(valueOf(await rig.daemon.mounts('b'))).toEqual(ours);
    });
  });

  it('that sees the mounts is served', async () => {
    await rig.ordinary('base');
    await rig.remote(REF, 'base');
    const ours = valueOf(await rig.daemon.prepare('a', REF, MAPS));
    await withClient(async (caller) => {
      const { signal } = new AbortController();
      const answer = await rig.daemon.snapshotter.mounts(snapshotName('a'), caller, signal);
      expect(valueOf(answer)).toEqual(ours);
    });
  });
});
