/**
 * Goal: the newest segment, held in memory, ends where a reader says that the log ends, and hands
 * out no record that is not what was written, nor one behind it. Method: a small segment of several sync groups and
 * appends of several events, cut at each byte and with bits flipped.
 */
import { expect, it } from 'vitest';
import { aligned } from '../../src/log/format/layout.js';
import type { DiskFile } from '../../src/base/ports.js';
import type { LogDamaged } from '../../src/log/errors.js';
import { IndexedLog } from '../../src/log/index/indexed-log.js';
import { NewestSegment } from '../../src/log/index/newest-segment.js';
import { FaultyDisk } from '../support/faulty-disk.js';
import { anEvent, openTestLog, recordsOf, ROOT, verified } from './fixtures.js';

const path = `${ROOT}/log/${'0'.repeat(20)}.seg`;
const streams = ['snapshot-1', 'snapshot-2', 'daemon'];

/** Sync groups of one, two and six records; the last append of each has several events. */
async function aLog(): Promise<FaultyDisk> {
  const disk = new FaultyDisk();
  const { log } = await openTestLog(disk);
  await log.append([anEvent('snapshot-1', 0)], { sync: true }).durable;
  await log.append([anEvent('snapshot-2', 0), anEvent('daemon', 0)], { sync: true }).durable;
  log.append([anEvent('snapshot-1', 1)], { sync: false });
  log.append([anEvent('daemon', 1, { needle: 'ü' }), anEvent('snapshot-1', 2)], { sync: false });
  const last = [anEvent('snapshot-2', 1), anEvent('daemon', 2), anEvent('snapshot-1', 3)];
  await log.append(last, { sync: true }).durable;
  await log.close();
  return disk;
}

async function asked(disk: FaultyDisk) {
  const told: LogDamaged[] = [];
  const log = new IndexedLog({ disk, root: ROOT, onDamage: (damage) => told.push(damage) });
  const records = await log.streams(new Set(streams));
  return { records, next: await log.next(await log.segments()), told };
}

it.each(['the file ends there', 'zeros follow'])('ends where the log does: %s', async (how) => {
  const whole = await aLog();
  const bytes = Buffer.from(whole.bytes(path));
  const end = aligned(bytes.findLastIndex((byte) => byte !== 0) + 1);
  const seen = new Set<number>();
  for (let cut = 136; cut <= end; cut += 1) {
    const disk = await aLog();
    const kept = bytes.subarray(0, cut);
    disk.put(path, how === 'zeros follow' ? Buffer.concat([kept, Buffer.alloc(4096)]) : kept);
    const { records, next, told } = await asked(disk);
    const expected = await recordsOf(disk);
    expect({ records, next, told }, `cut at ${cut}`).toEqual({
      records: expected,
      next: expected.length,
      told: [],
    });
    seen.add(next);
  }
  // Never within an append.
  expect([...seen]).toEqual([0, 1, 3, 4, 6, 9]);
});

it('ends before the first record that is not what was written, and tells of loss as verify does', async () => {
  const disk = await aLog();
  let losses = 0;
  const written = await recordsOf(disk);
  const bytes = Buffer.from(disk.bytes(path));
  const end = bytes.findLastIndex((byte) => byte !== 0) + 1;
  for (let at = 136; at < end; at += 1) {
    const spoiled = Buffer.from(bytes);
    spoiled.writeUInt8(spoiled.readUInt8(at) ^ (1 << (at % 8)), at);
    disk.put(path, spoiled);
    const { records, next, told } = await asked(disk);
    expect({ at, records }).toEqual({ at, records: written.slice(0, next) });
    expect(next).toBeLessThan(written.length);
    const { findings } = await verified(disk);
    const [damage] = findings.filter(({ severity }) => severity === 'damage');
    const expected = damage && [damage.offset, damage.position, damage.detail];
    expect(told.map(({ offset, position, found }) => [offset, position, found])).toEqual(
      expected ? [expected] : [],
    );
    losses += told.length;
  }
  // Of the last group nobody can tell a torn write from damage.
  expect(losses).toBeGreaterThan(100);
  expect(losses).toBeLessThan(end - 136);
});

