/**
 * Goal: whatever a power cut can leave is opened without losing anything acknowledged, and what
 * it cannot leave is refused untouched. Method: exhaustive where small (every byte, every subset
 * of sectors), on copies of one disk in memory.
 */
import { describe, expect, it } from 'vitest';
import { RECORD, SEGMENT } from '../../src/log/format/layout.js';
import { LogDamaged, LogTooNew } from '../../src/log/errors.js';
import { decodeHeader, encodeHeader } from '../../src/log/format/segment-header.js';
import { FaultyDisk } from '../support/faulty-disk.js';
import {
  anEvent,
  appendSingly,
  openTestLog,
  recordsOf,
  ROOT,
  segmentNames,
  steppingClock,
  verified,
} from './fixtures.js';

const FIRST = `${ROOT}/log/00000000000000000000.seg`;
const SECTOR_BYTES = 512;

/** Where each record of a segment begins, and where the last one ends. */
function offsetsIn(bytes: Buffer): number[] {
  const offsets = [136];
  for (let at = 136; at + RECORD.headBytes <= bytes.length;) {
    const length = bytes.readUInt32LE(at + RECORD.length);
    if (length === 0) break;
    at += Math.ceil(length / 8) * 8;
    offsets.push(at);
  }
  return offsets;
}

/** A log of single-record groups, then one group of `last` records. */
async function aLog(singly: number, last: number, textBytes = 10): Promise<FaultyDisk> {
  const disk = new FaultyDisk();
  const { log } = await openTestLog(disk);
  const data = { text: 'x'.repeat(textBytes) };
  await appendSingly(log, 'a', 0, singly, data);
  for (let n = 0; n < last; n++) log.append([anEvent('group', n, data)], { sync: false });
  await log.close();
  return disk;
}

describe('a log that ends cleanly', () => {
  it('is opened as it is: nothing cut, the epoch unchanged', async () => {
    const disk = await aLog(3, 2);
    const { log, recovery, replayed } = await openTestLog(disk);
    expect(recovery).toMatchObject({ tornTail: null, recordsReplayed: 5, isNew: false });
    expect(replayed).toHaveLength(5);
    expect(log.identity.epoch).toBe(1);
    await log.close();
  });
});

describe('the newest segment cut at any byte', () => {
  it('recovers exactly the records that are whole, keeps the rest aside and goes on', async () => {
    const disk = await aLog(3, 2);
    const whole = disk.bytes(FIRST);
    const offsets = offsetsIn(whole);
    const used = offsets.at(-1) ?? 0;
    for (let size = SEGMENT.headerBytes; size <= used; size++) {
      const copy = disk.copy();
      copy.put(FIRST, whole.subarray(0, size));
      const opened = await openTestLog(copy);
      const kept = Math.max(0, offsets.filter((offset) => offset <= size).length - 1);
      expect(opened.replayed, `cut at ${size}`).toHaveLength(kept);
      const torn = [...whole.subarray(offsets[kept], size)];
      const tornBytes = torn.findLastIndex((byte) => byte !== 0) + 1;
      expect(opened.recovery.tornTail?.bytes ?? 0, `cut at ${size}`).toBe(tornBytes);
      await opened.log.append([anEvent('after', 0)], { sync: true }).durable;
      await opened.log.close();
      const again = await openTestLog(copy);
      expect(again.replayed.at(-1)?.stream).toBe('after');
      expect(again.replayed).toHaveLength(kept + 1);
      await again.log.close();
    }
  }, 60_000);

  it('keeps the cut bytes, raises the epoch and reports the place', async () => {
    const disk = await aLog(3, 1);
    const whole = disk.bytes(FIRST);
    const offsets = offsetsIn(whole);
    const torn = whole.subarray(0, (offsets[4] ?? 0) - 9);
    disk.put(FIRST, torn);
    const { log, recovery } = await openTestLog(disk);
    const cut = recovery.tornTail;
    expect(cut).toMatchObject({
      segment: '00000000000000000000.seg',
      offset: offsets[3],
      position: 3,
      bytes: torn.length - (offsets[3] ?? 0),
    });
    expect(disk.bytes(`${ROOT}/log/${cut?.savedAs ?? ''}`)).toEqual(torn.subarray(offsets[3]));
    expect(log.identity.epoch).toBe(2);
    expect(log.nextPosition).toBe(3);
    await log.close();
    const { findings } = await verified(disk);
    expect(findings.map(({ kind }) => kind)).toEqual(['left-over']);
  });
});

