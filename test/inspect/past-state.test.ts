/**
 * Goal: what an archive answers by indexes and kept checkpoints is what a replay of every record
 * says. Method: logs of random lives on a disk in memory, in many small segments; with all indexes,
 * with some, with wrong ones, and with none; the state at each position, each stream, each time
 * and each name compared with the plain way.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { assertNever } from '../../src/base/assert.js';
import {
  position,
  snapshotId,
  snapshotName,
  streamVersion,
  unixNanos,
  type SnapshotName,
} from '../../src/base/units.js';
import { MomentUnknown } from '../../src/inspect/archive/archive.js';
import { snapshotTexts } from '../../src/inspect/archive/indexed-texts.js';
import { RecordArchive } from '../support/record-archive.js';
import { Replay } from '../../src/inspect/archive/replay.js';
import { RootArchive } from '../../src/inspect/archive/root-archive.js';
import { listLog, withFile } from '../../src/log/files.js';
import { makeIndex, writeIndex } from '../../src/log/index/index-files.js';
import { IndexedLog } from '../../src/log/index/indexed-log.js';
import type { EventLog, LogRecord } from '../../src/log/types.js';
import type { Command } from '../../src/machines/commands.js';
import { decide } from '../../src/machines/decide.js';
import { encodeSnapshotEvent, SNAPSHOT_EVENTS } from '../../src/machines/events/events.js';
import { fold, type SnapshotState } from '../../src/machines/fold.js';
import { Forest } from '../../src/machines/snapshots/forest.js';
import { UID_MAPPING_LABEL } from '../../src/machines/labels.js';
import { encodeHead, encodeState, headOf } from '../../src/machines/snapshots/state-json.js';
import { eventOf, parentOf } from '../../src/inspect/archive/subject.js';
import { idOfStream, streamOf } from '../../src/machines/events/streams.js';
import { openTestLog, recordsOf, ROOT } from '../log/fixtures.js';
import { commandAbout, plainLabels } from '../support/arbitraries.js';
import { FaultyDisk } from '../support/faulty-disk.js';
import { rounds } from '../support/effort.js';

const NAMES = ['a', 'k8s.io/7/b', 'sha256:a', '"\\', 'ü', 'n/1/webserver', 'n/2/webserver-2'].map(
  snapshotName,
);

type Step =
  | { readonly do: 'command'; readonly command: Command; readonly whom: number }
  /** What comes next for a snapshot when nothing goes wrong. */
  | { readonly do: 'onward'; readonly whom: number; readonly name: SnapshotName }
  | { readonly do: 'prepare'; readonly whom: number; readonly name: SnapshotName }
  | { readonly do: 'reserve' }
  | { readonly do: 'checkpoint' };

const aName = fc.constantFrom(...NAMES);
const whom = fc.nat(99);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('command' as const),
      command: commandAbout(aName, plainLabels),
      whom,
    }),
  },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('prepare' as const), whom, name: aName }) },
  { weight: 20, arbitrary: fc.record({ do: fc.constant('onward' as const), whom, name: aName }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('reserve' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('checkpoint' as const) }) },
);

function nextFor(state: SnapshotState, name: SnapshotName): Command | null {
  const caller = {};
  switch (state.status) {
    case 'preparing':
      return { command: 'DirectoriesReady' };
    case 'mappingIds':
      return { command: 'IdsMapped' };
    case 'mounting':
      return { command: 'RemoteFailed', reason: 'gone' };
    case 'active':
      return { command: 'Commit', key: state.name, name, parent: null, labels: new Map(), caller };
    case 'committing':
      return {
        command: 'DataReady',
        usage: { size: 1, inodes: 1 },
        owner: { uid: 0, gid: 0 },
        durability: 'data',
      };
    case 'removing':
      return { command: 'DirectoriesGone' };
    case 'awaitingCleanup':
      return { command: 'Collect' };
    case 'view':
    case 'committed.available':
    case 'committed.unavailable':
      return { command: 'Remove', name: state.name, deferred: false, caller };
    case 'mounted':
    case 'removed':
      return null;
    default:
      return assertNever(state.status);
  }
}

/** Lives what a daemon would, and writes it down. */
class Life {
  readonly #forest = new Forest();
  #daemonVersion = 0;
  #time = 1_700_000_000_000_000_000n;

  constructor(private readonly log: EventLog) {}

