/** Indexes as the writer of a log keeps them, and checkpoints as they are thinned out. */
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Clock } from '../../src/base/ports.js';
import { position } from '../../src/base/units.js';
import { listLog } from '../../src/log/files.js';
import { INDEX } from '../../src/log/index/index-format.js';
import { IndexedLog } from '../../src/log/index/indexed-log.js';
import { checkpointsToKeep } from '../../src/log/housekeeping/retention.js';
import { FaultyDisk } from '../support/faulty-disk.js';
import {
  appendSingly,
  openTestLog,
  recordsOf,
  ROOT,
  segmentNames,
  steppingClock,
  verified,
} from './fixtures.js';

/** A clock whose alarms ring when they are told to. */
function handClock(): Clock & { ring(): Promise<void> } {
  let due: (() => void)[] = [];
  return {
    ...steppingClock(),
    schedule: (_delay, callback) => {
      due.push(callback);
      return () => {
        due = due.filter((one) => one !== callback);
      };
    },
    ring: async () => {
      while (due.length > 0) {
        for (const callback of due.splice(0)) callback();
        // A segment is served in some turns of the event loop.
        for (let turn = 0; turn < 200; turn += 1) await new Promise(setImmediate);
      }
    },
  };
}

async function aWrittenLog() {
  const disk = new FaultyDisk();
  const clock = handClock();
  const query = { clock, writesIndexes: true, segmentBytes: 4096 };
  const { log, warnings } = await openTestLog(disk, query);
  for (const stream of ['snapshot-1', 'a-007', 'daemon', 'snapshot-22']) {
    await appendSingly(log, stream, 0, 15, { text: 'x'.repeat(100) });
  }
  return { disk, clock, log, warnings };
}

const indexesOf = async (disk: FaultyDisk): Promise<readonly number[]> =>
  (await listLog(disk, ROOT)).indexes.map((index) => index.position);

const sealedOf = async (disk: FaultyDisk): Promise<readonly number[]> =>
  (await listLog(disk, ROOT)).segments.slice(0, -1).map((segment) => segment.position);

/** With checksums that fit, as only another program would write them. */
function lying(index: Buffer, at: number, value: number): Buffer {
  const bytes = Buffer.from(index);
  bytes.writeUInt32LE(value, at);
  const headEnd = Math.min(bytes.readUInt32LE(INDEX.headBytes), bytes.length);
  bytes.writeUInt32LE(crc32(bytes.subarray(INDEX.formatVersion, headEnd)), INDEX.headCrc);
  bytes.writeUInt32LE(crc32(bytes.subarray(INDEX.headCrc)), INDEX.crc);
  return bytes;
}

it('an index that lies, with right checksums, is never told as damage, and breaks nothing', async () => {
  const { disk, clock, log } = await aWrittenLog();
  await clock.ring();
  await log.close();
  const [path = ''] = disk.paths().filter((name) => name.endsWith('.index'));
  const good = Buffer.from(disk.bytes(path));
  const all = await recordsOf(disk);
  const names = new Set(all.map(({ stream }) => stream));
  const values = [0, 1, 0xffff, 0xffff_ffff, good.length - 1, good.length, 2 ** 31];
  let misled = 0;
  for (let at: number = INDEX.headBytes; at + 4 <= good.length; at += 3) {
    for (const value of values) {
      disk.put(path, lying(good, at, value));
      const indexed = new IndexedLog({ disk, root: ROOT, onNotice: () => (misled += 1) });
      // What it hides may be missing; what is answered is true.
      const found = await indexed.streams(names);
      expect(all).toEqual(expect.arrayContaining(found));
      await indexed.noneBefore(0n);
      await indexed.segmentsWith(['a'], 1);
    }
  }
  expect(misled).toBeGreaterThan(30);
});