describe('a sync group torn by sectors', () => {
  it('is cut to its whole prefix, whichever sectors arrived', async () => {
    const textBytes = 150;
    const disk = await aLog(2, 12, textBytes);
    const whole = disk.bytes(FIRST);
    const offsets = offsetsIn(whole);
    const groupStart = offsets[2] ?? 0;
    const firstSector = Math.floor(groupStart / SECTOR_BYTES);
    const lastSector = Math.floor(((offsets.at(-1) ?? 0) - 1) / SECTOR_BYTES);
    const sectors = lastSector - firstSector + 1;
    expect(sectors).toBeGreaterThan(5);
    let withValidBehindHole = 0;
    for (let subset = 0; subset < 2 ** sectors; subset++) {
      const bytes = Buffer.from(whole);
      for (let sector = 0; sector < sectors; sector++) {
        const start = Math.max((firstSector + sector) * SECTOR_BYTES, groupStart);
        if ((subset & (1 << sector)) === 0) {
          bytes.fill(0, start, (firstSector + sector + 1) * SECTOR_BYTES);
        }
      }
      const prefix = offsets.findIndex((offset, index) => {
        const end = offsets[index + 1];
        return (
          end === undefined || !bytes.subarray(offset, end).equals(whole.subarray(offset, end))
        );
      });
      const tail = bytes.subarray(offsets[prefix]);
      if (tail.some((byte) => byte !== 0)) withValidBehindHole += 1;
      const copy = disk.copy();
      copy.put(FIRST, bytes);
      const { replayed, recovery, log } = await openTestLog(copy);
      expect(replayed, `sectors ${subset.toString(2)}`).toHaveLength(prefix);
      expect(recovery.tornTail === null).toBe(tail.every((byte) => byte === 0));
      await log.close();
    }
    expect(withValidBehindHole).toBeGreaterThan(10);
  }, 60_000);

  it('is refused when a group behind the hole proves that it was acknowledged', async () => {
    const disk = await aLog(4, 2);
    const bytes = disk.bytes(FIRST);
    const offsets = offsetsIn(bytes);
    bytes.fill(0, offsets[1], (offsets[1] ?? 0) + 24);
    const before = Buffer.from(bytes);
    const opening = openTestLog(disk);
    await expect(opening).rejects.toThrow(LogDamaged);
    await expect(opening).rejects.toMatchObject({
      segment: '00000000000000000000.seg',
      offset: offsets[1],
      position: 1,
    });
    await expect(opening).rejects.toThrow(/verify/);
    expect(disk.bytes(FIRST).equals(before)).toBe(true);
    expect(disk.paths().filter((path) => path.endsWith('.broken'))).toEqual([]);
  });

  it('is refused when only zeros stand in the hole', async () => {
    const disk = await aLog(4, 0);
    const bytes = disk.bytes(FIRST);
    const offsets = offsetsIn(bytes);
    bytes.fill(0, offsets[1], offsets[2]);
    await expect(openTestLog(disk)).rejects.toMatchObject({ name: 'LogDamaged', position: 1 });
  });
});

