/**
 * Goal: over the socket, the log is what the files say, and never more than is durable. Method: a
 * real log behind the real service, asked by the real client, compared with the archive of the
 * files; a disk that withholds its syncs.
 */
import { fileURLToPath } from 'node:url';
import { NEVER } from 'rxjs';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { position, snapshotId, unixNanos } from '../../src/base/units.js';
import { queriesOnThread } from '../../src/api/audit/audit-thread.js';
import { systemDisk } from '../../src/host/files/disk.js';
import { WorkerPool } from '../../src/host/threads/workers.js';
import { MomentUnknown } from '../../src/inspect/archive/archive.js';
import { RootArchive } from '../../src/inspect/archive/root-archive.js';
import type { LogRecord } from '../../src/log/types.js';
import type { Forest } from '../../src/machines/snapshots/forest.js';
import { encodeState } from '../../src/machines/snapshots/state-json.js';
import { aLog, allOf, lifeOf, serveAudit, WithholdingDisk } from './audit-rig.js';
import { cleanUp, later } from './rig.js';

afterEach(cleanUp);

const golden = fileURLToPath(new URL('../golden/v0.1.0/root', import.meta.url));
const files = new RootArchive(systemDisk(), golden);
let records: LogRecord[];
beforeAll(async () => {
  records = await allOf(files.read());
});

/** The golden root behind a service that replays on a thread, as the daemon's does. */
async function aGoldenAudit() {
  const { uuid, epoch, next } = await files.bounds();
  const workers = new WorkerPool();
  later(async () => {
    await workers.close();
  });
  const identity = { uuid: uuid ?? '', epoch: epoch ?? 0 };
  const log = { identity, durablePosition: next, durableBatches: NEVER };
  const queries = queriesOnThread(workers, golden);
  return serveAudit({ log, archive: files, queries });
}

const stateOf = (forest: Forest) => ({
  states: [...forest.values()].map(encodeState),
  nextId: forest.nextId,
  preallocated: [...forest.preallocated],
  counts: new Map([...forest.statusCounts].filter(([, count]) => count > 0)),
});

describe('the log of a golden root, over the socket', () => {
  test('has the bounds, the events and each part of them that the files have', async () => {
    const served = await aGoldenAudit();
    const archive = served.archive();
    expect(await archive.bounds()).toEqual(await files.bounds());
    expect(await allOf(archive.read())).toEqual(records);
    const stream = records.at(-1)?.stream ?? '';
    const ranges = [
      { from: position(7) },
      { to: position(9) },
      { from: position(3), to: position(3) },
      { from: position(5), to: position(2) },
      { from: position(20), to: position(1_000_000) },
      { from: position(1_000_000) },
      { from: position(10), to: position(20), reverse: true },
      { reverse: true },
      { stream },
      { stream, reverse: true },
      { stream: 'snapshot-999999' },
    ];
    for (const range of ranges) {
      expect(await allOf(archive.read(range)), JSON.stringify(range)).toEqual(
        await allOf(files.read(range)),
      );
    }
    const types = [records[1]?.type ?? ''];
    expect(await allOf(archive.read({ types }))).toEqual(
      records.filter(({ type }) => types.includes(type)),
    );
    expect(served.sent()).toBeGreaterThan(records.length);
    await expect.poll(() => served.audit.streams()).toBe(0);
  });

  test('has the state at every position, and a forest that can be moved on', async () => {
    const archive = (await aGoldenAudit()).archive();
    for (let at = 0; at <= records.length; at += 1) {
      const here = await archive.stateAt(position(at));
      const there = await files.stateAt(position(at));
      expect(stateOf(here.forest)).toEqual(stateOf(there.forest));
      expect([here.position, here.time]).toEqual([there.position, there.time]);
    }
    const beyond = archive.stateAt(position(records.length + 1));
    await expect(beyond).rejects.toThrow(MomentUnknown);
    await expect(beyond).rejects.toThrow(`ends at position ${records.length}`);
  });

  test('has histories, times and names', async () => {
    const archive = (await aGoldenAudit()).archive();
    const ids = new Set(records.map(({ stream }) => Number(stream.split('-')[1] ?? 0)));
    for (const id of [...ids, 999_999].filter((each) => each > 0)) {
      const history = await archive.historyOf(snapshotId(id));
      expect(history).toEqual(await files.historyOf(snapshotId(id)));
    }
    const times = records.map(({ time }) => time);
    for (const time of [unixNanos(0n), unixNanos(-1n), ...times]) {
      expect(await archive.positionAt(time)).toBe(await files.positionAt(time));
    }
    const key = String(records.find(({ type }) => type === 'SnapshotPreparing')?.data['key']);
    for (const text of [key, 'no such name', '__proto__']) {
      expect(await archive.find(text)).toEqual(await files.find(text));
    }
    expect(await archive.find(key)).not.toEqual([]);
  });
});

