/**
 * Goal: a forest is what the events say, however it came to be: lived from the first event, or
 * restored from a checkpoint and packed; accepted, or durable and kept as a difference to the
 * accepted one. A cut stays as it was while both move on.
 * Method: random walks of commands, of spares made ahead, of what becomes durable late, and of
 * starts from a checkpoint of the durable forest. Beside them a model: one plain map of states
 * for each forest, and every question answered by going through all of it.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { assertNever } from '../../src/base/assert.js';
import {
  snapshotId,
  snapshotName,
  streamVersion,
  unixNanos,
  type Labels,
  type SnapshotId,
  type SnapshotName,
} from '../../src/base/units.js';
import { Replay } from '../../src/inspect/archive/replay.js';
import { metaOf, STATUSES, type Status } from '../../src/machines/transition-table.js';
import type { Command, CommandOf } from '../../src/machines/commands.js';
import { decide } from '../../src/machines/decide.js';
import { DurableForest } from '../../src/machines/snapshots/durable-forest.js';
import { fold, type SnapshotState } from '../../src/machines/fold.js';
import { Forest } from '../../src/machines/snapshots/forest.js';
import type { ForestCut } from '../../src/machines/snapshots/forest-checkpoint.js';
import { infoOf } from '../../src/machines/snapshots/info.js';
import { TARGET_LABEL, UID_MAPPING_LABEL } from '../../src/machines/labels.js';
import { decodeState, encodeHead, headOf } from '../../src/machines/snapshots/state-json.js';
import { commandAbout, hostileText, plainLabels } from '../support/arbitraries.js';

const NAMES = ['a', 'b', 'c', 'd', 'sha256:a', 'sha256:b', '"\\', 'ü', '__proto__'].map(
  snapshotName,
);
const REFS = ['sha256:a', 'sha256:b', '"', ''];

/** What is true of a forest, with no index and nothing packed. */
class Model {
  readonly states = new Map<SnapshotId, SnapshotState>();
  readonly preallocated = new Set<SnapshotId>();
  nextId = 1;

  put(state: SnapshotState): void {
    if (state.status === 'removed') this.states.delete(state.id);
    else this.states.set(state.id, state);
    this.preallocated.delete(state.id);
    this.nextId = Math.max(this.nextId, state.id + 1);
  }

  reserve(ids: readonly SnapshotId[]): void {
    for (const id of ids) {
      this.preallocated.add(id);
      this.nextId = Math.max(this.nextId, id + 1);
    }
  }

  drop(ids: readonly SnapshotId[]): void {
    for (const id of ids) this.preallocated.delete(id);
  }

  all(): SnapshotState[] {
    return [...this.states.values()].sort((a, b) => a.id - b.id);
  }

  copyOf(other: Model): this {
    this.states.clear();
    this.preallocated.clear();
    for (const state of other.all()) this.put(state);
    this.reserve([...other.preallocated]);
    this.nextId = other.nextId;
    return this;
  }
}

const holdsName = ({ status }: SnapshotState): boolean => metaOf(status).holdsName;

function expectAs(model: Model, forest: Forest): void {
  const all = model.all();
  const holding = all.filter(holdsName);
  const ids = (states: readonly SnapshotState[]) =>
    states.map(({ id }) => id).sort((a, b) => a - b);
  expect(forest.size).toBe(all.length);
  expect(forest.nextId).toBe(model.nextId);
  expect([...forest.preallocated].sort()).toEqual([...model.preallocated].sort());
  expect(countsOf(forest.statusCounts)).toEqual(countsOf(tally(all)));
  for (const name of NAMES) {
    const holder = holding.find((state) => state.name === name || state.commit?.name === name);
    expect(forest.holderOf(name), `holder of ${name}`).toEqual(holder);
    const isShown = holder?.name === name && metaOf(holder.status).shownAs !== null;
    expect(forest.shown(name), `shown as ${name}`).toEqual(isShown ? holder : undefined);
  }
  for (let id = 0; id <= model.nextId; id += 1) {
    const of = snapshotId(Math.max(id, 1));
    expect(forest.get(of)).toEqual(model.states.get(of));
    expect(forest.has(of)).toBe(model.states.has(of));
    expect(forest.isPreallocated(of)).toBe(model.preallocated.has(of));
    const children = holding.filter((state) => (state.parent ?? state.commit?.parent)?.id === of);
    expect(forest.childrenOf(of), `children of ${of}`).toBe(children.length);
  }
  for (const ref of REFS) {
    const labelled = holding.filter(({ labels }) => labels.get(TARGET_LABEL) === ref);
    expect(ids(forest.labelledWithTarget(ref)), `labelled ${ref}`).toEqual(ids(labelled));
    for (const parent of [null, ...ids(all)]) {
      const remote = holding.find(
        (state) => state.remote?.ref === ref && (state.parent?.id ?? null) === parent,
      );
      expect(forest.remoteFor(ref, parent), `remote ${ref} on ${parent}`).toEqual(remote);
    }
  }
  for (const state of all) {
    const chain: SnapshotState[] = [];
    for (let link = state.parent; link !== null; link = chain.at(-1)?.parent ?? null) {
      const parent = model.states.get(link.id);
      if (parent === undefined) throw new Error(`the model lost snapshot ${link.id}`);
      chain.push(parent);
    }
    expect(forest.ancestorsOf(state)).toEqual(chain);
  }
}