describe('an append of several events', () => {
  it('is recovered whole or not at all', async () => {
    const disk = new FaultyDisk();
    const { log } = await openTestLog(disk);
    await appendSingly(log, 'a', 0, 1);
    const unit = [anEvent('b', 0), anEvent('b', 1), anEvent('b', 2)];
    await log.append(unit, { sync: true }).durable;
    await log.close();
    const bytes = disk.bytes(FIRST);
    const offsets = offsetsIn(bytes);
    // The first two records of the unit are whole; the third never arrived.
    bytes.fill(0, offsets[3]);
    expect(await recordsOf(disk)).toHaveLength(1);
    expect((await verified(disk)).findings.map(({ kind }) => kind)).toEqual(['torn-tail']);
    const { replayed, recovery, log: next } = await openTestLog(disk);
    expect(replayed).toHaveLength(1);
    expect(recovery.tornTail).toMatchObject({ offset: offsets[1], position: 1 });
    await next.append(unit, { sync: true }).durable;
    await next.close();
    expect(await recordsOf(disk)).toHaveLength(4);
  });
});

describe('several segments', () => {
  async function threeSegments(): Promise<FaultyDisk> {
    const disk = new FaultyDisk();
    const { log } = await openTestLog(disk, { segmentBytes: 4096 });
    await appendSingly(log, 'a', 0, 30, { text: 'x'.repeat(200) });
    await log.close();
    expect((await segmentNames(disk)).length).toBe(3);
    return disk;
  }

  it.each([
    ['a flipped bit in a sealed segment', 0, 200],
    ['a flipped bit in the header of a sealed segment', 1, 90],
  ])('refuses %s', async (_what, segment, offset) => {
    const disk = await threeSegments();
    const name = (await segmentNames(disk))[segment] ?? '';
    const bytes = disk.bytes(`${ROOT}/log/${name}`);
    bytes.writeUInt8(bytes.readUInt8(offset) ^ 1, offset);
    await expect(openTestLog(disk)).rejects.toMatchObject({ name: 'LogDamaged', segment: name });
  });

  it('refuses a missing segment in the middle, and one at the beginning', async () => {
    for (const index of [0, 1]) {
      const disk = await threeSegments();
      const name = (await segmentNames(disk))[index] ?? '';
      await disk.remove(`${ROOT}/log/${name}`);
      const error = index === 0 ? 'RootRefused' : 'LogDamaged';
      await expect(openTestLog(disk)).rejects.toMatchObject({ name: error });
    }
  });

  it('refuses a doubled segment', async () => {
    const disk = await threeSegments();
    const [, second] = await segmentNames(disk);
    const bytes = disk.bytes(`${ROOT}/log/${second ?? ''}`);
    disk.put(`${ROOT}/log/00000000000000000015.seg`, bytes);
    await expect(openTestLog(disk)).rejects.toThrow(/its header says that it begins at position/);
  });

  it('refuses a segment of another log', async () => {
    const disk = await threeSegments();
    const last = `${ROOT}/log/${(await segmentNames(disk)).at(-1) ?? ''}`;
    const bytes = disk.bytes(last);
    const reading = decodeHeader(bytes);
    if (reading.kind !== 'valid') throw new Error('no header');
    const foreign = encodeHeader({
      ...reading.header,
      uuid: '11111111-2222-4333-8444-555555555555',
    });
    foreign.copy(bytes);
    await expect(openTestLog(disk)).rejects.toThrow(/belongs to the log 11111111/);
  });

  it('refuses a sealed segment that lost its end', async () => {
    const disk = await threeSegments();
    const [first] = await segmentNames(disk);
    const bytes = disk.bytes(`${ROOT}/log/${first ?? ''}`);
    const offsets = offsetsIn(bytes);
    bytes.fill(0, offsets.at(-2));
    await expect(openTestLog(disk)).rejects.toThrow(
      /the records end here; the next segment begins/,
    );
  });

  it('refuses a format of the future and names who wrote it', async () => {
    const disk = await threeSegments();
    const last = `${ROOT}/log/${(await segmentNames(disk)).at(-1) ?? ''}`;
    const bytes = disk.bytes(last);
    bytes.writeUInt32LE(2, 16);
    bytes.write('stratalog 9.9.9\0\0', 24);
    const { crc32 } = await import('node:zlib');
    bytes.writeUInt32LE(crc32(bytes.subarray(12, 136)), 8);
    const opening = openTestLog(disk);
    await expect(opening).rejects.toThrow(LogTooNew);
    await expect(opening).rejects.toMatchObject({ writtenBy: 'stratalog 9.9.9' });
  });

  it.each([0, 10, 60])(
    'refuses a newest segment with %i bytes of header: no crash leaves one, so records are lost',
    async (n) => {
      const disk = await threeSegments();
      const header = disk.bytes(FIRST).subarray(0, n);
      const headless = Buffer.alloc(4096);
      header.copy(headless);
      disk.put(`${ROOT}/log/00000000000000000030.seg`, headless);
      await expect(openTestLog(disk)).rejects.toThrow(LogDamaged);
      expect(disk.has(`${ROOT}/log/00000000000000000030.seg`)).toBe(true);
    },
  );

  it('takes a file that was only prepared for a left-over', async () => {
    const disk = await threeSegments();
    disk.put(`${ROOT}/log/next.prepared`, Buffer.alloc(4096));
    const { log, replayed } = await openTestLog(disk, { segmentBytes: 4096 });
    expect(replayed).toHaveLength(30);
    await appendSingly(log, 'a', 30, 20, { text: 'x'.repeat(200) });
    await log.close();
    expect(await recordsOf(disk)).toHaveLength(50);
  });
});

