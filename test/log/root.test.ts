/**
 * Goal: a root is only written to when it is surely the right one, by one process at a time.
 * Method: each refusal with its opposite; the second writer is a real process on the real disk.
 */
import { execFile } from 'node:child_process';
import { cp, readFile, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { LogTooNew, RootLocked, RootRefused } from '../../src/log/errors.js';
import { readIdentity } from '../../src/log/root/identity.js';
import { systemDisk } from '../../src/host/files/disk.js';
import { FaultyDisk } from '../support/faulty-disk.js';
import {
  appendSingly,
  openTestLog,
  recordsOf,
  ROOT,
  UUID,
  verified,
  withTemporaryRoot,
} from './fixtures.js';

const run = promisify(execFile);

describe('a new root', () => {
  it('gets an identity and a first segment before the first append', async () => {
    const disk = new FaultyDisk();
    const { log, recovery } = await openTestLog(disk);
    expect(recovery.isNew).toBe(true);
    expect(log.identity).toMatchObject({ uuid: UUID, epoch: 1, formatVersion: 1 });
    expect(await readIdentity(disk, ROOT)).toMatchObject({
      uuid: UUID,
      fileSystems: { root: { type: 'ext4', id: disk.fileSystemId, device: '7' }, log: null },
      writtenBy: 'stratalog 0.1.0',
    });
    // The owner may make snapshot directories at once; the next start must not refuse them.
    await disk.makeDirectory(`${ROOT}/snapshots`);
    await disk.makeDirectory(`${ROOT}/snapshots/1`);
    const again = await openTestLog(disk.afterKill().powerCut(() => 0.9));
    expect(again.recovery.isNew).toBe(false);
    await log.close();
  });

  it('is made when only its parent is there, and does not vanish with the power', async () => {
    const disk = new FaultyDisk(['/srv']);
    const { log } = await openTestLog(disk, { root: '/srv/root' });
    await appendSingly(log, 'a', 0, 1);
    const after = disk.powerCut(() => 0.9);
    expect(await recordsOf(after, '/srv/root')).toHaveLength(1);
  });

  it('survives a power cut at any step of its making', async () => {
    for (let step = 0; ; step++) {
      const disk = new FaultyDisk();
      let left = step;
      disk.plan = (operation) =>
        operation === 'read' || left-- > 0 ? undefined : { kind: 'power-cut' };
      const opened = await openTestLog(disk).catch(() => null);
      let seed = step + 1;
      const after = disk.powerCut(() => (seed = (seed * 16807) % 2147483647) / 2147483647);
      const again = await openTestLog(after);
      await appendSingly(again.log, 'a', 0, 1);
      await again.log.close();
      expect((await verified(after)).findings, `step ${step}`).toEqual([]);
      if (opened) {
        expect(step).toBeGreaterThan(5);
        return;
      }
    }
  });
});

describe('a root without its identity', () => {
  it('is refused beside snapshot directories', async () => {
    const disk = new FaultyDisk([ROOT, `${ROOT}/snapshots`, `${ROOT}/snapshots/17`]);
    const before = disk.paths();
    await expect(openTestLog(disk)).rejects.toMatchObject({ reason: 'log-missing' });
    await expect(openTestLog(disk)).rejects.toThrow(/1 entries in snapshots/);
    expect(disk.paths()).toEqual(before);
  });

  it('is new when the snapshots directory is empty', async () => {
    const { log } = await openTestLog(new FaultyDisk([ROOT, `${ROOT}/snapshots`]));
    await log.close();
  });

  it('is refused beside segments', async () => {
    const disk = new FaultyDisk();
    const { log } = await openTestLog(disk);
    await log.close();
    await disk.remove(`${ROOT}/identity.json`);
    await expect(openTestLog(disk)).rejects.toMatchObject({ reason: 'log-missing' });
  });

  it('is refused when it is expected to exist', async () => {
    const disk = new FaultyDisk();
    const opening = openTestLog(disk, { expectExisting: true });
    await expect(opening).rejects.toMatchObject({ reason: 'not-initialised' });
    expect(disk.paths()).toEqual([ROOT]);
    const first = await openTestLog(disk);
    await first.log.close();
    const { log } = await openTestLog(disk, { expectExisting: true });
    await log.close();
  });
});

describe('a root with an identity', () => {
  it('is refused when its segments are gone and snapshots are there', async () => {
    const disk = new FaultyDisk([ROOT, `${ROOT}/snapshots`, `${ROOT}/snapshots/1`]);
    const other = new FaultyDisk();
    const { log } = await openTestLog(other);
    await log.close();
    disk.put(`${ROOT}/identity.json`, other.bytes(`${ROOT}/identity.json`));
    await expect(openTestLog(disk)).rejects.toThrow(/no segment in log/);
  });

  it('is refused on another file system, until the move is accepted', async () => {
    const disk = new FaultyDisk();
    const { log } = await openTestLog(disk);
    await appendSingly(log, 'a', 0, 1);
    await log.close();
    disk.fileSystemId = 'another';
    await expect(openTestLog(disk)).rejects.toMatchObject({ reason: 'file-system-changed' });
    await expect(openTestLog(disk)).rejects.toThrow(
      /the root was on ext4 6f1d.* now on ext4 another/,
    );
    // Readers do not mind.
    expect(await recordsOf(disk)).toHaveLength(1);
    const moved = await openTestLog(disk, { acceptMovedRoot: true });
    await moved.recordFileSystems();
    await moved.log.close();
    const again = await openTestLog(disk);
    await again.log.close();
  });

  it.each(['', '{', '[]', '{"uuid":"x"}'])('is refused when the file is %j', async (text) => {
    const disk = new FaultyDisk();
    const { log } = await openTestLog(disk);
    await log.close();
    disk.put(`${ROOT}/identity.json`, Buffer.from(text));
    await expect(openTestLog(disk)).rejects.toThrow(RootRefused);
    await expect(openTestLog(disk)).rejects.toMatchObject({ reason: 'identity-damaged' });
  });

  it('is refused when the format is of the future', async () => {
    const disk = new FaultyDisk();
    const { log } = await openTestLog(disk);
    await log.close();
    const path = `${ROOT}/identity.json`;
    const text = disk
      .bytes(path)
      .toString('utf8')
      .replace('"formatVersion": 1', '"formatVersion": 2');
    disk.put(path, Buffer.from(text.replace('0.1.0', '3.0.0')));
    await expect(openTestLog(disk)).rejects.toThrow(LogTooNew);
    await expect(openTestLog(disk)).rejects.toMatchObject({ writtenBy: 'stratalog 3.0.0' });
  });

  it('is refused when it is older than the log beside it', async () => {
    const disk = new FaultyDisk();
    const { log } = await openTestLog(disk);
    await log.close();
    const path = `${ROOT}/log/00000000000000000000.seg`;
    const { decodeHeader, encodeHeader } = await import('../../src/log/format/segment-header.js');
    const reading = decodeHeader(disk.bytes(path));
    if (reading.kind !== 'valid') throw new Error('no header');
    encodeHeader({ ...reading.header, epoch: 5 }).copy(disk.bytes(path));
    await expect(openTestLog(disk)).rejects.toThrow(/epoch 5/);
  });
});

describe('a second writer', () => {
  it('in another process is told who has the root and since when', async () => {
    await withTemporaryRoot(async (root) => {
      const disk = systemDisk();
      const first = await openTestLog(disk, { root });
      const script = `${import.meta.dirname}/second-writer.ts`;
      const { stdout } = await run(process.execPath, ['--import', 'tsx', script, root]);
      const told: unknown = JSON.parse(stdout);
      expect(told).toMatchObject({ name: 'RootLocked', pid: process.pid });
      expect(stdout).toContain(`is in use by process ${process.pid}, started 2023-11-14T22:13:20.`);
      await first.log.close();
      const { stdout: alone } = await run(process.execPath, ['--import', 'tsx', script, root]);
      expect(JSON.parse(alone)).toEqual({ opened: true });
    });
  });

  it('in the same process is refused, too, and changes nothing', async () => {
    await withTemporaryRoot(async (root) => {
      const disk = systemDisk();
      const first = await openTestLog(disk, { root });
      const holder = await readFile(`${root}/log/lock`, 'utf8');
      await expect(openTestLog(disk, { root })).rejects.toThrow(RootLocked);
      expect(await readFile(`${root}/log/lock`, 'utf8')).toBe(holder);
      await first.log.close();
    });
  });
});

describe('a copied root', () => {
  it('is readable wherever it stands, also without its identity', async () => {
    await withTemporaryRoot(async (root) => {
      const disk = systemDisk();
      const { log } = await openTestLog(disk, { root });
      await appendSingly(log, 'a', 0, 3);
      await withTemporaryRoot(async (elsewhere) => {
        // Copied while the writer is alive.
        await cp(root, `${elsewhere}/copy`, { recursive: true });
        expect(await recordsOf(disk, `${elsewhere}/copy`)).toHaveLength(3);
        await writeFile(`${elsewhere}/copy/identity.json`, '');
        expect(await recordsOf(disk, `${elsewhere}/copy`)).toHaveLength(3);
        expect((await verified(disk, root)).summary.verifiedTo).toBe(3);
      });
      await log.close();
    });
  });
});