  async take(taken: Step): Promise<void> {
    // The clock is set back now and then.
    this.#time += this.#time % 7n === 0n ? -900n : 101n;
    if (taken.do === 'checkpoint') await this.#checkpoint();
    else if (taken.do === 'reserve') await this.#reserve();
    else if (taken.do === 'command') await this.#command(taken.command, taken.whom);
    else if (taken.do === 'prepare') {
      const parent = this.#stateOf(taken.whom);
      await this.#command(
        {
          command: 'Prepare',
          kind: 'active',
          key: taken.name,
          parent: parent?.status === 'committed.available' ? parent.name : null,
          labels: new Map(),
          caller: {},
        },
        taken.whom,
      );
    } else {
      const state = this.#stateOf(taken.whom);
      const next = state === undefined ? null : nextFor(state, taken.name);
      if (next !== null) await this.#command(next, taken.whom);
    }
  }

  #stateOf(whom: number): SnapshotState | undefined {
    const all = [...this.#forest.values()];
    return all[whom % Math.max(all.length, 1)];
  }

  async #command(command: Command, whom: number): Promise<void> {
    const name = 'key' in command ? command.key : 'name' in command ? command.name : null;
    const holder = name === null ? this.#stateOf(whom) : this.#forest.holderOf(name);
    const [preallocated] = this.#forest.preallocated;
    // Preallocated directories belong to the process, never to a mapped root.
    const asked: Command =
      command.command === 'Prepare' &&
      !command.labels.has(UID_MAPPING_LABEL) &&
      preallocated !== undefined &&
      whom % 2 === 0
        ? { ...command, preallocated }
        : command;
    const decision = decide(this.#forest, holder ?? null, asked);
    if (!decision.ok) return;
    let state = command.command === 'Prepare' ? null : (holder ?? null);
    for (const event of decision.value) {
      const version = streamVersion(state === null ? 0 : state.streamVersion + 1);
      const time = unixNanos(this.#time);
      state = fold(state, { event, time, streamVersion: version });
      await this.log.append(
        [
          {
            stream: streamOf(state.id),
            expectedVersion: version,
            type: event.type,
            schemaVersion: SNAPSHOT_EVENTS[event.type].version,
            data: encodeSnapshotEvent(event),
            time,
            closesStream: state.status === 'removed',
          },
        ],
        { sync: true },
      ).durable;
      this.#forest.put(state);
    }
  }

  async #reserve(): Promise<void> {
    const ids = [this.#forest.nextId, snapshotId(this.#forest.nextId + 1)];
    const expectedVersion = streamVersion(this.#daemonVersion);
    const event = {
      stream: 'daemon',
      expectedVersion,
      type: 'DirectoriesPreallocated',
      schemaVersion: 1,
    };
    await this.log.append([{ ...event, data: { ids } }], { sync: true }).durable;
    this.#daemonVersion += 1;
    this.#forest.reservePreallocated(ids);
  }

  async #checkpoint(): Promise<void> {
    const head = encodeHead(headOf(this.#forest, this.#daemonVersion));
    await this.log.writeCheckpoint({
      position: this.log.durablePosition,
      lines: [head, ...[...this.#forest.values()].map(encodeState)],
    });
  }
}

/** Everything that tells two forests apart. */
function said(forest: Forest): unknown {
  return {
    states: [...forest.values()].map(encodeState),
    nextId: forest.nextId,
    preallocated: [...forest.preallocated].sort((one, other) => one - other),
    children: [...forest.values()].map(({ id }) => forest.childrenOf(id)),
    counts: [...forest.statusCounts].filter(([, count]) => count > 0).sort(),
  };
}

type Indexes = 'all' | 'some' | 'foreign' | 'cut short' | 'none';

async function giveIndexes(disk: FaultyDisk, which: Indexes): Promise<void> {
  const segments = await new IndexedLog({ disk, root: ROOT }).segments();
  let last: Buffer | null = null;
  for (const [at, segment] of segments.entries()) {
    const next = segments[at + 1];
    if (next === undefined || which === 'none' || (which === 'some' && at % 2 === 0)) continue;
    const made = await withFile(disk, segment.path, 'read', (file) =>
      makeIndex(file, segment, next, { texts: snapshotTexts }),
    );
    if (made === null) throw new Error('nobody gave it up');
    const bytes = which === 'foreign' ? (last ?? made) : made;
    last = made;
    const kept = which === 'cut short' && at % 2 === 0 ? bytes.subarray(0, 90) : bytes;
    await writeIndex(disk, ROOT, segment.header.firstPosition, kept);
  }
}

async function live(steps: readonly Step[], everyEvents: number): Promise<FaultyDisk> {
  const disk = new FaultyDisk();
  const { log } = await openTestLog(disk, {
    segmentBytes: 4096,
    historyCheckpointEveryEvents: everyEvents,
  });
  const life = new Life(log);
  for (const taken of steps) await life.take(taken);
  await log.close();
  return disk;
}

describe('an archive of random lives', () => {
  const kinds: readonly Indexes[] = ['all', 'some', 'foreign', 'cut short', 'none'];

  it.each(kinds)(
    'answers as a replay of every record does, with indexes: %s',
    async (which) => {
      let long = 0;
      await fc.assert(
        fc.asyncProperty(
          fc.array(step, { minLength: 160, maxLength: 240, size: 'max' }),
          fc.constantFrom(0, 7),
          async (steps, everyEvents) => {
            const disk = await live(steps, everyEvents);
            await giveIndexes(disk, which);
            const notices: string[] = [];
            const archive = new RootArchive(disk, ROOT, { onNotice: (text) => notices.push(text) });
            const records = await recordsOf(disk);
            await compareStates(archive, records);
            await compareTimes(archive, records);
            await compareStreams(archive, records);
            if (which === 'all' || which === 'some' || which === 'none')
              expect(notices).toEqual([]);
            expect(notices.length).toBeLessThan(2);
            if ((await listLog(disk, ROOT)).segments.length > 2) long += 1;
          },
        ),
        // A case that fails takes long to be made smaller: it is told before the limit of the test.
        { numRuns: rounds(3, 8), interruptAfterTimeLimit: 45_000 },
      );
      // Otherwise it has compared too little.
      expect(long).toBeGreaterThan(0);
    },
    60_000,
  );
});

async function compareStates(archive: RootArchive, records: readonly LogRecord[]): Promise<void> {
  const replay = new Replay();
  for (let at = 0; ; at += 1) {
    const state = await archive.stateAt(position(at));
    expect(said(state.forest), `at ${at}`).toEqual(said(replay.forest));
    expect(state.time).toBe(records[at - 1]?.time ?? null);
    const record = records[at];
    if (record === undefined) break;
    replay.apply(record);
  }
  await expect(archive.stateAt(position(records.length + 1))).rejects.toThrow(MomentUnknown);
  expect((await archive.bounds()).next).toBe(records.length);
}

async function compareTimes(archive: RootArchive, records: readonly LogRecord[]): Promise<void> {
  const times = new Set(records.flatMap(({ time }) => [time, time - 1n]));
  for (const time of [...times].slice(0, 40)) {
    const last = records.findLast((record) => record.time <= time);
    expect(await archive.positionAt(unixNanos(time))).toBe((last?.position ?? -1) + 1);
    const young = records.find((record) => record.time >= time)?.position ?? Infinity;
    expect(await archive.noneBefore(unixNanos(time))).toBeLessThanOrEqual(young);
  }
}

async function compareStreams(archive: RootArchive, records: readonly LogRecord[]): Promise<void> {
  const ids = new Set(records.flatMap(({ stream }) => idOfStream(stream) ?? []));
  const all = await archive.historiesOf([...ids, snapshotId(9999)]);
  expect(new Set(all.keys())).toEqual(ids);
  for (const id of [...ids, snapshotId(9999)]) {
    const own = records.filter(({ stream }) => stream === streamOf(id));
    expect(await archive.historyOf(id)).toEqual(own);
    expect(all.get(id) ?? []).toEqual(own);
    const naming = records.filter((record) => parentOf(eventOf(record))?.id === id);
    const children = new Set(naming.map(({ stream }) => idOfStream(stream) ?? 0));
    const within = { from: position(own[0]?.position ?? 0), to: position(records.length) };
    const sorted = [...children].sort((one, other) => one - other);
    expect(await archive.childrenOf(id, within)).toEqual(sorted);
    expect(await archive.childrenOf(id, {})).toEqual(sorted);
    const half = { to: position(own.at(-1)?.position ?? 0) };
    expect(await archive.historyOf(id, half)).toEqual(own.slice(0, -1));
    expect(await archive.historyOf(id, { from: half.to })).toEqual(own.slice(-1));
  }
  const beginnings = ['webserv', 'webserve', 'webserver', 'webserver-', 'n/2/webserve'];
  const byRecords = new RecordArchive(records);
  for (const text of [...NAMES, ...beginnings, 'b', 'sha256:', '']) {
    expect(await archive.find(text)).toEqual(await byRecords.find(text));
  }
}