describe('a callback that throws', () => {
  it('ends the open and leaves every file as it was', async () => {
    const disk = await aLog(3, 1);
    const whole = disk.bytes(FIRST);
    disk.put(FIRST, whole.subarray(0, (offsetsIn(whole).at(-1) ?? 0) - 3));
    const before = disk.paths().map((path) => [path, disk.copy()] as const);
    const snapshotOf = (of: FaultyDisk): unknown =>
      of
        .paths()
        .filter((path) => /\.seg$|json$|broken$/.test(path))
        .map((path) => [path, of.bytes(path).toString('hex')]);
    const expected = snapshotOf(before[0]?.[1] ?? disk);
    await expect(
      openTestLog(disk, {
        onRecords: () => {
          throw new Error('unknown event type');
        },
      }),
    ).rejects.toThrow('unknown event type');
    expect(snapshotOf(disk)).toEqual(expected);
    // The lock is free again.
    const { log } = await openTestLog(disk);
    await log.close();
  });
});

describe('a power cut while the tail is cut', () => {
  it('leaves a log that the next start cuts to the same records', async () => {
    const torn = await aLog(3, 8, 150);
    const bytes = torn.bytes(FIRST);
    const offsets = offsetsIn(bytes);
    // A hole in the second record of the last group: whole records of it stand behind.
    bytes.fill(0, offsets[4], (offsets[4] ?? 0) + 100);
    for (let step = 0; step < 60; step++) {
      const disk = torn.copy();
      let left = step;
      disk.plan = (operation) => {
        if (operation === 'read' || left-- > 0) return undefined;
        return { kind: 'power-cut' };
      };
      const opened = await openTestLog(disk).catch(() => null);
      if (opened) {
        expect(step).toBeGreaterThan(8);
        return;
      }
      let seed = step + 1;
      const after = disk.powerCut(() => (seed = (seed * 16807) % 2147483647) / 2147483647);
      const again = await openTestLog(after, { clock: steppingClock(1_800_000_000_000_000_000n) });
      expect(again.replayed, `power cut at step ${step}`).toHaveLength(4);
      await again.log.close();
      expect((await verified(after)).summary.damage).toBe(0);
    }
    throw new Error('the open never came to its end');
  });
});
