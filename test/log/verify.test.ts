/**
 * Goal: nothing that is wrong with a log goes unnoticed, and it is said where. Method: every bit
 * of a small log is flipped, one at a time.
 */
import { describe, expect, it } from 'vitest';
import { SEGMENT } from '../../src/log/format/layout.js';
import { FaultyDisk } from '../support/faulty-disk.js';
import { encodeRecord } from '../../src/log/format/codec.js';
import {
  anEvent,
  appendSingly,
  openTestLog,
  ROOT,
  segmentNames,
  steppingClock,
  verified,
} from './fixtures.js';

/** Two segments of two records each; the first is sealed, because a new release came. */
async function aSmallLog(): Promise<FaultyDisk> {
  const disk = new FaultyDisk();
  const older = await openTestLog(disk, { writtenBy: 'stratalog 0.0.9' });
  await appendSingly(older.log, 'a', 0, 2);
  await older.log.close();
  const clock = steppingClock(1_800_000_000_000_000_000n);
  const { log } = await openTestLog(disk, { clock });
  await appendSingly(log, 'b', 0, 2);
  await log.close();
  const names = await segmentNames(disk);
  expect(names.map((name) => Number(name.slice(0, 20)))).toEqual([0, 2]);
  // The zeros behind the records are alike: some are enough.
  for (const name of names) {
    const path = `${ROOT}/log/${name}`;
    disk.put(path, disk.bytes(path).subarray(0, 400));
  }
  return disk;
}

describe('verify', () => {
  it('finds nothing in a sound log and says how far it reaches', async () => {
    const disk = await aSmallLog();
    const { findings, summary } = await verified(disk);
    expect(findings).toEqual([]);
    expect(summary).toMatchObject({ from: 0, verifiedTo: 4, records: 4, segments: 2, damage: 0 });
    expect(summary.chain).toMatch(/^[0-9a-f]{64}$/);
    expect((await verified(disk, ROOT, true)).summary).toMatchObject({
      verifiedTo: 4,
      chain: summary.chain,
      records: 2,
    });
  });

  it('finds and locates any flipped bit', async () => {
    const disk = await aSmallLog();
    for (const name of await segmentNames(disk)) {
      const bytes = disk.bytes(`${ROOT}/log/${name}`);
      for (let bit = 0; bit < bytes.length * 8; bit++) {
        const offset = bit >> 3;
        bytes.writeUInt8(bytes.readUInt8(offset) ^ (1 << (bit & 7)), offset);
        const { findings } = await verified(disk);
        const found = findings.find(({ segment }) => segment === name);
        const what = `bit ${bit & 7} of byte ${offset} in ${name}`;
        expect(found, what).toBeDefined();
        expect(['damage', 'warning'], what).toContain(found?.severity);
        // The finding names the record, or the header, that the byte belongs to.
        expect(found?.offset, what).toBeLessThanOrEqual(offset);
        expect(offset < SEGMENT.headerBytes ? found?.offset : 0, what).toBe(0);
        bytes.writeUInt8(bytes.readUInt8(offset) ^ (1 << (bit & 7)), offset);
      }
    }
    expect((await verified(disk)).findings).toEqual([]);
  }, 60_000);

  it('goes on behind damage and tells its extent', async () => {
    const disk = new FaultyDisk();
    const { log } = await openTestLog(disk, { segmentBytes: 4096 });
    await appendSingly(log, 'a', 0, 30, { text: 'x'.repeat(200) });
    await log.close();
    const names = await segmentNames(disk);
    const first = disk.bytes(`${ROOT}/log/${names[0] ?? ''}`);
    first.fill(0xff, 136 + 296, 136 + 296 * 3);
    const last = disk.bytes(`${ROOT}/log/${names[2] ?? ''}`);
    last.writeUInt8(last.readUInt8(90) ^ 1, 90);
    const { findings, summary } = await verified(disk);
    expect(findings).toMatchObject([
      { kind: 'record-damaged', segment: names[0], offset: 136 + 296, position: 1 },
      { kind: 'header-damaged', segment: names[2], offset: 0 },
    ]);
    expect(findings[0]?.detail).toContain('the next whole record is 3, at offset');
    expect(summary).toMatchObject({ verifiedTo: 1, records: 28, damage: 2 });
  });

  it('finds a record that was changed together with its checksum', async () => {
    const disk = await aSmallLog();
    const name = (await segmentNames(disk))[1] ?? '';
    const bytes = disk.bytes(`${ROOT}/log/${name}`);
    const forged = Buffer.alloc(400);
    const json = '{"n":7}';
    const length = encodeRecord(
      forged,
      0,
      {
        position: 2,
        time: 1n,
        stream: 'b',
        streamVersion: 0,
        groupOffset: 0,
        type: 'Noted',
        schemaVersion: 1,
        flags: 0,
        json,
        jsonBytes: json.length,
      },
      Buffer.alloc(32, 9),
    );
    forged.copy(bytes, SEGMENT.headerBytes, 0, length);
    const { findings } = await verified(disk);
    expect(findings[0]).toMatchObject({
      kind: 'chain-broken',
      segment: name,
      offset: SEGMENT.headerBytes,
      position: 2,
    });
    await expect(openTestLog(disk)).rejects.toThrow(/does not continue the hash chain/);
  });

  it('reports a clock that was set back for information only', async () => {
    const disk = new FaultyDisk();
    const first = await openTestLog(disk);
    await appendSingly(first.log, 'a', 0, 1);
    await first.log.close();
    const { log } = await openTestLog(disk, {});
    await appendSingly(log, 'a', 1, 1);
    await log.append([anEvent('b', 0)], { sync: true }).durable;
    await log.close();
    const { findings, summary } = await verified(disk);
    expect(findings.map(({ kind, severity }) => [kind, severity])).toEqual([
      ['time-stepped-back', 'info'],
    ]);
    expect(summary).toMatchObject({ damage: 0, warnings: 0, verifiedTo: 3 });
  });
});
