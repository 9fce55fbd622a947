/**
 * Goal: appends are ordered, checked, share syncs, are told of in the promised order, and end for
 * good with the first failure. Method: the real writer on a disk in memory that counts and fails.
 */
import { describe, expect, it } from 'vitest';
import { LogReadOnly } from '../../src/base/errors.js';
import { WrongExpectedVersion } from '../../src/log/errors.js';
import type { LogRecord } from '../../src/log/types.js';
import { FaultyDisk } from '../support/faulty-disk.js';
import { anEvent, appendSingly, openTestLog, recordsOf, segmentNames } from './fixtures.js';

describe('appending', () => {
  it('gives positions, times and versions that are read back as they were told', async () => {
    const disk = new FaultyDisk();
    const { log } = await openTestLog(disk);
    const first = log.append([anEvent('a', 0), anEvent('b', 0, { text: 'ä\u0000"' })], {
      sync: true,
    });
    const second = log.append([anEvent('a', 1, {}, true)], { sync: true });
    await second.durable;
    await log.close();
    const told = [...first.records, ...second.records];
    expect(told.map(({ position }) => position)).toEqual([0, 1, 2]);
    expect(await recordsOf(disk)).toEqual(told);
  });

  it('hands out bodies as a replay will see them, whatever the caller does afterwards', async () => {
    const disk = new FaultyDisk();
    const { log } = await openTestLog(disk);
    const data: { kept: number[]; gone: undefined } = { kept: [1], gone: undefined };
    const { records } = log.append([anEvent('a', 0, data)], { sync: true });
    data.kept.push(2);
    expect(records[0]?.data).toStrictEqual({ kept: [1] });
    await log.close();
    expect(await recordsOf(disk)).toStrictEqual(records);
  });

  it('lets appends that arrive during a sync share the next one, in order', async () => {
    const disk = new FaultyDisk();
    const { log } = await openTestLog(disk, { segmentBytes: 1024 * 1024 });
    await log.append([anEvent('a', 0)], { sync: true }).durable;
    disk.counts.clear();
    const done: number[] = [];
    const all = Array.from({ length: 1000 }, (_, index) => {
      const { durable } = log.append([anEvent(`s${index}`, 0)], { sync: true });
      return durable.then(() => done.push(index));
    });
    await new Promise((resolve) => setImmediate(resolve));
    const later = Array.from({ length: 1000 }, (_, index) => {
      const { durable } = log.append([anEvent(`t${index}`, 0)], { sync: true });
      return durable.then(() => done.push(1000 + index));
    });
    await Promise.all([...all, ...later]);
    expect(disk.counts.get('writeDurably')).toBe(2);
    expect(done).toEqual(Array.from({ length: 2000 }, (_, index) => index));
    await log.close();
    expect(await recordsOf(disk)).toHaveLength(2001);
  });

  it('writes queued records only with the next sync, and in order before it', async () => {
    const disk = new FaultyDisk();
    const { log } = await openTestLog(disk);
    disk.counts.clear();
    log.append([anEvent('intent', 0)], { sync: false });
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(disk.counts.get('writeDurably')).toBeUndefined();
    expect(log.durablePosition).toBe(0);
    await log.append([anEvent('fact', 0)], { sync: true }).durable;
    expect(disk.counts.get('writeDurably')).toBe(1);
    expect(log.durablePosition).toBe(2);
    await log.close();
  });

  it('writes queued records on close', async () => {
    const disk = new FaultyDisk();
    const { log } = await openTestLog(disk);
    log.append([anEvent('intent', 0)], { sync: false });
    await log.close();
    expect(await recordsOf(disk.powerCut(() => 0.9))).toHaveLength(1);
  });

  it('moves the durable position, then emits the batch, then resolves', async () => {
    const disk = new FaultyDisk();
    const { log } = await openTestLog(disk);
    const seen: string[] = [];
    log.durableBatches.subscribe((batch) => {
      seen.push(`batch of ${batch.length} at ${log.durablePosition}`);
    });
    const first = log.append([anEvent('a', 0), anEvent('a', 1)], { sync: true });
    const told = first.durable.then(() => seen.push('resolved'));
    expect(log.durablePosition).toBe(0);
    await told;
    expect(seen).toEqual(['batch of 2 at 2', 'resolved']);
    await log.close();
  });

  it('refuses a wrong expected version and then appends nothing of the unit', async () => {
    const { log } = await openTestLog(new FaultyDisk());
    log.append([anEvent('a', 0)], { sync: false });
    const wrong = (): unknown => log.append([anEvent('b', 0), anEvent('a', 0)], { sync: true });
    expect(wrong).toThrow(WrongExpectedVersion);
    expect(wrong).toThrow('stream a: expected to write version 0, but the next is 1');
    expect(log.nextPosition).toBe(1);
    // Nothing of the refused unit counts: stream b still begins with 0.
    const unit = [anEvent('b', 0), anEvent('b', 1), anEvent('a', 1)];
    await log.append(unit, { sync: true }).durable;
    await log.close();
  });

  it('refuses what cannot be written and stays usable', async () => {
    const { log } = await openTestLog(new FaultyDisk());
    const circular: Record<string, unknown> = {};
    circular['self'] = circular;
    for (const event of [
      anEvent('', 0),
      anEvent('with blank', 0),
      anEvent('s'.repeat(256), 0),
      { ...anEvent('a', 0), schemaVersion: 70_000 },
      anEvent('a', 0, circular),
      anEvent('a', 0, { text: 'x'.repeat(17 * 1024 * 1024) }),
    ]) {
      expect(() => log.append([anEvent('ok', 0), event], { sync: true })).toThrow();
    }
    await log.append([anEvent('ok', 0), anEvent('a', 0)], { sync: true }).durable;
    expect(log.nextPosition).toBe(2);
    await log.close();
  });

  it('forgets a stream that was closed, also over a restart', async () => {
    const disk = new FaultyDisk();
    const first = await openTestLog(disk);
    await first.log.append([anEvent('a', 0), anEvent('b', 0), anEvent('a', 1, {}, true)], {
      sync: true,
    }).durable;
    await first.log.close();
    const { log } = await openTestLog(disk);
    expect(() => log.append([anEvent('a', 2)], { sync: true })).toThrow('the next is 0');
    expect(() => log.append([anEvent('b', 0)], { sync: true })).toThrow('the next is 1');
    await log.close();
  });
});

