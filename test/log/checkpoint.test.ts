/**
 * Goal: a checkpoint makes a start faster and never wrong; what it covers may be dropped, and
 * what is left still verifies. Method: damage to each part of the files, restarts, counted reads.
 */
import { describe, expect, it } from 'vitest';
import { position, type Position, unixNanos } from '../../src/base/units.js';
import { CheckpointUnusable } from '../../src/log/errors.js';
import { decodeHeader } from '../../src/log/format/segment-header.js';
import { FaultyDisk } from '../support/faulty-disk.js';
import {
  anEvent,
  appendSingly,
  openTestLog,
  recordsOf,
  ROOT,
  segmentNames,
  verified,
  type TestLog,
} from './fixtures.js';

const data = { text: 'x'.repeat(200) };
const pathOf = (at: number): string => `${ROOT}/log/${at.toString().padStart(20, '0')}.checkpoint`;

/** 30 records in three segments, checkpoints after 12 and 27 of them. */
async function aLog(): Promise<FaultyDisk> {
  const disk = new FaultyDisk();
  const { log } = await openTestLog(disk, { segmentBytes: 4096 });
  await appendSingly(log, 'a', 0, 12, data);
  await log.writeCheckpoint({ position: log.durablePosition, lines: ['"at 12"'] });
  await appendSingly(log, 'a', 12, 15, data);
  await log.writeCheckpoint({ position: log.durablePosition, lines: ['"at 27"', '{"n":2}'] });
  await appendSingly(log, 'a', 27, 3, data);
  await log.close();
  return disk;
}

const open = (disk: FaultyDisk): Promise<TestLog> => openTestLog(disk, { segmentBytes: 4096 });

describe('a checkpoint', () => {
  it('is where the next start begins, with its lines and the tail behind it', async () => {
    const disk = await aLog();
    const { log, recovery, restored, replayed } = await open(disk);
    expect(restored).toEqual({ position: 27, lines: ['"at 27"', '{"n":2}'] });
    expect(recovery).toMatchObject({ checkpoint: 27, recordsReplayed: 3, ignoredCheckpoints: [] });
    expect(replayed.map(({ position: at }) => at)).toEqual([27, 28, 29]);
    // Stream versions come from the checkpoint: the stream goes on.
    await appendSingly(log, 'a', 30, 1);
    await log.close();
  });

  it('does not make a start read the segments below it', async () => {
    const disk = await aLog();
    const [first] = await segmentNames(disk);
    const bytes = disk.bytes(`${ROOT}/log/${first ?? ''}`);
    bytes.writeUInt8(bytes.readUInt8(300) ^ 1, 300);
    const { log } = await open(disk);
    await log.close();
    // It is still found by those who look.
    expect((await verified(disk)).summary.damage).toBe(1);
  });

  it.each([
    ['a flipped bit', (bytes: Buffer) => bytes.fill(bytes.readUInt8(40) ^ 1, 40, 41)],
    ['a cut end', (bytes: Buffer) => bytes.subarray(0, -5)],
    ['nothing in it', () => Buffer.alloc(0)],
    ['only zeros', (bytes: Buffer) => Buffer.alloc(bytes.length)],
  ])('with %s is ignored with a warning, and the older one used', async (_what, spoil) => {
    const disk = await aLog();
    disk.put(pathOf(27), spoil(Buffer.from(disk.bytes(pathOf(27)))));
    const { findings, summary } = await verified(disk);
    expect(findings.map(({ kind }) => kind)).toEqual(['checkpoint-unusable']);
    expect(summary.damage).toBe(0);
    const { log, recovery, restored, warnings } = await open(disk);
    expect(restored).toMatchObject({ position: 12, lines: ['"at 12"'] });
    expect(recovery.recordsReplayed).toBe(18);
    expect(warnings).toEqual([expect.stringContaining('was ignored') as string]);
    await log.close();
  });

  it('is not needed: without a sound one everything is replayed', async () => {
    const disk = await aLog();
    disk.put(pathOf(12), Buffer.from('nonsense'));
    disk.put(pathOf(27), Buffer.from('nonsense'));
    const { log, recovery, restored, replayed } = await open(disk);
    expect(restored).toBeNull();
    expect(replayed).toHaveLength(30);
    expect(recovery.checkpoint).toBeNull();
    await log.close();
  });

  it('that its owner cannot use is passed over', async () => {
    const disk = await aLog();
    const offered: Position[] = [];
    const { log, recovery } = await openTestLog(disk, {
      segmentBytes: 4096,
      onCheckpoint: (_slices, at) => {
        offered.push(at);
        return Promise.reject(new CheckpointUnusable('its lines are of release 0'));
      },
    });
    expect(offered).toEqual([27, 12]);
    expect(recovery).toMatchObject({ checkpoint: null, recordsReplayed: 30 });
    expect(recovery.ignoredCheckpoints[0]?.reason).toBe('its lines are of release 0');
    await log.close();
  });

  it('of records that the log does not have is a proof of loss', async () => {
    const disk = await aLog();
    const last = `${ROOT}/log/${(await segmentNames(disk)).at(-1) ?? ''}`;
    disk.bytes(last).fill(0, 136);
    expect((await verified(disk)).findings.map(({ kind }) => kind)).toEqual([
      'checkpoint-disagrees',
    ]);
    await expect(open(disk)).rejects.toThrow(
      /but the checkpoint .* was taken when the log reached/,
    );
  });

  it('is kept together with one older one', async () => {
    const disk = await aLog();
    const { log } = await open(disk);
    await log.writeCheckpoint({ position: position(28), lines: [] });
    await log.close();
    const names = disk.paths().filter((path) => path.endsWith('.checkpoint'));
    expect(names).toEqual([pathOf(27), pathOf(28)]);
    const again = await open(disk);
    expect(again.recovery).toMatchObject({ checkpoint: 28, recordsReplayed: 2 });
    await again.log.close();
  });

  it('may be older than the stream versions it carries', async () => {
    const disk = new FaultyDisk();
    const { log } = await open(disk);
    await appendSingly(log, 'a', 0, 5);
    // Queued while the checkpoint is asked for: a closed stream, a new one and one that goes on.
    log.append([anEvent('b', 0), anEvent('b', 1, {}, true)], { sync: false });
    log.append([anEvent('c', 0), anEvent('a', 5)], { sync: false });
    await log.writeCheckpoint({ position: position(3), lines: [] });
    expect(log.durablePosition).toBe(9);
    await appendSingly(log, 'c', 1, 1);
    await log.close();
    const again = await open(disk);
    expect(again.recovery).toMatchObject({ checkpoint: 3, recordsReplayed: 7 });
    const next = [anEvent('a', 6), anEvent('b', 0), anEvent('c', 2)];
    await again.log.append(next, { sync: true }).durable;
    await again.log.close();
  });

  it('is refused for records that are not durable, and takes no line with a newline', async () => {
    const { log } = await open(new FaultyDisk());
    log.append([anEvent('a', 0)], { sync: false });
    await expect(log.writeCheckpoint({ position: position(1), lines: [] })).rejects.toThrow(
      /not durable yet/,
    );
    await expect(log.writeCheckpoint({ position: position(0), lines: ['a\nb'] })).rejects.toThrow(
      /newline/,
    );
    await log.close();
  });

  it('of many lines lets others run between its slices', async () => {
    const disk = new FaultyDisk();
    const { log } = await open(disk);
    await appendSingly(log, 'a', 0, 1);
    const lines = Array.from({ length: 50_000 }, (_, index) => JSON.stringify({ index, ä: 'ö' }));
    let turns = 0;
    const timer = setInterval(() => (turns += 1), 0);
    await log.writeCheckpoint({ position: log.durablePosition, lines });
    clearInterval(timer);
    expect(turns).toBeGreaterThan(2);
    await log.close();
    const again = await open(disk);
    expect(again.restored?.lines).toEqual(lines);
    await again.log.close();
  });
});

