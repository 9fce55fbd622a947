/**
 * Goal: a verify by the sums that a log tells of itself finds whatever one finds that reads record
 * by record, and takes no word of an event that is not itself sound. Method: small logs that tell of
 * the sums of their segments, sound and spoiled in many ways, verified both ways.
 */
import { describe, expect, it } from 'vitest';
import { unixNanos } from '../../src/base/units.js';
import type { EventBody, EventLog } from '../../src/log/types.js';
import type { VerifyItem } from '../../src/log/verify/findings.js';
import { withFile } from '../../src/log/files.js';
import { checkSegment, digestSegment } from '../../src/log/verify/sealed-segment.js';
import { listSegments } from '../../src/log/read/segment-list.js';
import { KnownSums, type SegmentSum, type SumEvents } from '../../src/log/verify/verify-digests.js';
import { verifyLog } from '../../src/log/verify/verify.js';
import { queriesOf, type SegmentChecker } from '../../src/log/verify/verify-ahead.js';
import { FaultyDisk } from '../support/faulty-disk.js';
import { anEvent, collect, openTestLog, ROOT, segmentNames } from './fixtures.js';

const sums: SumEvents = {
  type: 'Summed',
  sumOf: (body) => {
    const { from, to, sha256 } = body as Partial<SegmentSum>;
    return from === undefined || to === undefined || sha256 === undefined
      ? null
      : { from, to, sha256 };
  },
};

const segmentLimits = { segmentBytes: 4096 };

interface Asked extends SegmentChecker {
  /** First positions, as they were asked for. */
  readonly checked: number[];
  readonly summed: number[];
}

function checkerOf(disk: FaultyDisk): Asked {
  const [checked, summed]: [number[], number[]] = [[], []];
  return {
    ...{ ahead: 3, checked, summed },
    check: (segment) => {
      checked.push(segment.position);
      return withFile(disk, segment.path, 'read', (file) => checkSegment(file, segment));
    },
    sum: (segment) => {
      summed.push(segment.position);
      return withFile(disk, segment.path, 'read', (file) => digestSegment(file, segment));
    },
  };
}

/** What may be said of each full segment, as it is now. */
async function sumsOf(disk: FaultyDisk): Promise<SegmentSum[]> {
  const { segments } = await listSegments(disk, ROOT, null);
  const found: SegmentSum[] = [];
  for (const query of queriesOf(segments, [], sums.type)) {
    if (query === null) continue;
    const sound = await withFile(disk, query.path, 'read', (file) => checkSegment(file, query));
    found.push({ from: query.position, to: query.nextPosition, sha256: sound?.sha256 ?? 'none' });
  }
  return found;
}

interface Life {
  /** Of the event at each index, nanoseconds behind that of the one before; 1000 by default. */
  readonly step?: (index: number) => bigint;
  /** Of the event at each index; `told` are those that were told of before. */
  readonly body?: (index: number) => EventBody;
  /** Which sums are told: all by default. */
  readonly tells?: (sum: SegmentSum) => readonly SegmentSum[];
}

/** A log of six segments or so, which tells of the sum of each soon after it was filled. */
async function aLog({
  body,
  step = () => 1000n,
  tells = (sum) => [sum],
}: Life = {}): Promise<FaultyDisk> {
  const disk = new FaultyDisk();
  const { log } = await openTestLog(disk, segmentLimits);
  let told = 0;
  let version = 0;
  let time = 1_700_000_000_000_000_000n;
  for (let at = 0; at < 150; at += 1) {
    time += step(at);
    const thing = body?.(at) ?? { text: 'x'.repeat(40 + (at % 7)) };
    await append(log, 'things', at, 'Noted', thing, time);
    const known = await sumsOf(disk);
    for (const sum of known.slice(told).flatMap(tells)) {
      await append(log, 'sums', version, sums.type, { ...sum }, time);
      version += 1;
    }
    told = known.length;
  }
  await log.close();
  return disk;
}

async function append(
  log: EventLog,
  stream: string,
  version: number,
  type: string,
  body: EventBody,
  time: bigint,
): Promise<void> {
  const event = { ...anEvent(stream, version, body), type, time: unixNanos(time) };
  await log.append([event], { sync: true }).durable;
}

interface Verified extends Asked {
  readonly items: readonly VerifyItem[];
}

async function verified(disk: FaultyDisk, bySums = true): Promise<Verified> {
  const checkSegment_ = checkerOf(disk);
  const query = { root: ROOT, disk, checkSegment: checkSegment_, sums, bySums };
  return { ...checkSegment_, items: await collect(verifyLog(query)) };
}

const kindsOf = ({ items }: Verified): string[] => items.map(({ kind }) => kind);

/** What both say; how many segments were vouched for is not the same. */
const sayings = (items: readonly VerifyItem[]): unknown[] =>
  items.map((item) => (item.kind === 'summary' ? { ...item, vouched: 0 } : item));