/** The answers of a cut: `values` are another's way to the same. */
function expectCut(cut: ForestCut, all: readonly SnapshotState[]): void {
  expect(cut.size).toBe(all.length);
  expect([...cut.states()]).toEqual(all);
  expect([...cut.lines()].map(decodeState)).toEqual(all);
  const shown = all.filter(({ status }) => metaOf(status).shownAs !== null);
  const told = [...cut.infos()].map(({ name, parent, kind, labels, createdAt, updatedAt }) => ({
    ...{ name, parent, kind, labels, createdAt, updatedAt },
  }));
  expect(told).toEqual(shown.map(infoOf));
  const left = [...cut.statesExcept((id) => id % 2 === 0)];
  const isToStay = (state: SnapshotState) => state.id % 2 === 1 || !isAtRest(state);
  expect(left.filter(isToStay)).toEqual(all.filter(isToStay));
}

function isAtRest({ status, remote }: SnapshotState): boolean {
  return remote === null && ['active', 'view', 'committed.available'].includes(status);
}

function tally(states: readonly SnapshotState[]): Map<Status, number> {
  const counts = new Map<Status, number>();
  for (const { status } of states) counts.set(status, (counts.get(status) ?? 0) + 1);
  return counts;
}

const countsOf = (counts: ReadonlyMap<Status, number>) =>
  [...counts].filter(([, count]) => count !== 0).sort();

/** Something of the log, on its way to the disk. */
type Pending = (durable: DurableForest, model: Model) => void;

/** Two forests and their models, moved as the dispatcher moves them. */
class Walk {
  accepted = new Forest();
  durable = new DurableForest(this.accepted);
  readonly models = { accepted: new Model(), durable: new Model() };
  readonly cuts: { readonly cut: ForestCut; readonly all: readonly SnapshotState[] }[] = [];
  #pending: Pending[] = [];
  #time = 1_700_000_000_000_000_000n;

