/**
 * Goal: readers see each record once, in order, beside a live writer, forwards, backwards, by
 * stream and as it happens. Method: writers and readers at the same time, on both disks.
 */
import { describe, expect, it } from 'vitest';
import { systemDisk } from '../../src/host/files/disk.js';
import { followLog, readLog } from '../../src/log/reader.js';
import type { EventLog, LogRecord } from '../../src/log/types.js';
import { FaultyDisk } from '../support/faulty-disk.js';
import {
  anEvent,
  appendSingly,
  collect,
  openTestLog,
  recordsOf,
  ROOT,
  segmentNames,
  withTemporaryRoot,
} from './fixtures.js';

const data = { text: 'x'.repeat(100) };
const positionsOf = (records: readonly LogRecord[]): number[] =>
  records.map((record) => record.position);
const upTo = (end: number, from = 0): number[] =>
  Array.from({ length: end - from }, (_, index) => from + index);

/** 300 records of three streams in several segments. */
async function aLog(disk: FaultyDisk): Promise<EventLog> {
  const { log } = await openTestLog(disk, { segmentBytes: 8192 });
  for (let n = 0; n < 300; n++) {
    const { durable } = log.append([anEvent(`s${n % 3}`, Math.floor(n / 3), data)], { sync: true });
    if (n % 10 === 0) await durable;
  }
  await log.append([anEvent('end', 0)], { sync: true }).durable;
  expect((await segmentNames(disk)).length).toBeGreaterThan(5);
  return log;
}

describe('reading', () => {
  it('answers any range, forwards and backwards', async () => {
    const disk = new FaultyDisk();
    const log = await aLog(disk);
    for (const [from, to] of [
      [0, 301],
      [17, 18],
      [100, 250],
      [299, 400],
      [300, 300],
      [7, 3],
    ]) {
      const range = { root: ROOT, disk, from: from ?? 0, to: to ?? 0 };
      const expected = upTo(301).filter((at) => at >= range.from && at < range.to);
      expect(positionsOf(await collect(readLog(range)))).toEqual(expected);
      const backwards = await collect(readLog({ ...range, reverse: true }));
      expect(positionsOf(backwards)).toEqual(expected.toReversed());
    }
    const all = await recordsOf(disk);
    const backwards = await collect(readLog({ root: ROOT, disk, reverse: true }));
    expect(backwards.reverse()).toEqual(all);
    await log.close();
  });

  it('answers one stream, forwards and backwards', async () => {
    const disk = new FaultyDisk();
    const log = await aLog(disk);
    const expected = upTo(300).filter((at) => at % 3 === 1 && at >= 50);
    const query = { root: ROOT, disk, stream: 's1', from: 50 };
    expect(positionsOf(await collect(readLog(query)))).toEqual(expected);
    const backwards = await collect(readLog({ ...query, reverse: true }));
    expect(positionsOf(backwards)).toEqual(expected.toReversed());
    expect(await collect(readLog({ root: ROOT, disk, stream: 's' }))).toEqual([]);
    await log.close();
  });

  it('hands out everything before damage, then says where it is', async () => {
    const disk = new FaultyDisk();
    const log = await aLog(disk);
    await log.close();
    const [, second] = await segmentNames(disk);
    const bytes = disk.bytes(`${ROOT}/log/${second ?? ''}`);
    bytes.writeUInt8(bytes.readUInt8(500) ^ 8, 500);
    const read: number[] = [];
    const reading = (async () => {
      for await (const record of readLog({ root: ROOT, disk })) read.push(record.position);
    })();
    await expect(reading).rejects.toMatchObject({ name: 'LogDamaged', segment: second });
    expect(read).toEqual(upTo(read.length));
    expect(read.length).toBe(Number(second?.slice(0, 20)) + 1);
  });

  it('answers nothing for a root without a log', async () => {
    expect(await recordsOf(new FaultyDisk())).toEqual([]);
    expect(await collect(readLog({ root: ROOT, disk: new FaultyDisk(), reverse: true }))).toEqual(
      [],
    );
  });
});

describe('reading beside a live writer', () => {
  it('on the real disk never sees a gap, a double, or half an append', async () => {
    await withTemporaryRoot(async (root) => {
      const disk = systemDisk();
      const { log } = await openTestLog(disk, { root, segmentBytes: 32 * 1024 });
      let written = 0;
      const state = { isOver: false };
      const writing = (async () => {
        while (!state.isOver) {
          const unit = [0, 1, 2].map((n) => anEvent('a', written + n, data));
          written += 3;
          await log.append(unit, { sync: true }).durable;
        }
      })();
      let before = 0;
      // Until the writer has gone through several segments under the reader's eyes.
      for (let round = 0; round < 40 || before < 900; round++) {
        const durable = log.durablePosition;
        const read = positionsOf(await recordsOf(disk, root));
        expect(read).toEqual(upTo(read.length));
        expect(read.length % 3).toBe(0);
        expect(read.length).toBeGreaterThanOrEqual(Math.max(before, durable));
        before = read.length;
      }
      state.isOver = true;
      await writing;
      await log.close();
      expect((await segmentNames(disk, root)).length).toBeGreaterThan(1);
    });
  });

  it('follows it across segments and ends with the signal', async () => {
    await withTemporaryRoot(async (root) => {
      const disk = systemDisk();
      const { log } = await openTestLog(disk, { root, segmentBytes: 16 * 1024 });
      const stop = new AbortController();
      const seen: number[] = [];
      const following = (async () => {
        const query = { root, disk, from: 5, signal: stop.signal, pollMillis: 2 };
        for await (const record of followLog(query)) {
          seen.push(record.position);
          if (seen.length === 595) stop.abort();
        }
      })();
      await appendSingly(log, 'a', 0, 600, data);
      await following;
      expect(seen).toEqual(upTo(600, 5));
      await log.close();
    });
  });
});
