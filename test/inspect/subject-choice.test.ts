/** Who is meant by a word that fits several: whoever bears it at the moment, and nobody by chance. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import {
  position,
  snapshotId,
  snapshotName,
  streamVersion,
  unixNanos,
  type SnapshotId,
} from '../../src/base/units.js';
import { candidatesIn, chosenFrom } from '../../src/inspect/archive/subject-choice.js';
import { metaOf } from '../../src/machines/transition-table.js';
import type { SnapshotState } from '../../src/machines/fold.js';
import { anyLog, RecordArchive } from '../support/record-archive.js';

it('chooses, at any moment, the snapshot that holds the name then', async () => {
  await fc.assert(
    fc.asyncProperty(anyLog(60), fc.nat(), async (records, draw) => {
      const archive = new RecordArchive(records);
      const at = position(draw % (records.length + 1));
      const { forest } = await archive.stateAt(at);
      for (const { id, name, status } of forest.values()) {
        expect(candidatesIn(forest, name).map((bearer) => bearer.id)).toContain(id);
        if (!metaOf(status).holdsName) continue;
        const candidates = (await archive.find(name)).map((found) => ({ id: found, names: [] }));
        expect(chosenFrom(candidates, name, forest)).toEqual({ kind: 'one', id });
      }
    }),
    { numRuns: 50 },
  );
});

const digest = `sha256:${'ab12cd34ef56'.padEnd(64, '0')}`;

function forestOf(...states: (readonly [number, string, SnapshotState['status']])[]) {
  const byId = new Map(states.map((state) => [state[0], aState(...state)]));
  return { get: (id: SnapshotId) => byId.get(id) };
}

function aState(id: number, name: string, status: SnapshotState['status']): SnapshotState {
  return {
    ...{ id: snapshotId(id), preparedAs: 'active', name: snapshotName(name), status },
    ...{ parent: null, labels: new Map(), maker: null, question: null, remote: null },
    ...{ commit: null, usage: null, unavailability: null, removal: null },
    ...{ idMapping: null, owner: null, isChownedCopy: false },
    streamVersion: streamVersion(1),
    ...{ createdAt: unixNanos(0n), updatedAt: unixNanos(0n) },
  };
}

function choiceOf(text: string, forest: ReturnType<typeof forestOf> | null, ...ids: number[]) {
  const candidates = ids.map((id) => ({ id: snapshotId(id), names: [] }));
  return chosenFrom(candidates, text, forest);
}

it('prefers the one that is there to those that are gone, or are called otherwise now', () => {
  const forest = forestOf([1, 'default/2/layer', 'committed.available'], [3, 'n/4/web', 'active']);
  expect(choiceOf('web', forest, 1, 2, 3)).toEqual({ kind: 'one', id: 3 });
});

it('prefers the one that holds its name to one that is on its way out', () => {
  const forest = forestOf([2, 'n/3/web', 'awaitingCleanup'], [3, 'n/4/web', 'active']);
  expect(choiceOf('web', forest, 2, 3)).toEqual({ kind: 'one', id: 3 });
  expect(choiceOf('web', forest, 1, 2)).toEqual({ kind: 'one', id: 2 });
});

it('prefers a name that is the word as a whole to a part', () => {
  const forest = forestOf([1, digest, 'committed.available'], [2, `a/1/${digest}`, 'active']);
  expect(choiceOf(digest, forest, 1, 2)).toEqual({ kind: 'one', id: 1 });
  expect(choiceOf(digest.slice(0, 19), forest, 1, 2)).toEqual({ kind: 'several', ids: [1, 2] });
});

it('chooses nobody where several are as near, or nothing is known of the moment', () => {
  const forest = forestOf([1, 'a/1/web', 'active'], [2, 'b/2/web', 'active']);
  expect(choiceOf('web', forest, 1, 2, 3)).toEqual({ kind: 'several', ids: [1, 2] });
  expect(choiceOf('web', forest, 3, 4)).toEqual({ kind: 'several', ids: [3, 4] });
  expect(choiceOf('web', null, 1, 2)).toEqual({ kind: 'several', ids: [1, 2] });
  expect(choiceOf('web', null, 2)).toEqual({ kind: 'one', id: 2 });
  expect(choiceOf('web', null)).toEqual({ kind: 'none' });
});

const container = '0b370ce164dd2ab1c4cff02c80d1c1caedbdea9a94d6d2dd3584f5ecb36ca4e1';
const short = container.slice(0, 12);

it('prefers a container to what is named after it, while it is there and when it is gone', () => {
  const forest = forestOf(
    [1, `moby/1/${container}-init`, 'committed.available'],
    [2, `moby/2/${container}`, 'active'],
  );
  expect(choiceOf(short, forest, 1, 2)).toEqual({ kind: 'one', id: 2 });
  const gone = [
    { id: snapshotId(1), names: [`moby/1/${container}-init-key`, `moby/1/${container}-init`] },
    { id: snapshotId(2), names: [`moby/2/${container}`] },
  ];
  expect(chosenFrom(gone, short, null)).toEqual({ kind: 'one', id: 2 });
});

it('chooses none of several whose ids begin alike, nor of one id in two namespaces', () => {
  const other = `${short}${'f'.repeat(52)}`;
  const forest = forestOf(
    [1, `moby/1/${container}`, 'active'],
    [2, `moby/2/${other}`, 'active'],
    [3, `moby/3/${other}-init`, 'committed.available'],
    [4, `k8s.io/4/${container}`, 'active'],
  );
  expect(choiceOf(short, forest, 1, 2)).toEqual({ kind: 'several', ids: [1, 2] });
  expect(choiceOf(short, forest, 1, 3)).toEqual({ kind: 'several', ids: [1, 3] });
  expect(choiceOf(short, forest, 1, 4)).toEqual({ kind: 'several', ids: [1, 4] });
  expect(choiceOf(short, forest, 2, 3)).toEqual({ kind: 'one', id: 2 });
});

it('finds those with the whole name before those whose name only begins with it', () => {
  const forest = new Map([
    [1, aState(1, 'n/1/web-frontend-2', 'active')],
    [2, aState(2, 'n/2/web-frontend', 'active')],
  ]);
  const bearers = (text: string) => candidatesIn(forest, text).map(({ id }) => id);
  expect(bearers('web-frontend')).toEqual([2]);
  expect(bearers('web-front')).toEqual([1, 2]);
});
