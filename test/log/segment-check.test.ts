/**
 * Goal: a verify that checks sealed segments ahead, as a whole, says exactly what one that reads
 * record by record says. Method: small logs, sound and spoiled in many ways, verified both ways.
 */
import { describe, expect, it } from 'vitest';
import type { VerifyItem } from '../../src/log/verify/findings.js';
import { withFile } from '../../src/log/files.js';
import { checkSegment, digestSegment } from '../../src/log/verify/sealed-segment.js';
import { verifyLog } from '../../src/log/verify/verify.js';
import type { SegmentChecker } from '../../src/log/verify/verify-ahead.js';
import { FaultyDisk } from '../support/faulty-disk.js';
import { anEvent, collect, openTestLog, ROOT, segmentNames } from './fixtures.js';

interface Counted extends SegmentChecker {
  sound: number;
}

function checkerOf(disk: FaultyDisk): Counted {
  const checker: Counted = {
    ahead: 3,
    sound: 0,
    check: async (segment) => {
      const answer = await withFile(disk, segment.path, 'read', (file) =>
        checkSegment(file, segment),
      );
      if (answer !== null) checker.sound += 1;
      return answer;
    },
    sum: (segment) => withFile(disk, segment.path, 'read', (file) => digestSegment(file, segment)),
  };
  return checker;
}

async function bothWays(disk: FaultyDisk): Promise<{ items: VerifyItem[]; sound: number }> {
  const checkSegment_ = checkerOf(disk);
  const plain = await collect(verifyLog({ root: ROOT, disk }));
  const ahead = await collect(verifyLog({ root: ROOT, disk, checkSegment: checkSegment_ }));
  expect(ahead).toEqual(plain);
  return { items: ahead, sound: checkSegment_.sound };
}

/** Streams that end, streams that go on from segment to segment, and two checkpoints. */
async function aLog(stepBackAt = -1): Promise<FaultyDisk> {
  const disk = new FaultyDisk();
  const { log } = await openTestLog(disk, { segmentBytes: 4096 });
  for (let at = 0; at < 40; at += 1) {
    const time = 1_800_000_000_000_000_000n + BigInt(at === stepBackAt ? 0 : at * 1000 + 5);
    const events = [
      { ...anEvent(`snapshot-${at + 1}`, 0, { key: 'ü'.repeat(20) }), time },
      { ...anEvent(`snapshot-${at + 1}`, 1, { list: [1.5, -2, null, true] }, at % 3 !== 0), time },
      { ...anEvent('daemon', at, { text: 'a "quoted" \\ text' }), time },
    ];
    await log.append(events as ReturnType<typeof anEvent>[], { sync: true }).durable;
    if (at === 17 || at === 33) {
      await log.writeCheckpoint({ position: log.durablePosition, lines: [] });
    }
  }
  await log.close();
  return disk;
}

describe('a verify that checks segments ahead', () => {
  it('says the same of a sound log, and reads none of its sealed segments again', async () => {
    const disk = await aLog();
    const { items, sound } = await bothWays(disk);
    expect(items).toMatchObject([{ kind: 'summary', damage: 0, records: 120 }]);
    expect(sound).toBe((await segmentNames(disk)).length - 1);
    expect(sound).toBeGreaterThan(2);
  });

  it('says the same where the clock was set back, within a segment and between two', async () => {
    for (const at of [4, 5, 6, 7, 8, 9, 20]) {
      const { items } = await bothWays(await aLog(at));
      expect(items[0]).toMatchObject({ kind: 'time-stepped-back' });
    }
  });

  it('says the same wherever a bit is flipped', async () => {
    const disk = await aLog();
    const names = (await segmentNames(disk)).slice(0, 3);
    for (const name of names) {
      const bytes = disk.bytes(`${ROOT}/log/${name}`);
      for (let offset = 3; offset < bytes.length; offset += 97) {
        bytes.writeUInt8(bytes.readUInt8(offset) ^ 4, offset);
        const { items } = await bothWays(disk);
        expect(items.length, `byte ${offset} of ${name}`).toBeGreaterThan(1);
        bytes.writeUInt8(bytes.readUInt8(offset) ^ 4, offset);
      }
    }
  }, 60_000);

  it('says the same of a segment that is gone, cut, or followed by strange bytes', async () => {
    const [, second = '', third = ''] = await segmentNames(await aLog());
    for (const spoil of [
      async (disk: FaultyDisk) => {
        await disk.remove(`${ROOT}/log/${second}`);
      },
      async (disk: FaultyDisk) => {
        await Promise.resolve();
        disk.put(`${ROOT}/log/${third}`, disk.bytes(`${ROOT}/log/${third}`).subarray(0, 2000));
      },
      async (disk: FaultyDisk) => {
        await Promise.resolve();
        const bytes = disk.bytes(`${ROOT}/log/${second}`);
        disk.put(`${ROOT}/log/${second}`, Buffer.concat([bytes, Buffer.from('strange')]));
      },
    ]) {
      const disk = await aLog();
      await spoil(disk);
      const { items } = await bothWays(disk);
      expect(items.length).toBeGreaterThan(1);
    }
  });
});
