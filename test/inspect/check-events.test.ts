/**
 * Goal: a log whose bytes are sound and whose meaning is not is found out, and a sound one is
 * not suspected, also when its beginning is retired. Method: logs in memory, with checkpoints of
 * the states that were folded, and of others.
 */
import { describe, expect, it } from 'vitest';
import { streamVersion } from '../../src/base/units.js';
import { checkEvents, type EventFinding } from '../../src/inspect/archive/check-events.js';
import { Replay } from '../../src/inspect/archive/replay.js';
import type { EventLog } from '../../src/log/types.js';
import { encodeHead, encodeState, headOf } from '../../src/machines/snapshots/state-json.js';
import { collect, openTestLog, recordsOf, ROOT, segmentNames } from '../log/fixtures.js';
import { FaultyDisk } from '../support/faulty-disk.js';

type Event = readonly [id: number, type: string, data?: Record<string, unknown>];

const preparing = (id: number, more: Record<string, unknown> = {}): Event => [
  id,
  'SnapshotPreparing',
  {
    ...{ id, kind: 'active', key: `key-${id}`, parent: null, labels: { text: 'x'.repeat(200) } },
    ...{ remote: null, idMapping: null, caller: {}, ...more },
  },
];

class World {
  readonly #versions = new Map<number, number>();

  private constructor(
    readonly log: EventLog,
    readonly disk: FaultyDisk,
  ) {}

  static async begun(): Promise<World> {
    const disk = new FaultyDisk();
    const { log } = await openTestLog(disk, { segmentBytes: 4096 });
    return new World(log, disk);
  }

  async append(...events: readonly Event[]): Promise<void> {
    for (const [id, type, data = {}] of events) {
      const version = this.#versions.get(id) ?? 0;
      this.#versions.set(id, version + 1);
      const stream = `snapshot-${id}`;
      const event = { stream, expectedVersion: streamVersion(version), type, data };
      await this.log.append([{ ...event, schemaVersion: 1 }], { sync: true }).durable;
    }
  }

  /** Of the states that the log leads to, changed as wished. */
  async checkpoint(change: (lines: string[]) => string[] = (lines) => lines): Promise<void> {
    const replay = new Replay();
    for (const record of await recordsOf(this.disk)) replay.apply(record);
    const head = encodeHead(headOf(replay.forest, 0));
    const lines = change([...replay.forest.values()].map(encodeState));
    await this.log.writeCheckpoint({ position: replay.position, lines: [head, ...lines] });
  }

  findings(): Promise<EventFinding[]> {
    return collect(checkEvents(this.disk, ROOT));
  }
}

const chainOf = (count: number): Event[] =>
  [...Array(count).keys()].flatMap((n) => [preparing(n + 1), [n + 1, 'SnapshotPrepared'] as const]);

describe('the check of events', () => {
  it('suspects nothing in a sound log with checkpoints', async () => {
    const world = await World.begun();
    await world.append(...chainOf(3));
    await world.checkpoint();
    // A commit under way holds more in the log than in a checkpoint.
    const caller = { namespace: 'n' };
    await world.append([2, 'SnapshotCommitting', { name: 'n', labels: {}, parent: null, caller }]);
    await world.checkpoint();
    await world.append(preparing(9));
    expect(await world.findings()).toEqual([]);
  });

  it('suspects nothing when the beginning is retired', async () => {
    const world = await World.begun();
    await world.append(...chainOf(30));
    await world.checkpoint();
    await world.append([1, 'SnapshotRemoving', { deferred: false, caller: {} }], preparing(50));
    await world.checkpoint();
    const before = (await segmentNames(world.disk)).length;
    await world.log.retire(world.log.durablePosition);
    expect((await segmentNames(world.disk)).length).toBeLessThan(before);
    expect(await world.findings()).toEqual([]);
    await world.append([2, 'SnapshotRemoved']);
    expect(await world.findings()).toMatchObject([
      { kind: 'event-impossible', subject: 'snapshot-2' },
    ]);
  });

  it('tells of each stream the first event that cannot be', async () => {
    const world = await World.begun();
    await world.append(
      preparing(1),
      preparing(2),
      [1, 'SnapshotRemoved'],
      [1, 'SnapshotRemoved'],
      [2, 'SnapshotFrozen'],
      [3, 'SnapshotAbandoned', { because: 1 }],
      preparing(4, { key: 'key-2' }),
    );
    const found = (await world.findings()).map(({ kind, position, subject }) => [
      kind,
      position,
      subject,
    ]);
    expect(found).toEqual([
      ['event-impossible', 2, 'snapshot-1'],
      ['event-newer', 4, 'snapshot-2'],
      ['event-malformed', 5, 'snapshot-3'],
      ['event-impossible', 6, 'snapshot-4'],
    ]);
  });

  it.each<[string, (lines: string[]) => string[], string]>([
    ['lost a snapshot', (lines) => lines.slice(1), 'it has 2 snapshots, but the log has 3'],
    [
      'says something else',
      (lines) => lines.map((line) => line.replace('"key-2"', '"key-8"')),
      'its state of snapshot 2 differs from the log',
    ],
    [
      'made one up',
      (lines) => [...lines, (lines[0] ?? '').replace('[1,', '[7,')],
      'it has snapshot 7, but the log does not',
    ],
    ['is not understood', (lines) => [...lines, '{}'], 'its lines cannot be decoded'],
  ])('finds a checkpoint that %s', async (_what, change, detail) => {
    const world = await World.begun();
    await world.append(...chainOf(3));
    await world.checkpoint(change);
    await world.append(preparing(9));
    const [finding, ...rest] = await world.findings();
    expect(rest).toEqual([]);
    expect(finding).toMatchObject({ kind: 'checkpoint-differs', position: 6 });
    expect(finding?.detail).toContain(detail);
  });

  it('leaves damaged bytes to the check of bytes', async () => {
    const world = await World.begun();
    await world.append(...chainOf(30));
    const [name = ''] = await segmentNames(world.disk);
    const bytes = world.disk.bytes(`${ROOT}/log/${name}`);
    bytes.writeUInt8(bytes.readUInt8(900) ^ 1, 900);
    expect(await world.findings()).toEqual([]);
  });
});
