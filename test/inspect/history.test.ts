/** A snapshot's life as it is told: by a table over one story, and by properties over random logs. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { snapshotId, snapshotName } from '../../src/base/units.js';
import { historyOf, historyRows, outlineOf } from '../../src/inspect/snapshot/history.js';
import { livesOf, nameIn, subjectsOf } from '../../src/inspect/archive/subject.js';
import type { LogRecord } from '../../src/log/types.js';
import type { SnapshotEvent } from '../../src/machines/events/events.js';
import { NO_LABELS } from '../../src/machines/labels.js';
import { anyLog, RecordArchive, recordsOf } from '../support/record-archive.js';

const usage = { size: 1, inodes: 1 };
const retry = { reason: 'gone', attempts: 0, retryAt: null };

const link = (parent: number | null) =>
  parent === null ? null : { id: snapshotId(parent), name: snapshotName(`n${parent}`) };

const preparing = (id: number, key: string, parent: number | null = null): SnapshotEvent => ({
  type: 'SnapshotPreparing',
  data: {
    id: snapshotId(id),
    kind: 'active',
    key: snapshotName(key),
    parent: link(parent),
    labels: NO_LABELS,
    remote: null,
    idMapping: null,
    caller: { pid: 7 },
  },
});
const prepared: SnapshotEvent = { type: 'SnapshotPrepared', data: {} };
const committing = (name: string, parent: number | null = null): SnapshotEvent => ({
  type: 'SnapshotCommitting',
  data: { name: snapshotName(name), labels: NO_LABELS, parent: link(parent), caller: {} },
});
const committed = (name: string, parent: number | null = null): SnapshotEvent => ({
  type: 'SnapshotCommitted',
  data: {
    ...{ name: snapshotName(name), labels: NO_LABELS, usage, owner: { uid: 0, gid: 0 } },
    ...{ remote: null, durability: 'data' },
    parent: link(parent),
  },
});
const removing: SnapshotEvent = {
  type: 'SnapshotRemoving',
  data: { deferred: true, caller: { uid: 0 } },
};

function story(...steps: readonly (readonly [number, SnapshotEvent])[]): LogRecord[] {
  return recordsOf(steps.map(([id, event]) => ({ id: snapshotId(id), event })));
}

const aLayerAndItsChildren = story(
  [1, preparing(1, 'k1')],
  [1, prepared],
  [1, committing('n1')],
  [1, committed('n1')],
  [2, preparing(2, 'k2', 1)],
  [2, prepared],
  [1, { type: 'LayerUnavailable', data: retry }],
  [1, { type: 'LayerUnavailable', data: { ...retry, attempts: 1 } }],
  [1, { type: 'LayerAvailable', data: { how: 'mounted' } }],
  [2, removing],
  [2, { type: 'SnapshotCollecting', data: {} }],
  [2, { type: 'SnapshotRemoved', data: {} }],
  [1, removing],
);

async function told(records: readonly LogRecord[], text: string) {
  const archive = new RecordArchive(records);
  const [subject] = await subjectsOf(archive, text);
  if (subject === undefined) throw new Error(`nothing is called ${text}`);
  return historyOf(archive, subject);
}

describe('the life of a layer', () => {
  it('has its names, kinds, end, and who stood on it', async () => {
    const history = await told(aLayerAndItsChildren, 'n1');
    expect(history).toMatchObject({
      id: 1,
      names: ['k1', 'n1'],
      kinds: ['active', 'committed'],
      status: 'awaitingCleanup',
      isWhole: true,
      parents: [],
    });
    // The daemon's own events stand at positions 4 and 14.
    expect(history.children).toEqual([{ id: 2, name: 'k2', from: 5, until: 10 }]);
  });

  it('names what each event ended, and how long that took', async () => {
    const rows = (await told(aLayerAndItsChildren, '1')).rows;
    const words = rows.map(({ step }) => step && `${step.what} ${step.nanos / 1_000_000n}`);
    expect(words).toEqual([
      ...[null, 'directories made in 1', null, 'data measured and made durable in 1'],
      ...[null, null, 'usable again after 2', null],
    ]);
    expect(rows.map(({ sincePrevious }) => sincePrevious).slice(0, 3)).toEqual([
      null,
      1_000_000n,
      1_000_000n,
    ]);
    expect(rows[0]?.caller).toEqual({ pid: 7 });
    expect(rows[1]?.caller).toBeNull();
  });

  it('tells the parents of what is gone as they were while it stood', async () => {
    const history = await told(aLayerAndItsChildren, 'k2');
    expect(history.status).toBe('removed');
    expect(history.parents).toEqual([{ id: 1, name: 'n1' }]);
    expect(history.rows.at(-1)?.step?.what).toBe('directories removed in');
    expect(history.rows.at(-2)?.step?.what).toBe('collected by Cleanup after');
  });

  it('counts as its child who is put on it by Commit only, from then on', async () => {
    const records = story(
      [1, preparing(1, 'k1')],
      [1, prepared],
      [1, committing('n1')],
      [1, committed('n1')],
      [2, preparing(2, 'k2')],
      [2, prepared],
      [2, committing('n2', 1)],
      [2, committed('n2', 1)],
    );
    const at = records.find(
      ({ stream, type }) => stream === 'snapshot-2' && type === 'SnapshotCommitting',
    );
    expect((await told(records, '1')).children).toEqual([
      { id: 2, name: 'n2', from: at?.position, until: null },
    ]);
    expect((await told(records, 'n2')).parents).toEqual([{ id: 1, name: 'n1' }]);
  });

  it('says when its beginning is retired, and of a later release tells what it can', () => {
    const { length } = aLayerAndItsChildren.filter(({ stream }) => stream === 'snapshot-1');
    const rest = aLayerAndItsChildren.filter(({ stream }) => stream === 'snapshot-1').slice(2);
    expect(outlineOf(rest)).toEqual({ names: ['n1'], kinds: [], status: null, isWhole: false });
    expect(historyRows(rest)).toHaveLength(length - 2);
    const newer = aLayerAndItsChildren.map((record) =>
      record.type === 'SnapshotPrepared' ? { ...record, type: 'SnapshotFrozen' } : record,
    );
    expect(outlineOf(newer.filter(({ stream }) => stream === 'snapshot-1')).status).toBeNull();
    const impossible = story([1, preparing(1, 'k1')], [1, removing]);
    expect(outlineOf(impossible)).toMatchObject({ names: ['k1'], kinds: [], status: null });
  });
});

describe('in any log', () => {
  it('a life ends as the forest has it, under names that find it again', async () => {
    await fc.assert(
      fc.asyncProperty(anyLog(60), async (records) => {
        const archive = new RecordArchive(records);
        const { next } = await archive.bounds();
        const { forest } = await archive.stateAt(next);
        for (const { id, name, status, parent } of forest.values()) {
          const records = await archive.historyOf(id);
          const history = await historyOf(archive, { id, records });
          expect(history.status).toBe(status);
          expect(history.names).toContain(name);
          expect(history.parents[0] ?? null).toEqual(parent);
          const found = (await subjectsOf(archive, name)).map((subject) => subject.id);
          // A short word of digits is the number of a snapshot first.
          const numbered = /^\d{1,7}$/.test(name) && found.includes(snapshotId(Number(name)));
          expect(numbered || found.includes(id), name).toBe(true);
          const standing = history.children.filter(({ until }) => until === null);
          expect(standing.length).toBeGreaterThanOrEqual(forest.childrenOf(id));
        }
      }),
      { numRuns: 60 },
    );
  });

  it('many lives are gathered as they are one by one', async () => {
    await fc.assert(
      fc.asyncProperty(anyLog(80), async (records) => {
        const archive = new RecordArchive(records);
        const ids = [...Array(40).keys()].map((index) => snapshotId(index + 1));
        const together = await livesOf(archive, ids);
        const single = await Promise.all(ids.map((id) => livesOf(archive, [id])));
        expect(together).toEqual(single.flat());
        for (const { records: life } of together) expect(nameIn(life)).not.toBeNull();
      }),
      { numRuns: 20 },
    );
  });
});