describe('retiring', () => {
  it('drops sealed segments below a checkpoint, and what is left verifies and opens', async () => {
    const disk = await aLog();
    const { log } = await open(disk);
    const names = await segmentNames(disk);
    expect(await log.retire(position(27))).toEqual(names.slice(0, 2));
    expect(await log.retire(position(27))).toEqual([]);
    await appendSingly(log, 'a', 30, 30, data);
    await log.close();
    const { findings, summary } = await verified(disk);
    expect(findings.filter(({ severity }) => severity !== 'info')).toEqual([]);
    expect(summary).toMatchObject({ verifiedTo: 60, damage: 0 });
    expect(summary.from).toBeGreaterThan(20);
    expect(await recordsOf(disk)).toHaveLength(60 - summary.from);
    const again = await open(disk);
    expect(again.recovery.checkpoint).toBe(27);
    await again.log.close();
  });

  it('keeps a segment whose records are younger than asked for', async () => {
    const disk = await aLog();
    const { log } = await open(disk);
    const names = await segmentNames(disk);
    const second = decodeHeader(disk.bytes(`${ROOT}/log/${names[1] ?? ''}`));
    if (second.kind !== 'valid') expect.unreachable('the header of the second segment is sound');
    // The first ends where the second was begun; the end of the second is younger.
    const { created } = second.header;
    const age = { writtenBefore: created, now: unixNanos(2n ** 62n) };
    expect(await log.retire(position(27), age)).toEqual(names.slice(0, 1));
    expect(await segmentNames(disk)).toEqual(names.slice(1));
    await log.close();
  });

  it('is refused above the newest sound checkpoint', async () => {
    const disk = await aLog();
    const { log } = await open(disk);
    await expect(log.retire(position(28))).rejects.toThrow(
      /newest sound checkpoint is of position/,
    );
    disk.put(pathOf(27), Buffer.from('nonsense'));
    await expect(log.retire(position(27))).rejects.toThrow(/of position 12/);
    expect(await segmentNames(disk)).toHaveLength(3);
    await log.close();
  });

  it('makes a checkpoint necessary: without one the open says why it cannot start', async () => {
    const disk = await aLog();
    const older = disk.bytes(pathOf(12));
    const { log } = await open(disk);
    await log.retire(position(27));
    await log.close();
    expect(disk.has(pathOf(12))).toBe(false);
    disk.put(pathOf(27), Buffer.from('nonsense'));
    // Left by a crash, sound, and of no use: the records behind it are gone.
    disk.put(pathOf(12), older);
    await expect(open(disk)).rejects.toMatchObject({
      name: 'RootRefused',
      reason: 'no-usable-checkpoint',
    });
    expect((await verified(disk)).findings.map(({ kind }) => kind)).toEqual([
      'checkpoint-unusable',
      'checkpoint-unusable',
      'checkpoint-missing',
    ]);
  });
});
