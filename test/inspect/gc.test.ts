/**
 * Goal: what `gc` says beforehand is what Cleanup does. Method: roots with snapshots in any state
 * and entries of any name, opened by the real snapshotter, which then cleans up.
 */
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { position, unixNanos } from '../../src/base/units.js';
import { entryLook } from '../../src/host/files/entries.js';
import {
  gcDecisions,
  gcCandidates,
  namesWithoutSnapshot,
  reasonInWords,
  removalsIn,
  removalTimes,
} from '../../src/inspect/startup/gc.js';
import type { GcDecision } from '../../src/inspect/startup/gc.js';
import { idmappedEntries } from '../../src/inspect/startup/idmapped-plan.js';
import { replayRoot } from '../../src/inspect/archive/replay-root.js';
import { usesByName } from '../../src/inspect/startup/unowned.js';
import { readLogBatches } from '../../src/log/reader.js';
import {
  aRoot,
  cleanUp,
  committed,
  committing,
  prepared,
  preparing,
  removing,
  type TestEvent,
} from '../cli/rig.js';
import { TestDaemon, type TestRoot } from '../support/daemon.js';

afterEach(cleanUp);

const removed = (id: number): TestEvent => ({ stream: `snapshot-${id}`, type: 'SnapshotRemoved' });

const active = (id: number): TestEvent[] => [preparing(id, `n/${id}/k`), prepared(id)];
const halfCommitted = (id: number): TestEvent[] => [...active(id), committing(id, `n/${id}/c`)];

/** Each way that a snapshot can stand in a log. */
const lives = {
  preparing: (id: number) => [preparing(id, `n/${id}/k`)],
  active,
  view: (id: number) => [preparing(id, `n/${id}/k`, { kind: 'view' }), prepared(id)],
  committing: halfCommitted,
  committed: (id: number) => [...halfCommitted(id), committed(id, `n/${id}/c`)],
  removing: (id: number) => [...active(id), removing(id)],
  awaiting: (id: number) => [...active(id), removing(id, true)],
  removed: (id: number) => [...active(id), removing(id), removed(id)],
  /** What a repair could not save: `lost` below sets its directory aside. */
  lost: (): TestEvent[] => [],
};

type Life = keyof typeof lives;

const aSnapshot = fc.record({
  life: fc.constantFrom(...(Object.keys(lives) as Life[])),
  hasDirectory: fc.boolean(),
});
const strangeNames = ['900', '1000000000000', 'notes.txt', '007', 'new-123', '-rf', ' '];

const lost = (ids: readonly number[], nextId: number): TestEvent => ({
  stream: 'daemon',
  type: 'LogRepaired',
  data: {
    ...{ release: '0.1.0', findings: [], omitted: 0, steps: [], quarantine: 'q', files: [] },
    ...{ history: null, lost: null, epochBefore: 1, epoch: 2, replaces: null, kept: ids, nextId },
  },
});

async function aRandomRoot(
  snapshots: readonly { readonly life: Life; readonly hasDirectory: boolean }[],
  strangers: readonly string[],
): Promise<TestRoot> {
  const events = snapshots.flatMap(({ life }, index) => lives[life](index + 1));
  const lostIds = snapshots.flatMap(({ life }, index) => (life === 'lost' ? [index + 1] : []));
  const path = await aRoot([...events, lost(lostIds, snapshots.length + 1)]);
  const below = join(path, 'snapshots');
  for (const [index, { hasDirectory }] of snapshots.entries()) {
    if (!hasDirectory) continue;
    mkdirSync(join(below, String(index + 1), 'fs'), { recursive: true });
    mkdirSync(join(below, String(index + 1), 'work'));
  }
  for (const name of strangers) {
    if (name.includes('.')) writeFileSync(join(below, name), 'mine');
    else mkdirSync(join(below, name));
  }
  const layers = join(path, 'layers');
  mkdirSync(layers);
  return { path, snapshots: below, layers, addLayer: () => new Map(), remove: () => undefined };
}

async function verdictsOf(
  daemon: TestDaemon,
  query: {
    readonly isServed: boolean;
    readonly youngAfter?: bigint;
    readonly now?: bigint;
    readonly requested?: readonly string[];
  },
): Promise<readonly GcDecision[]> {
  const { root, host } = daemon;
  const { disk } = host;
  const entries = await host.directories.list(undefined, { namesOnly: true });
  const { forest } = (await replayRoot(disk, root.path)).replay;
  const look = await entryLook(root.snapshots, host.workers, host.mountTable);
  const range = { root: root.path, disk, from: position(0), reverse: true };
  const candidates = gcCandidates(forest, entries);
  const looked = await host.directories.usesOf(candidates.map(({ name }) => name));
  return gcDecisions({
    ...{ forest, entries, isServed: query.isServed },
    uses: usesByName(candidates, looked),
    requested: new Set(query.requested),
    idmapped: idmappedEntries(forest, await host.idmappedMounts.list(), root.path),
    changedAt: await look.changedAt(namesWithoutSnapshot(forest, entries)),
    removedAt: await removalTimes(removalsIn(forest), readLogBatches(range)),
    youngAfter: unixNanos(query.youngAfter ?? 1n << 80n),
    now: unixNanos(query.now ?? 1n << 80n),
  });
}