test('bodies that JSON can hold come back as they were', async () => {
  const rig = await aLog();
  const odd = { __proto__x: 1, 'a"b': ['\ud800', '🔑', '\u0000'], 7: { deep: [null, 1e300] } };
  const labels = Object.fromEntries([['__proto__', 'kept']]);
  await rig.append({ stream: 'daemon', type: 'Odd', data: { odd, labels } });
  const [record] = await allOf(rig.archive().read());
  expect(record).toEqual((await allOf(rig.files.read()))[0]);
  expect(JSON.stringify(record?.data)).toContain('"__proto__":"kept"');
});

test('an event of several megabytes is read, and followed', async () => {
  const rig = await aLog();
  const text = 'x'.repeat(3_000_000);
  await rig.append({ stream: 'daemon', type: 'Long', data: { text } });
  const stop = new AbortController();
  for await (const { records: found } of rig.archive().subscribe({
    from: position(0),
    signal: stop.signal,
  })) {
    if (found.length === 0) continue;
    expect(found[0]?.data['text']).toBe(text);
    stop.abort();
  }
  expect((await allOf(rig.archive().read())).map(({ data }) => data['text'])).toEqual([text]);
});

test('what is written and not yet durable is never seen, and seen once it is', async () => {
  const withholding = new WithholdingDisk();
  const rig = await aLog({ disk: withholding.over(systemDisk()) });
  await rig.append(...lifeOf(1, 'default/1/first').slice(0, 2));
  const seen: number[] = [];
  const stop = new AbortController();
  const following = (async () => {
    const archive = rig.archive();
    for await (const batch of archive.follow(position(0), stop.signal)) {
      seen.push(...batch.map((record) => record.position));
    }
  })();
  await expect.poll(() => seen).toEqual([0, 1]);

  withholding.hold();
  const durable = rig.begin(...lifeOf(2, 'default/2/second'), ...lifeOf(1).slice(2, 4));
  // The files have it all; only the sync is missing.
  await expect.poll(async () => (await rig.files.bounds()).next).toBe(10);
  const archive = rig.archive();
  expect((await archive.bounds()).next).toBe(2);
  expect(await allOf(archive.read())).toHaveLength(2);
  expect((await allOf(archive.read({ reverse: true })))[0]?.position).toBe(1);
  expect(await archive.historyOf(snapshotId(2))).toEqual([]);
  expect(await archive.historyOf(snapshotId(1))).toHaveLength(2);
  expect(await archive.find('second')).toEqual([]);
  expect(await archive.find('first')).toEqual([1]);
  expect(await archive.positionAt(unixNanos(2n ** 62n))).toBe(2);
  await expect(archive.stateAt(position(3))).rejects.toThrow(
    'ends at position 2: 3 does not exist',
  );
  const late = await allOf(rig.archive().read({ from: position(2) }));
  expect(late).toEqual([]);
  expect(seen).toEqual([0, 1]);

  withholding.release();
  await durable;
  await expect.poll(() => seen).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  expect(await archive.find('second')).toEqual([2]);
  expect(await archive.historyOf(snapshotId(2))).toHaveLength(6);
  stop.abort();
  await following;
});