  execute(command: Command, about: number): void {
    const known = this.models.accepted.all();
    const subject = known[about % (known.length || 1)]?.id;
    const name = 'key' in command ? command.key : 'name' in command ? command.name : null;
    const holder =
      name !== null
        ? this.accepted.holderOf(name)
        : subject === undefined
          ? undefined
          : this.accepted.get(subject);
    const decision = decide(this.accepted, holder ?? null, command);
    if (!decision.ok || decision.value.length === 0) return;
    let state = command.command === 'Prepare' ? null : (holder ?? null);
    const steps: SnapshotState[] = [];
    for (const event of decision.value) {
      this.#time += 1_000_000_007n;
      const version = streamVersion(state === null ? 0 : state.streamVersion + 1);
      state = fold(state, { event, time: unixNanos(this.#time), streamVersion: version });
      steps.push(state);
    }
    if (state === null) return;
    this.accepted.put(state);
    this.models.accepted.put(state);
    for (const step of steps) {
      this.#pending.push((durable, model) => {
        durable.put(step);
        model.put(step);
      });
    }
  }

  /** What would come next for a snapshot when nothing goes wrong. */
  onward(about: number, name: SnapshotName, ref: string): void {
    const all = this.models.accepted.all();
    const state = all[about % (all.length || 1)];
    const next = state === undefined ? null : nextFor(state, name, ref);
    if (next !== null) this.execute(next, about);
  }

  reserve(count: number): void {
    const first = this.accepted.nextId;
    const ids = Array.from({ length: count }, (_, index) => snapshotId(first + index));
    this.accepted.takeIn({ type: 'DirectoriesPreallocated', data: { ids } });
    this.models.accepted.reserve(ids);
    this.#pending.push((durable, model) => {
      durable.takeIn({ type: 'DirectoriesPreallocated', data: { ids } });
      model.reserve(ids);
    });
  }

  drop(): void {
    const ids = [...this.models.accepted.preallocated].slice(0, 1);
    this.accepted.takeIn({ type: 'PreallocatedReleased', data: { ids } });
    this.models.accepted.drop(ids);
    this.#pending.push((durable, model) => {
      durable.takeIn({ type: 'PreallocatedReleased', data: { ids } });
      model.drop(ids);
    });
  }

  /** A sync group ends: so many of what waits are durable. */
  settle(count: number): void {
    for (const become of this.#pending.splice(0, count)) become(this.durable, this.models.durable);
  }

  cut(): void {
    this.cuts.push({ cut: this.accepted.cut(), all: this.models.accepted.all() });
    this.cuts.push({ cut: this.durable.cut(), all: this.models.durable.all() });
  }

  /** The machine goes down: what was not durable is gone, the rest is read from a checkpoint. */
  async restore(): Promise<void> {
    this.#pending = [];
    const head = encodeHead(headOf(this.durable, 5));
    const lines = [head, ...this.durable.cut().lines()];
    const bytes = Buffer.from(`${lines.join('\n')}\n`);
    const replay = await Replay.restore({ bytes, lines: lines.length });
    expect(replay.daemonStreamVersion).toBe(5);
    this.accepted = replay.forest;
    this.durable = new DurableForest(this.accepted);
    this.models.accepted.copyOf(this.models.durable);
  }

  check(): void {
    expectAs(this.models.accepted, this.accepted);
    expectAs(this.models.durable, this.durable);
  }
}

const USAGE = { size: 4096, inodes: 3 };
const MAPS = new Map([[UID_MAPPING_LABEL, '0:1000:65536']]);

/** Half of those that are drawn ask for a remote layer. */
const targetOf = (ref: string): Labels =>
  new Map(ref === '' || ref === 'sha256:a' ? [] : [[TARGET_LABEL, ref]]);

function nextFor(state: SnapshotState, name: SnapshotName, ref: string): Command | null {
  switch (state.status) {
    case 'preparing':
      return { command: 'DirectoriesReady' };
    case 'mappingIds':
      return { command: 'IdsMapped' };
    case 'mounting':
      return { command: 'RemoteReady', fileSystem: 'fs', usage: USAGE, owner: { uid: 0, gid: 0 } };
    case 'active':
      return {
        ...{ command: 'Commit', key: state.name, name, parent: null },
        ...{ labels: new Map([[TARGET_LABEL, ref]]), caller: {} },
      };
    case 'committing':
      return { command: 'DataReady', usage: USAGE, owner: { uid: 0, gid: 0 }, durability: 'data' };
    case 'view':
      return { command: 'Remove', name: state.name, deferred: ref === '', caller: {} };
    case 'committed.available':
      // Most stay, and others stand on them.
      if (name !== state.name) {
        return {
          ...{ command: 'Prepare', kind: ref === '' ? 'view' : 'active', key: name },
          fileSystems: ['fs'],
          ...{ parent: state.name, labels: ref === '"' ? MAPS : targetOf(ref), caller: {} },
        };
      }
      return { command: 'LayerLost', reason: 'gone', retryAt: null };
    case 'committed.unavailable':
      return { command: 'LayerFound', how: 'checked' };
    case 'awaitingCleanup':
      return { command: 'Collect' };
    case 'removing':
      return { command: 'DirectoriesGone' };
    case 'mounted':
    case 'removed':
      return null;
    default:
      return assertNever(state.status);
  }
}