const collectedOf = (verdicts: readonly GcDecision[]): string[] =>
  verdicts.flatMap(({ entry, verdict }) => (verdict.kind === 'collected' ? [entry] : [])).sort();

describe('what is collected', () => {
  it('is what Cleanup removes, on any root', async () => {
    const roots = fc.tuple(
      fc.array(aSnapshot, { minLength: 8, maxLength: 24 }),
      fc.subarray(strangeNames),
    );
    await fc.assert(
      fc.asyncProperty(roots, async ([snapshots, strangers]) => {
        const root = await aRandomRoot(snapshots, strangers);
        const daemon = await TestDaemon.open(root, { recovers: false });
        const verdicts = await verdictsOf(daemon, { isServed: true });
        const before = readdirSync(root.snapshots).sort();
        const there = verdicts.filter(({ entry }) => before.includes(entry));
        expect(there.map(({ entry }) => entry).sort()).toEqual(before);
        await daemon.cleanup();
        const after = new Set(readdirSync(root.snapshots));
        // A removal whose directory is gone already is ended.
        const again = await verdictsOf(daemon, { isServed: true });
        expect(collectedOf(again)).toEqual([]);
        await daemon.close();
        expect(collectedOf(there)).toEqual(before.filter((name) => !after.has(name)));
      }),
      { numRuns: 5 },
    );
  });

  it('of a stopped root goes with its start and one Cleanup, and nothing that is kept goes', async () => {
    const all = (Object.keys(lives) as Life[]).map((life) => ({ life, hasDirectory: true }));
    const root = await aRandomRoot(all, strangeNames);
    const daemon = await TestDaemon.open(root, { recovers: false });
    const verdicts = await verdictsOf(daemon, { isServed: false });
    await daemon.assembled.recover();
    await daemon.cleanup();
    const after = readdirSync(root.snapshots);
    await daemon.close();
    expect(collectedOf(verdicts).filter((name) => after.includes(name))).toEqual([]);
    const leftToStart = verdicts.filter(({ verdict }) => verdict.because.kind === 'left-to-start');
    expect(leftToStart.map(({ entry }) => entry)).toEqual(['1']);
    const kept = verdicts.filter(
      ({ verdict }) => verdict.kind === 'kept' && verdict.because.kind !== 'left-to-start',
    );
    expect(kept.map(({ entry }) => entry).sort()).toEqual(after.sort());
  });
});

describe('reasons', () => {
  it('name the snapshot, its children and since when it is removed', async () => {
    const root = await aRandomRoot(
      (['committed', 'awaiting', 'removing'] as const).map((life) => ({
        life,
        hasDirectory: true,
      })),
      ['notes.txt'],
    );
    const daemon = await TestDaemon.open(root, { recovers: false });
    const texts = (await verdictsOf(daemon, { isServed: true })).map(({ entry, verdict }) => [
      entry,
      reasonInWords(verdict.because, (time) => (time > 0n ? 'then' : 'never')),
    ]);
    await daemon.close();
    expect(texts).toEqual([
      ['1', 'committed snapshot n/1/c'],
      ['notes.txt', 'unowned, but in use: it is not a directory'],
      ['2', 'removed, awaiting Cleanup since then: n/2/k'],
      ['3', 'removal unfinished since then: n/3/k'],
    ]);
  });

  it('keep what nobody owns while it is young, and nothing else for that', async () => {
    const root = await aRandomRoot(
      [{ life: 'awaiting', hasDirectory: true }],
      ['notes.txt', '007'],
    );
    const daemon = await TestDaemon.open(root, { recovers: false });
    const kindsAt = async (now?: bigint) => {
      const query = { isServed: true, youngAfter: 0n, ...(now !== undefined && { now }) };
      const verdicts = await verdictsOf(daemon, query);
      return verdicts.map(({ entry, verdict }) => [entry, verdict.because.kind]).sort();
    };
    expect(await kindsAt()).toEqual([
      ['007', 'young'],
      ['1', 'awaiting-cleanup'],
      ['notes.txt', 'in-use'],
    ]);
    // A clock that is behind, or was ahead.
    expect(await kindsAt(1n)).toEqual([
      ['007', 'age-unknown'],
      ['1', 'awaiting-cleanup'],
      ['notes.txt', 'in-use'],
    ]);
    await daemon.close();
  });
});