it('tells the same of one that is too large to be held', async () => {
  const disk = await aLog();
  const bytes = Buffer.from(disk.bytes(path));
  const end = bytes.findLastIndex((byte) => byte !== 0) + 1;
  const large = Buffer.alloc(65 * 1024 * 1024);
  let losses = 0;
  for (let at = 136; at < end; at += 113) {
    bytes.copy(large);
    large.writeUInt8(large.readUInt8(at) ^ 1, at);
    disk.put(path, large);
    const { records, next, told } = await asked(disk);
    expect({ at, records }).toEqual({ at, records: await recordsOf(disk) });
    const { findings } = await verified(disk);
    const damage = findings.filter(({ severity }) => severity === 'damage');
    expect(told.map(({ position, found }) => [position, found])).toEqual(
      damage.map(({ position, detail }) => [position, detail]),
    );
    expect(next).toBe(records.length);
    losses += told.length;
  }
  expect(losses).toBeGreaterThan(2);
});

it('tells of damage in a record that is longer than a fault of a disk', async () => {
  const disk = new FaultyDisk();
  const { log } = await openTestLog(disk, { segmentBytes: 8 * 1024 * 1024 });
  for (const [version, text] of ['a', 'b'.repeat(3_000_000), 'c'].entries()) {
    await log.append([anEvent('daemon', version, { text })], { sync: true }).durable;
  }
  await log.close();
  const bytes = Buffer.from(disk.bytes(path));
  bytes.writeUInt8(0, bytes.indexOf('bbbb') + 1000);
  disk.put(path, bytes);
  const { next, told } = await asked(disk);
  expect({ next, told: told.length }).toEqual({ next: 1, told: 1 });
});

it('finds the records that hold some bytes, and all that hold none', async () => {
  const disk = await aLog();
  const log = new IndexedLog({ disk, root: ROOT });
  const [segment] = await log.segments();
  if (segment === undefined) throw new Error('a log has a segment');
  const holding = async (text: string) =>
    (await log.newestHolding(segment, Buffer.from(text)))?.map(({ position }) => position);
  expect(await holding('"ü"')).toEqual([4]);
  expect(await holding('daemon')).toEqual([2, 4, 7]);
  expect(await holding('')).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
  expect(await holding('absent')).toEqual([]);
});

it('sees what is appended between two questions', async () => {
  const disk = new FaultyDisk();
  const { log } = await openTestLog(disk);
  const indexed = new IndexedLog({ disk, root: ROOT });
  for (let version = 0; version < 5; version += 1) {
    await log.append([anEvent('daemon', version)], { sync: true }).durable;
    expect(await indexed.streams(new Set(['daemon']))).toHaveLength(version + 1);
    expect(await indexed.next(await indexed.segments())).toBe(version + 1);
  }
  await log.close();
});

it('ends when the file becomes shorter while it is read', async () => {
  const disk = await aLog();
  const [segment] = await new IndexedLog({ disk, root: ROOT }).segments();
  if (segment === undefined) throw new Error('a log has a segment');
  const file = await disk.open(path, 'read');
  const used = (await file.size()) - 136;
  const seemsLarger: DiskFile = {
    path,
    size: () => Promise.resolve(used + 10 * 1024 * 1024),
    read: (into, offset) => file.read(into, offset),
    close: () => file.close(),
    ...refusesToWrite,
  };
  const held = await NewestSegment.read(seemsLarger, segment);
  expect(held?.end.position).toBe(9);
  await file.close();
});

const refused = (): Promise<never> => Promise.reject(new Error('nothing is written here'));
const refusesToWrite = { write: refused, writeDurably: refused, sync: refused, truncate: refused };
