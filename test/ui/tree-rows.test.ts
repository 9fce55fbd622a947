/** Goal: the tree has each snapshot once, under its parent, whatever is closed or filtered. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { treeRows, type Snapshot } from '../../src/ui/page/tree-rows.js';

function forest(parents: readonly number[]): ReadonlyMap<number, Snapshot> {
  return new Map(
    parents.map((parent, index) => {
      const id = index + 1;
      const snapshot: Snapshot = {
        ...{ id, parent, status: 'active', kind: 'active', name: `n/${id}/key-${id}` },
        ...{ bytes: -1, createdMillis: 0 },
      };
      return [id, snapshot] as const;
    }),
  );
}

/** Parents come before their children, as in a log. */
const forests = fc
  .array(fc.nat(), { maxLength: 60 })
  .map((draws) => forest(draws.map((draw, index) => draw % (index + 1))));

describe('the rows of the tree', () => {
  it('show each snapshot once, right below its parent and a level deeper', () => {
    fc.assert(
      fc.property(forests, (snapshots) => {
        const rows = treeRows(snapshots, new Set(), '');
        expect(rows.map(({ snapshot }) => snapshot.id).sort((a, b) => a - b)).toEqual([
          ...snapshots.keys(),
        ]);
        for (const [index, { snapshot, level, place, siblings }] of rows.entries()) {
          const above = rows.slice(0, index).findLast((row) => row.level === level - 1);
          expect(above?.snapshot.id ?? 0).toBe(snapshot.parent);
          expect(place).toBeLessThanOrEqual(siblings);
        }
      }),
    );
  });

  it('leave out what is under a closed one, and nothing else', () => {
    fc.assert(
      fc.property(forests, fc.array(fc.integer({ min: 1, max: 60 })), (snapshots, ids) => {
        const closed = new Set(ids);
        const isUnderClosed = ({ parent }: Snapshot): boolean => {
          const above = snapshots.get(parent);
          return above !== undefined && (closed.has(parent) || isUnderClosed(above));
        };
        const shown = new Set(treeRows(snapshots, closed, '').map(({ snapshot }) => snapshot.id));
        for (const snapshot of snapshots.values()) {
          expect(shown.has(snapshot.id)).toBe(!isUnderClosed(snapshot));
        }
      }),
    );
  });

  it('show with a filter what matches and the way down to it', () => {
    const rows = treeRows(forest([0, 1, 2, 1]), new Set([1, 2]), 'KEY-3');
    expect(rows.map(({ snapshot, isMatch }) => [snapshot.id, isMatch])).toEqual([
      [1, false],
      [2, false],
      [3, true],
    ]);
  });

  it('stand a chain of a hundred thousand', () => {
    const chain = forest(Array.from({ length: 100_000 }, (_, index) => index));
    expect(treeRows(chain, new Set(), '').at(-1)).toMatchObject({ level: 100_000 });
  });
});
