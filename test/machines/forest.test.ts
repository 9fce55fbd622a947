/**
 * Whatever is asked in whatever order, the snapshots stay a forest and the indexes stay true.
 * Random interleavings over many names, and every short sequence over two.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InvariantBroken } from '../../src/base/assert.js';
import {
  snapshotId,
  snapshotName,
  type SnapshotId,
  type SnapshotName,
} from '../../src/base/units.js';
import { accepts, metaOf, STATUSES } from '../../src/machines/transition-table.js';
import type { Command } from '../../src/machines/commands.js';
import { decide } from '../../src/machines/decide.js';
import { Forest } from '../../src/machines/snapshots/forest.js';
import { TARGET_LABEL } from '../../src/machines/labels.js';
import { inStatus, REF } from '../../scripts/docs/histories.js';
import { commandAbout, hostileText, plainLabels } from '../support/arbitraries.js';
import { World } from '../support/world.js';

const fewNames = fc.constantFrom(
  ...['a', 'b', 'c', 'sha256:a', 'sha256:a@1', '__proto__'].map(snapshotName),
);

/** Everything a forest must be, said without its own indexes. */
function expectForest(forest: Forest): void {
  const states = [...forest.values()];
  const holders = new Map<string, SnapshotId>();
  const children = new Map<SnapshotId, number>();
  for (const state of states) {
    const { holdsName } = metaOf(state.status);
    expect(state.id).toBeLessThan(forest.nextId);
    if (!holdsName) continue;
    for (const name of [state.name, ...(state.commit === null ? [] : [state.commit.name])]) {
      expect(holders.has(name), `two snapshots hold ${name}`).toBe(false);
      holders.set(name, state.id);
    }
    const parent = state.parent ?? state.commit?.parent ?? null;
    if (parent === null) continue;
    const below = forest.get(parent.id);
    expect(below, `snapshot ${state.id} stands on nothing`).toBeDefined();
    expect(metaOf(below?.status ?? 'absent').shownAs).toBe('committed');
    expect(below?.name).toBe(parent.name);
    expect(parent.id).not.toBe(state.id);
    children.set(parent.id, (children.get(parent.id) ?? 0) + 1);
  }
  for (const [name, id] of holders) expect(forest.holderOf(snapshotName(name))?.id).toBe(id);
  for (const { id } of states) expect(forest.childrenOf(id)).toBe(children.get(id) ?? 0);
  const rebuilt = new Forest();
  for (const state of states) rebuilt.put(state);
  for (const state of states) {
    if (!metaOf(state.status).holdsName) continue;
    expect(forest.shown(state.name)).toBe(rebuilt.shown(state.name));
    expect(forest.ancestorsOf(state).length).toBeLessThan(states.length);
    const label = state.labels.get(TARGET_LABEL);
    if (label !== undefined) {
      const ids = (answering: Forest) => answering.labelledWithTarget(label).map(({ id }) => id);
      expect(ids(forest).sort()).toEqual(ids(rebuilt).sort());
    }
    if (state.remote !== null) {
      const parentId = state.parent?.id ?? null;
      const found = forest.remoteFor(state.remote.ref, parentId);
      expect(found?.remote?.ref).toBe(state.remote.ref);
      expect(found).toBe(rebuilt.remoteFor(state.remote.ref, parentId));
    }
  }
}

/** Few random walks come as far as a layer, on which alone ids are mapped. */
function commitLayer(world: World, name: SnapshotName): void {
  const rest = { parent: null, labels: new Map<string, string>(), caller: {} };
  const measured = { usage: { size: 0, inodes: 0 }, owner: { uid: 0, gid: 0 } };
  const id = world.forest.nextId;
  const key = snapshotName('b');
  world.execute({ command: 'Prepare', kind: 'active', key, ...rest });
  world.execute({ command: 'DirectoriesReady' }, id);
  world.execute({ command: 'Commit', key, name, ...rest });
  world.execute({ command: 'DataReady', ...measured, durability: 'data' }, id);
}

