/** What changed between two moments: by properties over pairs of moments of random logs. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { position } from '../../src/base/units.js';
import { diffOf, idOf, labelChanges } from '../../src/inspect/snapshot/diff.js';
import { stateFields } from '../../src/inspect/snapshot/state-view.js';
import type { SnapshotState } from '../../src/machines/fold.js';
import { anyLog, RecordArchive } from '../support/record-archive.js';

const twoMoments = fc.tuple(anyLog(60), fc.nat(), fc.nat());

async function statesAt(archive: RecordArchive, at: number): Promise<SnapshotState[]> {
  return [...(await archive.stateAt(position(at))).forest.values()];
}

it('leads from the one moment to the other, and back again', async () => {
  await fc.assert(
    fc.asyncProperty(twoMoments, async ([records, one, other]) => {
      const archive = new RecordArchive(records);
      const before = await statesAt(archive, one % (records.length + 1));
      const after = await statesAt(archive, other % (records.length + 1));
      const { differences, totals } = diffOf(before, after);
      const reached = new Map(before.map((state) => [state.id, state]));
      for (const difference of differences) {
        if (difference.change === 'removed') reached.delete(difference.before.id);
        else reached.set(difference.after.id, difference.after);
      }
      const plain = (states: Iterable<SnapshotState>) =>
        [...states]
          .map((state) => ({ ...stateFields(state), createdAt: '', updatedAt: '' }))
          .sort((a, b) => a.id - b.id);
      expect(plain(reached.values())).toEqual(plain(after));
      const back = diffOf(after, before);
      expect(back.differences.map(idOf)).toEqual(differences.map(idOf));
      expect(back.totals).toEqual({
        ...{ added: totals.removed, removed: totals.added, changed: totals.changed },
        ...{ same: totals.same, bytes: 0 - totals.bytes },
      });
      expect(totals.same + totals.changed + totals.removed).toBe(before.length);
      expect(totals.same + totals.changed + totals.added).toBe(after.length);
      for (const difference of differences) {
        if (difference.change === 'changed') expect(difference.fields).not.toEqual([]);
      }
    }),
  );
});

it('finds nothing between a moment and itself, replayed twice', async () => {
  await fc.assert(
    fc.asyncProperty(anyLog(50), async (records) => {
      const archive = new RecordArchive(records);
      const [one, other] = [
        await statesAt(archive, records.length),
        await statesAt(archive, records.length),
      ];
      expect(diffOf(one, other).differences).toEqual([]);
    }),
    { numRuns: 30 },
  );
});

it('tells labels one by one', () => {
  const change = {
    field: 'labels',
    before: { a: '1', b: '2' },
    after: { b: '3', c: '4' },
  } as const;
  expect(labelChanges(change)).toEqual([
    { key: 'a', before: '1', after: null },
    { key: 'b', before: '2', after: '3' },
    { key: 'c', before: null, after: '4' },
  ]);
});