describe('segments', () => {
  it('roll when a record does not fit, without splitting an append', async () => {
    const disk = new FaultyDisk();
    const { log } = await openTestLog(disk, { segmentBytes: 4096 });
    const told: LogRecord[] = [];
    for (let unit = 0; unit < 40; unit++) {
      const events = [0, 1, 2].map((n) => anEvent('a', unit * 3 + n, { text: 'x'.repeat(100) }));
      const { records, durable } = log.append(events, { sync: unit % 3 === 0 });
      told.push(...records);
      if (unit % 7 === 0) await durable.catch(() => undefined);
    }
    await log.close();
    const names = await segmentNames(disk);
    expect(names.length).toBeGreaterThan(4);
    for (const name of names) expect(Number(name.slice(0, 20)) % 3).toBe(0);
    expect(await recordsOf(disk)).toEqual(told);
    const again = await openTestLog(disk, { segmentBytes: 4096 });
    expect(again.replayed).toEqual(told);
    await again.log.close();
  });

  it('give an append that is larger than a segment one of its own', async () => {
    const disk = new FaultyDisk();
    const { log } = await openTestLog(disk, { segmentBytes: 4096 });
    const texts = [10, 20_000, 10, 9000, 9000].map((length) => ({ text: 'x'.repeat(length) }));
    for (const [version, data] of texts.entries()) {
      await log.append([anEvent('a', version, data)], { sync: true }).durable;
    }
    await log.close();
    expect((await segmentNames(disk)).map((name) => Number(name.slice(0, 20)))).toEqual([
      0, 1, 2, 3, 4,
    ]);
    expect((await recordsOf(disk)).map(({ data }) => data)).toEqual(texts);
  });

  it('of another release are not appended to, so that a header names who wrote what follows', async () => {
    const disk = new FaultyDisk();
    const older = await openTestLog(disk, { writtenBy: 'stratalog 0.0.9' });
    await appendSingly(older.log, 'a', 0, 2);
    await older.log.close();
    const newer = await openTestLog(disk);
    await appendSingly(newer.log, 'a', 2, 2);
    await newer.log.close();
    const origins: string[] = [];
    const third = await openTestLog(disk, {
      onRecords: (batch, { writtenBy }) => origins.push(`${batch.length} by ${writtenBy}`),
    });
    await third.log.close();
    expect(origins).toEqual(['2 by stratalog 0.0.9', '2 by stratalog 0.1.0']);
  });
});