describe('the forest', () => {
  it('stays a forest under any interleaving of commands, and never uses an id twice', () => {
    const reached = new Set<string>();
    fc.assert(
      fc.property(
        fc.boolean(),
        fc.array(fc.tuple(commandAbout(fewNames, plainLabels), fc.nat(99)), {
          minLength: 20,
          maxLength: 80,
        }),
        (hasLayer, steps) => {
          const world = new World();
          if (hasLayer) commitLayer(world, snapshotName('a'));
          const begun = new Set<SnapshotId>();
          for (const [command, about] of steps) {
            const nextId = world.forest.nextId;
            const known = [...world.forest.values()];
            const decision = world.execute(command, known[about % (known.length || 1)]?.id ?? null);
            if (command.command === 'Prepare' && decision.ok) {
              expect(begun.has(nextId)).toBe(false);
              begun.add(nextId);
            }
            for (const { status } of world.forest.values()) reached.add(status);
          }
          expectForest(world.forest);
        },
      ),
      { numRuns: 600 },
    );
    expect([...reached].sort()).toEqual(
      STATUSES.filter((status) => !['absent', 'removed', 'mounted'].includes(status)).sort(),
    );
  });

  it('is decided on without a throw, and only for events that the statechart accepts', () => {
    const anyName = hostileText.map(snapshotName);
    fc.assert(
      fc.property(commandAbout(anyName), fc.constantFrom(...STATUSES), (command, status) => {
        const forest = new Forest();
        const state = inStatus(status, { id: 1, name: 'a', parent: null });
        if (state !== null) forest.put(state);
        const decision = decide(forest, state, command);
        if (!decision.ok || command.command === 'Prepare') return;
        const [first] = decision.value;
        if (first !== undefined) expect(accepts(status, first.type)).toBe(true);
      }),
      { numRuns: 5000 },
    );
  });

  it('stays one under every sequence of five commands about two names', () => {
    const [a, b] = ['a', 'b'].map(snapshotName) as [
      ReturnType<typeof snapshotName>,
      ReturnType<typeof snapshotName>,
    ];
    const rest = { labels: new Map<string, string>(), caller: {} };
    const remote = new Map([[TARGET_LABEL, REF]]);
    const measured = { usage: { size: 0, inodes: 0 }, owner: { uid: 0, gid: 0 } };
    const moves: readonly (readonly [Command, number | null])[] = [
      [{ command: 'Prepare', kind: 'active', key: a, parent: null, ...rest }, null],
      [{ command: 'Prepare', kind: 'active', key: b, parent: a, ...rest }, null],
      [
        {
          ...{ command: 'Prepare', kind: 'active', key: b, parent: null, ...rest, labels: remote },
          fileSystems: ['x'],
        },
        null,
      ],
      [{ command: 'DirectoriesReady' }, 1],
      [{ command: 'RemoteFailed', reason: '' }, 1],
      [{ command: 'RemoteReady', fileSystem: 'x', ...measured }, 1],
      [{ command: 'Commit', key: b, name: a, parent: null, ...rest }, null],
      [{ command: 'Commit', key: a, name: b, parent: null, ...rest }, null],
      [{ command: 'DataReady', ...measured, durability: 'data' }, 1],
      [{ command: 'DirectoriesFailed', reason: '', fault: { kind: 'Error' } }, 1],
      [{ command: 'Remove', name: a, deferred: false, caller: {} }, null],
      [{ command: 'Remove', name: b, deferred: false, caller: {} }, null],
      [{ command: 'DirectoriesGone' }, 1],
    ];
    let sequences = 0;
    const walk = (path: readonly (readonly [Command, number | null])[]): void => {
      const world = new World();
      for (const [command, about] of path) {
        world.execute(command, about === null ? null : snapshotId(about));
      }
      sequences += 1;
      expectForest(world.forest);
      if (path.length === 5) return;
      for (const move of moves) {
        // What is refused changes nothing, so nothing new can follow it.
        const before = world.history.length;
        const [command, about] = move;
        const probe = new World();
        for (const [earlier, id] of path) {
          probe.execute(earlier, id === null ? null : snapshotId(id));
        }
        probe.execute(command, about === null ? null : snapshotId(about));
        if (probe.history.length > before) walk([...path, move]);
      }
    };
    walk([]);
    expect(sequences).toBeGreaterThan(100);
  });

  it('refuses to hold one name twice', () => {
    const forest = new Forest();
    const first = inStatus('active', { id: 1, name: 'a', parent: null });
    const second = inStatus('active', { id: 2, name: 'a', parent: null });
    if (first === null || second === null) throw new Error('two snapshots were expected');
    forest.put(first);
    expect(() => {
      forest.put(second);
    }).toThrow(InvariantBroken);
  });

  it('does not give an id below one that is reserved', () => {
    const forest = new Forest();
    forest.reserveIdsBelow(40);
    forest.reserveIdsBelow(7);
    expect(forest.nextId).toBe(40);
  });

  it('finds a remote layer by ref and parent together', () => {
    const forest = new Forest();
    const base = inStatus('committed.available', { id: 1, name: 'base', parent: null });
    const onBase = inStatus('committed.available', {
      id: 2,
      name: 'top',
      parent: { id: snapshotId(1), name: snapshotName('base') },
    });
    if (base === null || onBase === null) throw new Error('two layers were expected');
    forest.put(base);
    forest.put(onBase);
    expect(forest.remoteFor(REF, null)?.id).toBe(1);
    expect(forest.remoteFor(REF, snapshotId(1))?.id).toBe(2);
    expect(forest.remoteFor(REF, snapshotId(2))).toBeUndefined();
  });
});