describe('a log that writes indexes', () => {
  it('gives each sealed segment one, some time later', async () => {
    const { disk, clock, log } = await aWrittenLog();
    expect(await indexesOf(disk)).toEqual([]);
    await clock.ring();
    expect((await indexesOf(disk)).length).toBeGreaterThan(2);
    expect(await indexesOf(disk)).toEqual(await sealedOf(disk));
    await log.close();
    expect((await verified(disk)).findings).toEqual([]);
    const indexed = new IndexedLog({ disk, root: ROOT });
    const all = await recordsOf(disk);
    for (const stream of ['snapshot-1', 'a-007', 'a-7', 'daemon', 'snapshot-22', 'snapshot-2']) {
      const found = await indexed.streams(new Set([stream]));
      expect(found).toEqual(all.filter((one) => one.stream === stream));
    }
  });

  it('makes what is missing or wrong after a start, and removes what belongs to nothing', async () => {
    const { disk, clock, log } = await aWrittenLog();
    await clock.ring();
    await log.close();
    const [first = 0, second = 0, third = 0] = await indexesOf(disk);
    const pathOf = (at: number) => `${ROOT}/log/${String(at).padStart(20, '0')}.index`;
    const good = Buffer.from(disk.bytes(pathOf(first)));
    disk.put(pathOf(first), Buffer.from('nonsense'));
    disk.put(pathOf(second), good);
    await disk.remove(pathOf(third));
    disk.put(pathOf(999), good);
    disk.put(`${pathOf(third)}.new`, good);
    const { findings, summary } = await verified(disk);
    expect(findings.map(({ kind, severity }) => `${kind} ${severity}`).sort()).toEqual([
      'index-unusable warning',
      'index-unusable warning',
      'left-over info',
      'left-over info',
    ]);
    expect(summary.damage).toBe(0);
    const again = await openTestLog(disk, { clock, writesIndexes: true, segmentBytes: 4096 });
    expect(disk.paths()).not.toContain(pathOf(999));
    expect(disk.paths()).not.toContain(`${pathOf(third)}.new`);
    await clock.ring();
    expect(await indexesOf(disk)).toEqual(await sealedOf(disk));
    expect(disk.bytes(pathOf(first))).toEqual(good);
    expect(again.warnings).toEqual([]);
    await again.log.close();
    expect((await verified(disk)).findings).toEqual([]);
  });

  it('makes those again that hold the texts of an earlier release', async () => {
    const { disk, clock, log } = await aWrittenLog();
    await clock.ring();
    await log.close();
    const textsOf = async (version: number) => {
      const texts = { version, types: new Set(['Test']), textsIn: () => ['text'] };
      const query = { clock, writesIndexes: true, segmentBytes: 4096, indexedTexts: texts };
      const again = await openTestLog(disk, query);
      await clock.ring();
      await again.log.close();
      const [path = ''] = disk.paths().filter((name) => name.endsWith('.index'));
      return disk.bytes(path).readUInt32LE(INDEX.textsVersion);
    };
    expect(await textsOf(1)).toBe(1);
    expect(await textsOf(2)).toBe(2);
    expect((await verified(disk)).findings).toEqual([]);
  });

  it('goes on when an index cannot be written, and says nothing', async () => {
    const { disk, clock, log, warnings } = await aWrittenLog();
    disk.plan = (operation, path) =>
      operation === 'write' && path.includes('.index')
        ? { kind: 'fail', code: 'ENOSPC' }
        : undefined;
    await clock.ring();
    expect(await indexesOf(disk)).toEqual([]);
    await appendSingly(log, 'b', 0, 3);
    await log.close();
    expect(warnings).toEqual([]);
    expect((await verified(disk)).findings).toEqual([]);
  });

  it('drops them with their segments', async () => {
    const { disk, clock, log } = await aWrittenLog();
    await clock.ring();
    await log.writeCheckpoint({ position: log.durablePosition, lines: [] });
    const before = (await sealedOf(disk))[2] ?? 0;
    expect((await log.retire(position(before))).length).toBe(2);
    expect(await indexesOf(disk)).toEqual(await sealedOf(disk));
    await log.close();
    expect((await segmentNames(disk)).length).toBe((await indexesOf(disk)).length + 1);
    expect(await recordsOf(disk)).not.toEqual([]);
  });
});

describe('checkpoints that are kept for the past', () => {
  const files = fc
    .uniqueArray(fc.nat(5000), { maxLength: 40 })
    .map((positions) => positions.sort((one, other) => one - other))
    .map((positions) => positions.map((at) => ({ position: at, bytes: 10 })));

  it('are one for so many events, never more than there is room for, and the same ones again', () => {
    fc.assert(
      fc.property(files, fc.integer({ min: 1, max: 900 }), fc.nat(400), (all, every, room) => {
        const kept = checkpointsToKeep(all, every, room);
        expect(kept.length * 10).toBeLessThanOrEqual(room);
        expect(checkpointsToKeep(kept, every, room)).toEqual(kept);
        const plenty = checkpointsToKeep(all, every, Infinity);
        const spans = new Set(all.map(({ position: at }) => Math.floor(at / every)));
        expect(new Set(plenty.map(({ position: at }) => Math.floor(at / every)))).toEqual(spans);
        expect(plenty).toHaveLength(spans.size);
        for (const one of kept) expect(plenty).toContain(one);
      }),
    );
  });

  it('stay beside the newest two', async () => {
    const disk = new FaultyDisk();
    const { log } = await openTestLog(disk, {
      segmentBytes: 64 * 1024,
      historyCheckpointEveryEvents: 10,
    });
    for (let at = 0; at < 40; at += 4) {
      await appendSingly(log, 'a', at, 4);
      await log.writeCheckpoint({ position: log.durablePosition, lines: [] });
    }
    expect(await log.checkpoints()).toEqual([4, 12, 20, 32, 36, 40]);
    await log.close();
    expect((await verified(disk)).findings).toEqual([]);
  });
});