describe('a verify by sums', () => {
  it('checks no full segment record by record that a sum vouches for', async () => {
    const disk = await aLog();
    const full = (await segmentNames(disk)).length - 1;
    const { items, checked, summed } = await verified(disk);
    expect(items).toMatchObject([{ kind: 'summary', damage: 0, warnings: 0, vouched: full }]);
    expect(full).toBeGreaterThan(3);
    expect({ checked, summed: summed.length }).toEqual({ checked: [], summed: full });
    const plain = await collect(verifyLog({ root: ROOT, disk }));
    expect(sayings(items)).toEqual(sayings(plain));
  });

  it('sums nothing when the log tells of no sums', async () => {
    const disk = await aLog({ tells: () => [] });
    const { items, summed } = await verified(disk);
    expect(items).toMatchObject([{ kind: 'summary', damage: 0, vouched: 0 }]);
    expect(summed).toEqual([]);
  });

  it('checks those record by record that no sum is told of', async () => {
    const told: number[] = [];
    const disk = await aLog({
      tells: (sum) => {
        told.push(sum.from);
        return told.length % 2 === 0 ? [sum] : [];
      },
    });
    const { items, checked } = await verified(disk);
    const untold = told.filter((_, index) => index % 2 === 0);
    expect([...new Set(checked)].sort((a, b) => a - b)).toEqual(untold);
    expect(items).toMatchObject([{ damage: 0, vouched: told.length - untold.length }]);
  });

  it('finds and locates a flipped bit wherever it is, as a reader of records does', async () => {
    const disk = await aLog();
    for (const name of await segmentNames(disk)) {
      const bytes = disk.bytes(`${ROOT}/log/${name}`);
      for (let offset = 1; offset < bytes.length; offset += 53) {
        bytes.writeUInt8(bytes.readUInt8(offset) ^ 16, offset);
        const { items } = await verified(disk);
        const plain = await collect(verifyLog({ root: ROOT, disk }));
        expect(sayings(items), `byte ${offset} of ${name}`).toEqual(sayings(plain));
        expect(items.length, `byte ${offset} of ${name}`).toBeGreaterThan(1);
        bytes.writeUInt8(bytes.readUInt8(offset) ^ 16, offset);
      }
    }
  }, 60_000);

  it('takes no word of an event that is not sound itself', async () => {
    const disk = await aLog();
    const names = await segmentNames(disk);
    // The last bytes of the last but one: the sums in it are lost.
    const bytes = disk.bytes(`${ROOT}/log/${names.at(-2) ?? ''}`);
    const at = bytes.lastIndexOf('"sha256"');
    bytes.writeUInt8(bytes.readUInt8(at + 12) ^ 1, at + 12);
    const before = Number((names.at(-3) ?? '').slice(0, 20));
    const { items, checked } = await verified(disk);
    expect(checked).toContain(before);
    expect(items.length).toBeGreaterThan(1);
  });
});

describe('a log that was written anew, hash chain and all', () => {
  const forged = async (step?: Life['step']): Promise<FaultyDisk> => {
    const truth: SegmentSum[] = [];
    await aLog({
      tells: (sum) => {
        truth.push(sum);
        return [sum];
      },
    });
    return aLog({
      // Of the same length, so that all segments begin where they did.
      body: (at) => ({ text: (at === 3 ? 'y' : 'x').repeat(40 + (at % 7)) }),
      tells: (sum) => truth.filter(({ from }) => from === sum.from),
      ...(step ? { step } : {}),
    });
  };

  it('is found by the sums, also where every record is checked', async () => {
    const disk = await forged();
    expect(await collect(verifyLog({ root: ROOT, disk }))).toMatchObject([{ damage: 0 }]);
    const [quick, whole] = [await verified(disk), await verified(disk, false)];
    // What stands behind the lie continues its chain, so every later sum is another one too.
    expect(kindsOf(quick)).toEqual(kindsOf(whole));
    expect(new Set(kindsOf(quick))).toEqual(new Set(['sum-disagrees', 'summary']));
    expect(quick.items[0]).toMatchObject({ severity: 'damage', position: 0 });
    for (const { items } of [quick, whole]) {
      expect(items.at(-1)).toMatchObject({ vouched: 0, verifiedTo: 0, chain: '0'.repeat(64) });
    }
  });

  it('is found also where its clock was set back, which no fast check takes', async () => {
    const disk = await forged((at) => (at % 5 === 4 ? -1n : 1000n));
    for (const verify of [await verified(disk), await verified(disk, false)]) {
      const [first] = verify.items.filter(({ kind }) => kind === 'sum-disagrees');
      expect(first).toMatchObject({ position: 0 });
      expect(verify.items.at(-1)).toMatchObject({ vouched: 0, verifiedTo: 0 });
    }
  });

  it('is found when a second event tells of another sum', async () => {
    const wrong = 'ab'.repeat(32);
    const disk = await aLog({
      tells: (sum) => (sum.from === 0 ? [sum, { ...sum, sha256: wrong }] : [sum]),
    });
    const { items } = await verified(disk);
    expect(items).toMatchObject([{ kind: 'sum-disagrees', position: 0 }, { kind: 'summary' }]);
  });

  it('costs little when it tells of one segment again and again', () => {
    const known = new KnownSums(sums);
    const sum = { from: 0, to: 5, sha256: 'ab'.repeat(32) };
    for (let at = 0; at < 300_000; at += 1) known.learn({ ...sum, sha256: `${at}`.padStart(64) });
    expect(known.of(0, 5, '0'.padStart(64))?.sha256).toBe('1'.padStart(64));
    expect(known.of(0, 6, sum.sha256)).toBeNull();
    known.learnAll([{}, { from: 7, to: 9, sha256: 'x' }]);
    expect(known.of(7, 9, '')?.sha256).toBe('x');
  });
});