type Step =
  | {
      readonly step: 'onward';
      readonly about: number;
      readonly name: SnapshotName;
      readonly ref: string;
    }
  | { readonly step: 'command'; readonly command: Command; readonly about: number }
  | { readonly step: 'prepareOnPreallocated'; readonly command: CommandOf<'Prepare'> }
  | { readonly step: 'reserve' | 'settle'; readonly count: number }
  | { readonly step: 'drop' | 'cut' | 'restore' | 'look' };

const labels = fc.oneof(
  plainLabels,
  fc.tuple(fc.constantFrom(...REFS), hostileText, hostileText).map(
    ([ref, key, value]) =>
      new Map([
        [key, value],
        [TARGET_LABEL, ref],
      ]),
  ),
);

const command = commandAbout(fc.constantFrom(...NAMES), labels);

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 24,
    arbitrary: fc.record({
      step: fc.constant('onward' as const),
      about: fc.nat(99),
      name: fc.constantFrom(...NAMES),
      ref: fc.constantFrom('sha256:a', 'sha256:a', ...REFS),
    }),
  },
  {
    weight: 24,
    arbitrary: fc.record({ step: fc.constant('command' as const), command, about: fc.nat(99) }),
  },
  {
    weight: 2,
    arbitrary: command
      .filter((one): one is CommandOf<'Prepare'> => one.command === 'Prepare')
      // Preallocated directories belong to the process, never to a mapped root.
      .filter(({ labels: given }) => !given.has(UID_MAPPING_LABEL))
      .map((one) => ({ step: 'prepareOnPreallocated' as const, command: one })),
  },
  {
    weight: 12,
    arbitrary: fc.record({
      step: fc.constantFrom('settle' as const, 'settle' as const, 'reserve' as const),
      count: fc.integer({ min: 1, max: 4 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      step: fc.constantFrom('drop' as const, 'cut' as const, 'restore' as const, 'look' as const),
    }),
  },
);

async function take(walk: Walk, one: Step): Promise<void> {
  if (one.step === 'command') walk.execute(one.command, one.about);
  else if (one.step === 'onward') walk.onward(one.about, one.name, one.ref);
  else if (one.step === 'prepareOnPreallocated') {
    const [id] = walk.models.accepted.preallocated;
    if (id === undefined) return;
    walk.execute({ ...one.command, preallocated: id }, 0);
  } else if (one.step === 'reserve') walk.reserve(one.count);
  else if (one.step === 'settle') walk.settle(one.count);
  else if (one.step === 'drop') walk.drop();
  else if (one.step === 'cut') walk.cut();
  else if (one.step === 'restore') await walk.restore();
  else walk.check();
}

describe('a forest, lived or restored, accepted or durable', () => {
  it('answers every question as a plain map of states does, and a cut stays as it was', async () => {
    const reached = new Set<string>();
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 40, maxLength: 80, size: 'max' }),
        fc.array(step, { maxLength: 12, size: 'max' }),
        async (steps, later) => {
          const walk = new Walk();
          for (const one of steps) {
            await take(walk, one);
            for (const { status } of walk.models.durable.all()) reached.add(status);
          }
          walk.check();
          walk.cut();
          walk.settle(Infinity);
          walk.check();
          await walk.restore();
          // Nothing has been asked yet: most is packed, and some of it moves on.
          for (const one of later) await take(walk, one);
          walk.cut();
          for (const { cut, all } of walk.cuts) expectCut(cut, all);
          walk.check();
        },
      ),
      { numRuns: 250 },
    );
    const resting = STATUSES.filter((status) => !['absent', 'removed'].includes(status));
    expect([...reached].sort()).toEqual([...resting].sort());
  });

  it('finds a durable remote layer behind an older one that is not durable yet', () => {
    const walk = new Walk();
    const key = (name: string): Command => ({
      ...{ command: 'Prepare', kind: 'active', key: snapshotName(name), parent: null },
      ...{ labels: new Map([[TARGET_LABEL, 'sha256:a']]), caller: {}, fileSystems: ['fs'] },
    });
    walk.execute(key('a'), 0);
    walk.execute(key('b'), 0);
    walk.onward(1, snapshotName('c'), 'sha256:a');
    walk.settle(Infinity);
    walk.onward(0, snapshotName('c'), 'sha256:a');
    expect(walk.models.accepted.all().map(({ status }) => status)).toEqual([
      'mounting',
      'mounting',
    ]);
    walk.check();
  });
});
