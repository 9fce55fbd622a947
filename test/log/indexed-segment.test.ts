/**
 * Goal: what is searched of a stretch before its heads are walked leaves no record out. Method: a
 * segment of many blocks with small and large records; each of those around the ends of blocks,
 * pieces and stretches is looked for by bytes that it alone holds.
 */
import { beforeAll, describe, expect, it } from 'vitest';
import { positionOf } from '../../src/log/format/codec.js';
import { BLOCK, STRETCHES, stretchRecords } from '../../src/log/index/index-format.js';
import { IndexUnusable } from '../../src/log/index/index-head.js';
import { IndexedLog } from '../../src/log/index/indexed-log.js';
import { IndexedSegment } from '../../src/log/index/indexed-segment.js';
import { withFile } from '../../src/log/files.js';
import { FaultyDisk } from '../support/faulty-disk.js';
import { anEvent, openTestLog, ROOT } from './fixtures.js';

const RECORDS = 9_000;
const batch = 500;
const stretch = stretchRecords(RECORDS);
const LARGE = 4_000;

const markOf = (version: number): string => `<${version}>`;

/** Some blocks are larger than what is searched at once, and one record is. */
function paddingOf(version: number): string {
  if (version === LARGE) return 'x'.repeat(300_000);
  return 'x'.repeat(version % 1000 < 100 ? 4_000 : 600);
}

describe('a stretch of an indexed segment', () => {
  const disk = new FaultyDisk();
  const log = new IndexedLog({ disk, root: ROOT });

  beforeAll(async () => {
    const opened = await openTestLog(disk, { segmentBytes: 64 * 1024 * 1024 });
    for (let from = 0; from < RECORDS; from += batch) {
      const events = Array.from({ length: batch }, (_, index) => from + index).map((version) =>
        anEvent('a', version, { mark: markOf(version), padding: paddingOf(version) }),
      );
      await opened.log.append(events, { sync: true }).durable;
    }
    await opened.log.close();
  });

  /** Positions of the records that a walk showed, of those that hold the bytes. */
  async function holders(text: string, stretches: readonly number[]): Promise<number[]> {
    const [segment] = await log.segments();
    if (segment === undefined) expect.unreachable('the log has a segment');
    const needle = Buffer.from(text);
    const found: number[] = [];
    await log.within(segment, null, async (open) => {
      found.length = 0;
      for (const one of stretches) {
        await open.walkStretch(one, needle, (bytes, at, _offset, padded) => {
          if (bytes.subarray(at, at + padded).includes(needle)) found.push(positionOf(bytes, at));
          return true;
        });
      }
    });
    return found;
  }

  const all = Array.from({ length: STRETCHES + 1 }, (_, index) => index);

  it('shows the one record that holds the bytes, wherever it stands', async () => {
    const edges = [BLOCK.records, 7 * BLOCK.records, stretch, 5 * stretch, LARGE, RECORDS - 1];
    const versions = new Set([0, 1, 350, ...edges.flatMap((edge) => [edge - 1, edge, edge + 1])]);
    for (const version of versions) {
      const expected = version < RECORDS ? [version] : [];
      expect(await holders(markOf(version), [Math.floor(version / stretch)])).toEqual(expected);
      expect(await holders(markOf(version), all)).toEqual(expected);
    }
  });

  it('shows each of many once and in order, and none of another stretch', async () => {
    const shown = await holders('mark', all);
    expect(shown).toEqual(Array.from({ length: RECORDS }, (_, position) => position));
    const second = await holders('mark', [1]);
    expect(second).toEqual(shown.slice(stretch, 2 * stretch));
  });

  it('ends when it is told to', async () => {
    const [segment] = await log.segments();
    if (segment === undefined) expect.unreachable('the log has a segment');
    let visits = 0;
    await log.within(segment, null, (open) => {
      visits = 0;
      return open.walkStretch(0, Buffer.from('mark'), () => (visits += 1) < 3);
    });
    expect(visits).toBe(3);
  });

  it('is refused where other records stand than the index says', async () => {
    const [segment] = await log.segments();
    if (segment === undefined) expect.unreachable('the log has a segment');
    const index = await log.within(segment, null, (open) => Promise.resolve(open.index));
    const other = new FaultyDisk();
    const opened = await openTestLog(other, { segmentBytes: 64 * 1024 * 1024 });
    const events = Array.from({ length: batch }, (_, version) => anEvent('b', version));
    await opened.log.append(events, { sync: true }).durable;
    await opened.log.close();
    await withFile(other, segment.path, 'read', async (file) => {
      const open = new IndexedSegment(file, index);
      const walk = open.walkStretch(1, Buffer.from('absent'), () => true);
      await expect(walk).rejects.toThrow(IndexUnusable);
    });
  });
});
