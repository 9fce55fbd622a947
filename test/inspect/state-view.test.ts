/** Lists and trees of the snapshots of one moment: by properties over random logs. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  position,
  snapshotId,
  snapshotName,
  unixNanos,
  streamVersion,
} from '../../src/base/units.js';
import { childrenIn } from '../../src/inspect/snapshot/relatives.js';
import { stateFields, statesIn, treeRows } from '../../src/inspect/snapshot/state-view.js';
import type { LogRecord } from '../../src/log/types.js';
import type { SnapshotState } from '../../src/machines/fold.js';
import { infoOf } from '../../src/machines/snapshots/info.js';
import { anyLog, RecordArchive } from '../support/record-archive.js';

const everything = { namespace: null, isAll: true };
const shown = { namespace: null, isAll: false };

async function forestOf(records: readonly LogRecord[]) {
  return (await new RecordArchive(records).stateAt(position(records.length))).forest;
}

describe('in any forest', () => {
  it('the list has each snapshot that is shown, as containerd is told of it', async () => {
    await fc.assert(
      fc.asyncProperty(anyLog(60), async (records) => {
        const forest = await forestOf(records);
        const all = [...forest.values()];
        expect([...statesIn(forest, everything)]).toEqual(all);
        const states = [...statesIn(forest, shown)];
        expect(states).toEqual(all.filter(({ status }) => /^(act|view|commit)/.test(status)));
        for (const state of states) {
          const { name, kind, parent, labels } = infoOf(state);
          expect(stateFields(state)).toMatchObject({
            name,
            kind,
            labels: Object.fromEntries(labels),
          });
          expect(stateFields(state).parent?.name ?? '').toBe(parent);
        }
        const inNs = [...statesIn(forest, { ...everything, namespace: 'ns' })];
        expect(inNs).toEqual(all.filter(({ name }) => name.startsWith('ns/1/')));
      }),
    );
  });

  it('the tree has each once, parents before children, and grows only where it forks', async () => {
    await fc.assert(
      fc.asyncProperty(anyLog(80), async (records) => {
        const states = [...statesIn(await forestOf(records), shown)];
        const rows = treeRows(states);
        expect(rows.map(({ state }) => state.id).sort((a, b) => a - b)).toEqual(
          states.map(({ id }) => id),
        );
        const seen = new Set<number>();
        for (const { state, branch } of rows) {
          const { parent } = state;
          const isRoot = parent === null || !states.some(({ id }) => id === parent.id);
          expect(branch === '').toBe(isRoot);
          if (!isRoot) expect(seen).toContain(parent.id);
          const siblings = states.filter((other) => other.parent?.id === parent?.id).length;
          if (!isRoot) expect(branch.endsWith('↳ ')).toBe(siblings === 1);
          seen.add(state.id);
        }
      }),
    );
  });

  it('each knows its children', async () => {
    await fc.assert(
      fc.asyncProperty(anyLog(60), async (records) => {
        const forest = await forestOf(records);
        for (const state of statesIn(forest, shown)) {
          expect(childrenIn(forest, state.id)).toHaveLength(forest.childrenOf(state.id));
        }
      }),
    );
  });
});

function aState(id: number, parent: number | null): SnapshotState {
  return {
    ...{ id: snapshotId(id), preparedAs: 'active', name: snapshotName(`s${id}`), status: 'active' },
    parent: parent === null ? null : { id: snapshotId(parent), name: snapshotName(`s${parent}`) },
    ...{ labels: new Map(), maker: null, question: null, remote: null, commit: null, usage: null },
    ...{ idMapping: null, owner: null, isChownedCopy: false },
    ...{ unavailability: null, removal: null, streamVersion: streamVersion(1) },
    ...{ createdAt: unixNanos(0n), updatedAt: unixNanos(0n) },
  };
}

it('draws chains straight down, and forks to the right', () => {
  const forest = [
    aState(1, null),
    aState(2, 1),
    aState(3, 2),
    aState(4, 3),
    aState(5, 3),
    aState(6, 4),
    aState(7, 6),
    aState(8, 99),
  ];
  const drawing = treeRows(forest).map(({ state, branch }) => `${branch}${state.name}`);
  expect(drawing).toEqual(['s1', '↳ s2', '↳ s3', '├─ s4', '│  ↳ s6', '│  ↳ s7', '└─ s5', 's8']);
});

it('draws a chain of ten thousand', () => {
  const states = [...Array(10_000).keys()].map((at) => aState(at + 1, at === 0 ? null : at));
  expect(treeRows(states)).toHaveLength(10_000);
});
