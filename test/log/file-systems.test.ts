/**
 * Goal: a root is served on the file systems it was made on, whatever their device numbers, and on
 * no others. Method: every pair of what is recorded and what is found, then opens of a log on a
 * disk in memory, with a power cut at each step of recording a change.
 */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  compareFileSystems,
  type AcceptedMove,
  type FileSystemChange,
  type FileSystemsCheck,
  type RecordedFileSystem,
  type RecordedFileSystems,
} from '../../src/log/root/file-systems.js';
import { readIdentity } from '../../src/log/root/identity.js';
import { FaultyDisk } from '../support/faulty-disk.js';
import { appendSingly, openTestLog, recordsOf, ROOT, UUID } from './fixtures.js';

const ext4 = (id: string | null, device = '1'): RecordedFileSystem => ({
  ...{ type: 'ext4', id, device },
});
const nfs = (device: string): RecordedFileSystem => ({ type: 'nfs', id: null, device });

const alone = (root: RecordedFileSystem): RecordedFileSystems => ({
  ...{ root, log: null, snapshots: null },
});

describe('what is recorded and what is found', () => {
  const refused = { kind: 'refused', reason: 'file-system-changed' };
  const change = (how: FileSystemChange['how']) => ({ kind: 'accepted', changes: [{ how }] });
  const same = { kind: 'accepted', changes: [] };
  const cases: readonly (readonly [string, RecordedFileSystem, RecordedFileSystem, object])[] = [
    ['the same', ext4('a'), ext4('a'), same],
    ['another number', ext4('a'), ext4('a', '2'), change('same-id')],
    ['another id', ext4('a'), ext4('b', '2'), refused],
    // A disk that took the number of the one that is missing.
    ['another id under the same number', ext4('a'), ext4('b'), refused],
    ['an id that cannot be read now', ext4('a'), ext4(null), same],
    ['neither the id nor the number', ext4('a'), ext4(null, '2'), refused],
    ['an id that could not be read before', ext4(null), ext4('a'), same],
    ['the same, under another number', ext4(null), ext4('a', '2'), change('assumed')],
    ['no id, and the same number', nfs('1'), nfs('1'), same],
    ['no id, and another number', nfs('1'), nfs('2'), change('assumed')],
    ['no id, and another type', nfs('1'), { ...nfs('2'), type: 'tmpfs' }, refused],
    ['no id, another type under the same number', nfs('1'), { ...nfs('1'), type: '9p' }, refused],
  ];

  it.each(cases)('%s', (_name, before, after, expected) => {
    const verdict = compareFileSystems(alone(before), alone(after), 'none');
    expect(verdict).toMatchObject(expected);
    // A directory that is a mount of its own counts as the root does.
    const within = (snapshots: RecordedFileSystem) => ({ ...alone(ext4('r')), snapshots });
    expect(compareFileSystems(within(before), within(after), 'none')).toMatchObject(expected);
  });

  it('keeps an id that cannot be read now', () => {
    const verdict = compareFileSystems(alone(ext4('a')), alone(ext4(null)), 'none');
    expect(verdict).toMatchObject({ now: { root: ext4('a') } });
    const learned = compareFileSystems(alone(ext4(null)), alone(ext4('a')), 'none');
    expect(learned).toMatchObject({ now: { root: ext4('a') } });
  });

  it.each(['log', 'snapshots'] as const)('a disk that is missing at %s/', (part) => {
    const mounted = { ...alone(ext4('r')), [part]: ext4('a', '2') };
    const missing = compareFileSystems(mounted, alone(ext4('r')), 'none');
    expect(missing).toMatchObject({ kind: 'refused', reason: 'file-system-missing' });
    expect(missing).toMatchObject({
      found: expect.stringContaining(`${part}/ was a mount of`) as string,
    });
    const added = compareFileSystems(alone(ext4('r')), mounted, 'none');
    expect(added).toMatchObject(refused);
    for (const [recorded, found] of [
      [mounted, alone(ext4('r'))],
      [alone(ext4('r')), mounted],
    ] as const) {
      const accepted = compareFileSystems(recorded, found, 'any');
      expect(accepted).toMatchObject({ changes: [{ part, how: 'accepted' }], now: found });
      // It is no copy: the root itself is where it was.
      expect(compareFileSystems(recorded, found, 'copy').kind).toBe('refused');
    }
  });

  it('a copy of the whole is accepted by tools that only look', () => {
    const original = { ...alone(ext4('r')), snapshots: ext4('a', '2') };
    expect(compareFileSystems(original, alone(ext4('copy')), 'copy')).toMatchObject({
      changes: [
        { part: 'root', how: 'accepted' },
        { part: 'snapshots', how: 'accepted' },
      ],
    });
  });

  it('a device number of an earlier release', () => {
    const found = { ...alone(ext4('a', '7')), log: ext4('b', '8') };
    expect(compareFileSystems({ device: '7' }, found, 'none')).toEqual({
      ...{ kind: 'accepted', changes: [], now: found },
    });
    expect(compareFileSystems({ device: '6' }, found, 'none')).toMatchObject(refused);
    expect(compareFileSystems({ device: '6' }, found, 'any')).toMatchObject({
      ...{ changes: [{ part: 'root', how: 'accepted' }], now: found },
    });
  });
});