describe('a failed write or sync', () => {
  it.each(['fail', 'short'] as const)('(%s) makes the log read-only for good', async (kind) => {
    const disk = new FaultyDisk();
    const { log } = await openTestLog(disk);
    await log.append([anEvent('a', 0)], { sync: true }).durable;
    const failures: Error[] = [];
    log.failures.subscribe((error) => failures.push(error));
    let tries = 0;
    disk.plan = (operation) => {
      if (operation !== 'writeDurably' && operation !== 'sync') return undefined;
      tries += 1;
      return { kind, bytes: 40, code: 'EIO' };
    };
    const inFlight = log.append([anEvent('a', 1)], { sync: true });
    // The group is closed by now, and the disk answers in a later turn.
    await Promise.resolve().then(() => undefined);
    const later = [2, 3, 4].map((version) =>
      log.append([anEvent('a', version)], { sync: version !== 3 }),
    );
    const lost = [inFlight, ...later];
    for (const { durable } of lost) await expect(durable).rejects.toThrow(LogReadOnly);
    // The disk is well again, but nobody knows what it has dropped.
    disk.plan = () => undefined;
    expect(() => log.append([anEvent('b', 0)], { sync: true })).toThrow(LogReadOnly);
    await expect(log.writeCheckpoint({ position: log.durablePosition, lines: [] })).rejects.toThrow(
      LogReadOnly,
    );
    expect(tries).toBe(1);
    expect(failures.map(({ message }) => message)).toEqual([
      expect.stringContaining('EIO') as string,
    ]);
    expect(log.durablePosition).toBe(1);
    await log.close();
  });

  it('is told to those who listen later, too', async () => {
    const disk = new FaultyDisk();
    const { log } = await openTestLog(disk);
    disk.plan = () => ({ kind: 'fail', code: 'ENOSPC' });
    await expect(log.append([anEvent('a', 0)], { sync: true }).durable).rejects.toThrow('ENOSPC');
    const failures: Error[] = [];
    log.failures.subscribe((error) => failures.push(error));
    expect(failures).toHaveLength(1);
    await log.close();
  });

  it('does not make the next start acknowledge what only the page cache holds', async () => {
    const disk = new FaultyDisk();
    const { log } = await openTestLog(disk);
    await appendSingly(log, 'a', 0, 3);
    disk.plan = (operation) =>
      operation === 'writeDurably' ? { kind: 'fail', code: 'EIO' } : undefined;
    await expect(log.append([anEvent('a', 3)], { sync: true }).durable).rejects.toThrow('EIO');
    await log.close();
    disk.plan = () => undefined;
    // The record is in the page cache, whole, and the kernel believes that it is written.
    const second = await openTestLog(disk.afterKill());
    expect(second.replayed).toHaveLength(4);
    expect(second.log.durablePosition).toBe(4);
  });

  it('keeps what the next start acknowledged, even through a power cut', async () => {
    const disk = new FaultyDisk();
    const { log } = await openTestLog(disk);
    await appendSingly(log, 'a', 0, 3);
    disk.plan = (operation) =>
      operation === 'writeDurably' ? { kind: 'fail', code: 'EIO' } : undefined;
    await expect(log.append([anEvent('a', 3)], { sync: true }).durable).rejects.toThrow('EIO');
    disk.plan = () => undefined;
    const killed = disk.afterKill();
    const second = await openTestLog(killed);
    const acknowledged = second.log.durablePosition;
    const third = await openTestLog(killed.powerCut(() => 0.9));
    expect(third.replayed).toHaveLength(acknowledged);
    await third.log.close();
  });
});
