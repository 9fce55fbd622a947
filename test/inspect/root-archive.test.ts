/**
 * The archive of a golden root: what it answers is what the log says, at every position. And that
 * it answers from what is left when a daemon retires segments meanwhile.
 */
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { position, snapshotId, unixNanos } from '../../src/base/units.js';
import { systemDisk } from '../../src/host/files/disk.js';
import { MomentUnknown } from '../../src/inspect/archive/archive.js';
import { Replay } from '../../src/inspect/archive/replay.js';
import { RootArchive } from '../../src/inspect/archive/root-archive.js';
import type { LogRecord } from '../../src/log/types.js';
import { encodeState } from '../../src/machines/snapshots/state-json.js';
import { writeSound } from '../damaged/rig.js';
import { ROOT, segmentNames } from '../log/fixtures.js';
import { FaultyDisk } from '../support/faulty-disk.js';

const root = fileURLToPath(new URL('../golden/v0.1.0/root', import.meta.url));
const archive = new RootArchive(systemDisk(), root);

async function allRecords(): Promise<LogRecord[]> {
  const records: LogRecord[] = [];
  for await (const batch of archive.read()) records.push(...batch);
  return records;
}

describe('the archive of a root', () => {
  it('knows the state at each position that a replay goes through', async () => {
    const replay = new Replay();
    const records = await allRecords();
    expect(records.length).toBeGreaterThan(20);
    for (const record of records) {
      const { forest, time } = await archive.stateAt(record.position);
      expect([...forest.values()].map(encodeState)).toEqual(
        [...replay.forest.values()].map(encodeState),
      );
      expect(time).toBe(records[record.position - 1]?.time ?? null);
      replay.apply(record);
    }
  });

  it('refuses a position that is not there yet, and says where the log ends', async () => {
    const { next } = await archive.bounds();
    await expect(archive.stateAt(position(next + 1))).rejects.toThrow(MomentUnknown);
    await expect(archive.stateAt(position(next + 1))).rejects.toThrow(`ends at position ${next}`);
  });

  it('finds the position behind a time', async () => {
    const records = await allRecords();
    for (const { time } of records) {
      const last = records.findLast((record) => record.time <= time);
      expect(await archive.positionAt(time)).toBe((last?.position ?? -1) + 1);
    }
    expect(await archive.positionAt(unixNanos(0n))).toBe(0);
  });

  it('tells the history of one snapshot, and finds it by each name it ever had', async () => {
    const history = await archive.historyOf(snapshotId(1));
    expect(history[0]?.type).toBe('SnapshotPreparing');
    const key = history[0]?.data['key'];
    expect(await archive.find(String(key))).toContain(1);
    expect(await archive.historyOf(snapshotId(99_999))).toEqual([]);
    expect(await archive.find('no such name')).toEqual([]);
  });
});

it('answers from what is left when segments it has listed are retired before it reads them', async () => {
  const disk = new FaultyDisk();
  await writeSound(ROOT, disk, { checkpoints: [12, 26] });
  const questions: readonly ((archive: RootArchive) => Promise<unknown>)[] = [
    (asked) => asked.historyOf(snapshotId(1)),
    (asked) => asked.childrenOf(snapshotId(1), {}),
    (asked) => asked.find('default/1/key-1'),
    (asked) => asked.positionAt(unixNanos(0n)),
    (asked) => asked.stateAt(position(5)).catch((thrown: unknown) => String(thrown)),
    (asked) => asked.stateAt(position(20)).then(({ forest }) => [...forest.values()]),
  ];
  const early = questions.map(() => new RootArchive(disk, ROOT, { asksOnce: true }));
  for (const asked of early) expect(await asked.bounds()).toMatchObject({ first: 0 });
  // As a daemon does it.
  const [oldest] = await segmentNames(disk);
  await disk.remove(`${ROOT}/log/${oldest ?? ''}`);
  for (const [index, ask] of questions.entries()) {
    const late = await ask(new RootArchive(disk, ROOT));
    expect(await ask(early[index] ?? archive)).toEqual(late);
  }
  expect(await new RootArchive(disk, ROOT).bounds()).toMatchObject({ first: 8 });
});