describe('for any two', () => {
  const one = fc.record({
    type: fc.constantFrom('ext4', 'nfs'),
    id: fc.constantFrom('a', 'b', null),
    device: fc.constantFrom('1', '2'),
  });
  const own = fc.option(one, { nil: null });
  const all = fc.record({ root: one, log: own, snapshots: own });
  const parts = ['root', 'log', 'snapshots'] as const;
  const isRefused = (verdict: FileSystemsCheck) => verdict.kind === 'refused';

  it('ids that differ are never taken for one another', () => {
    fc.assert(
      fc.property(all, all, (recorded, found) => {
        const differs = parts.some((part) => {
          const [before, after] = [recorded[part], found[part]];
          if (before === null || after === null) return before !== after;
          return before.id !== null && after.id !== null && before.id !== after.id;
        });
        if (differs) expect(isRefused(compareFileSystems(recorded, found, 'none'))).toBe(true);
      }),
    );
  });

  it('what is recorded after a verdict has no differences left', () => {
    const accepted = fc.constantFrom<AcceptedMove>('none', 'copy', 'any');
    fc.assert(
      fc.property(all, all, accepted, (recorded, found, move) => {
        const verdict = compareFileSystems(recorded, found, move);
        if (verdict.kind === 'refused') {
          expect(move).not.toBe('any');
          return;
        }
        const again = compareFileSystems(verdict.now, found, 'none');
        expect(again).toEqual({ kind: 'accepted', changes: [], now: verdict.now });
      }),
    );
  });

  it('only a lasting id proves anything', () => {
    fc.assert(
      fc.property(all, all, (recorded, found) => {
        const verdict = compareFileSystems(recorded, found, 'none');
        if (verdict.kind === 'refused') return;
        for (const { how, before, after } of verdict.changes) {
          expect(how).not.toBe('accepted');
          const isProven = before?.id != null && before.id === after?.id;
          expect(how).toBe(isProven ? 'same-id' : 'assumed');
        }
      }),
    );
  });
});

const identityPath = `${ROOT}/identity.json`;

async function aLog(disk: FaultyDisk): Promise<void> {
  const { log } = await openTestLog(disk);
  await appendSingly(log, 'a', 0, 2);
  await log.close();
}

const opened = async (disk: FaultyDisk, options = {}) => {
  const { log, recovery, recordFileSystems } = await openTestLog(disk, options);
  await recordFileSystems();
  await log.close();
  return recovery.fileSystems;
};

describe('a log that is opened', () => {
  it('under another device number is reported until that is recorded, then no more', async () => {
    const disk = new FaultyDisk();
    await aLog(disk);
    disk.device = 45n;
    for (let attempt = 0; attempt < 2; attempt += 1) {
      const { log, recovery } = await openTestLog(disk);
      expect(recovery.fileSystems).toMatchObject([
        { part: 'root', how: 'same-id', before: { device: '7' }, after: { device: '45' } },
      ]);
      await log.close();
    }
    expect(await opened(disk)).toHaveLength(1);
    expect(await opened(disk)).toEqual([]);
  });

  it('with an identity of an earlier release gets one of today, and survives a power cut', async () => {
    const disk = new FaultyDisk();
    await aLog(disk);
    const { fileSystems, ...rest } = JSON.parse(disk.bytes(identityPath).toString()) as {
      readonly fileSystems: RecordedFileSystems;
    };
    const old = Buffer.from(JSON.stringify({ ...rest, device: fileSystems.root.device }));
    for (let step = 0, isDone = false; !isDone; step += 1) {
      const before = disk.copy();
      before.put(identityPath, old);
      let left = step;
      before.plan = (operation) =>
        operation === 'read' || left-- > 0 ? undefined : { kind: 'power-cut' };
      isDone = await opened(before).then(
        () => true,
        () => false,
      );
      let seed = step + 1;
      const after = before.powerCut(() => (seed = (seed * 16807) % 2147483647) / 2147483647);
      expect(await opened(after), `step ${step}`).toEqual([]);
      expect(await readIdentity(after, ROOT)).toMatchObject({ uuid: UUID, fileSystems });
      expect(await recordsOf(after)).toHaveLength(2);
    }
    // Readers understand the old one, and leave it as it is.
    disk.put(identityPath, old);
    expect(await recordsOf(disk)).toHaveLength(2);
    expect(disk.bytes(identityPath)).toEqual(old);
    disk.device = 8n;
    await expect(openTestLog(disk)).rejects.toMatchObject({ reason: 'file-system-changed' });
    expect(disk.bytes(identityPath)).toEqual(old);
  });

  it('without a lasting id is taken for the same only where nothing contradicts it', async () => {
    const disk = new FaultyDisk();
    disk.fileSystemId = null;
    disk.fileSystemType = 'nfs';
    await aLog(disk);
    disk.device = 45n;
    const before = disk.bytes(identityPath);
    await expect(openTestLog(disk)).rejects.toMatchObject({ reason: 'file-system-changed' });
    const missing = () => Promise.resolve('the directory of snapshot 3 is missing');
    await expect(openTestLog(disk, { contradictionInRoot: missing })).rejects.toThrow(
      /from 7 to 45.*the directory of snapshot 3 is missing.*--accept-moved-root/,
    );
    expect(disk.bytes(identityPath)).toEqual(before);
    const contradictionInRoot = () => Promise.resolve(null);
    expect(await opened(disk, { contradictionInRoot })).toMatchObject([{ how: 'assumed' }]);
    expect(await opened(disk)).toEqual([]);
  });

  it('is refused while the disk of log/ or snapshots/ is missing, and goes on when it is back', async () => {
    for (const part of ['log', 'snapshots']) {
      const disk = new FaultyDisk([ROOT, `${ROOT}/${part}`]);
      const own = { type: 'xfs', id: 'own', device: 9n };
      disk.mounts.set(`${ROOT}/${part}`, own);
      await aLog(disk);
      disk.mounts.clear();
      const paths = disk.paths();
      await expect(openTestLog(disk)).rejects.toMatchObject({ reason: 'file-system-missing' });
      await expect(openTestLog(disk)).rejects.toThrow(/Mount it: the next start then succeeds/);
      expect(disk.paths()).toEqual(paths);
      disk.mounts.set(`${ROOT}/${part}`, { ...own, device: 10n });
      expect(await opened(disk)).toMatchObject([{ part, how: 'same-id' }]);
      disk.mounts.set(`${ROOT}/${part}`, { ...own, id: 'other' });
      await expect(openTestLog(disk)).rejects.toMatchObject({ reason: 'file-system-changed' });
    }
  });
});
